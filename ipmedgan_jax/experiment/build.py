"""Builds an experiment from a config: the system, its update, its data and its settings."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ipmedgan_jax.core.user_paths import without_homes
from ipmedgan_jax.data import dataset_file
from ipmedgan_jax.data.pipeline import HoleSettings
from ipmedgan_jax.experiment.checks import check_config
from ipmedgan_jax.experiment.datasets import digest_of_shapes, find_dataset, lesion_shapes
from ipmedgan_jax.experiment.network_size import input_size
from ipmedgan_jax.experiment.phases import Phase, make_phases, make_update
from ipmedgan_jax.experiment.saved_config import DATASET, LESION_SHAPES, VGG19_SOURCE, as_json
from ipmedgan_jax.experiment.settings import (
    EvaluationSettings,
    TrainingSettings,
    evaluation_settings,
    hole_settings,
    loss_settings,
    preparation_settings,
    training_settings,
)
from ipmedgan_jax.imaging.settings import PreparationSettings
from ipmedgan_jax.networks.layers import Normalise
from ipmedgan_jax.networks.vgg19 import VGG19
from ipmedgan_jax.pretrained import vgg19_weights
from ipmedgan_jax.pretrained.vgg19_weights import FeatureNetwork
from ipmedgan_jax.systems.building_blocks import BuildingBlocks
from ipmedgan_jax.systems.interface import System
from ipmedgan_jax.systems.registry import FINDERS, SYSTEMS


@dataclass(frozen=True)
class Experiment:
    """Everything that a run needs, built from its config.

    Phases are in order. In the last phase's update all networks learn.
    """

    name: str
    system: System
    phases: tuple[Phase, ...]
    features: FeatureNetwork
    dataset: dataset_file.Dataset
    holes: HoleSettings
    fill: float
    training: TrainingSettings
    evaluation: EvaluationSettings
    config: dict[str, Any]

    @property
    def is_finder(self) -> bool:
        """Whether the system finds damage instead of filling holes."""
        return self.holes.damage is not None

    @property
    def uses_ema(self) -> bool:
        """Whether the moving average of the generator fills images at test time."""
        return self.phases[-1].update.average_decay > 0

    def describe_data(self) -> dict[str, Any]:
        """Returns `data` of metrics.json: the slices that were scored, and the VGG-19 weights of the VGG distance.

        `window` is the side of the windows that were scored, in pixels of the prepared slices; 0 for complete slices. `fold`
        is the fold of a cross-validation, and `division` what its folds have in common; both are empty without folds.
        """
        split = self.evaluation.split
        return {
            "directory": without_homes(str(self.dataset.directory)),
            "modality": self.dataset.modality,
            "image_size": self.dataset.image_size,
            "window": self.holes.window,
            "fingerprint": self.dataset.fingerprint,
            "fold": self.dataset.fold,
            "division": self.dataset.division,
            "preparation": self.dataset.settings,
            "split": split,
            "subjects": list(self.dataset.subjects[split]),
            "vgg19": self.features.source,
        }

    def describe_holes(self) -> dict[str, Any]:
        """Returns `holes` of metrics.json: the settings of the evaluation holes."""
        return {
            "size": self.holes.size,
            "min_foreground": self.holes.evaluation_min_foreground,
            "seed": self.holes.evaluation_seed,
        } | ({"clear_of_masks": True} if self.holes.avoids else {})

    def describe_damage(self) -> dict[str, Any]:
        """Returns `damage` of a finder's metrics.json: the settings of the simulated damage."""
        settings = asdict(self.holes.damage) if self.holes.damage else {}
        lists = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
        return {"seed": self.holes.evaluation_seed, **lists}


def build_experiment(config: ConfigDict) -> Experiment:
    """Checks the config, then finds the data and the VGG-19 weights and builds the experiment.

    Raises UserError if the config cannot be run.
    """
    check_config(config)
    dataset = find_dataset(config)
    features = feature_network(config)
    system = make_system(config, features.net)
    training = training_settings(config, dataset.slices["train"])
    prepared = preparation_settings(config).as_recorded(dataset.settings)
    lesions = lesion_shapes(config, dataset, prepared)
    return Experiment(
        name=config.system,
        system=system,
        phases=make_phases(config, make_update(config, system, training.steps), training.steps),
        features=features,
        dataset=dataset,
        holes=hole_settings(config, lesions, avoids=dataset.has_avoided, prepared=prepared),
        fill=config.holes.fill,
        training=training,
        evaluation=evaluation_settings(config),
        config=_recorded_config(config, dataset, features.source, lesions),
    )


def _recorded_config(
    config: ConfigDict, dataset: dataset_file.Dataset, vgg19: str, lesions: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Returns the content of `config.json`: the config with the fold of the data, and what the input files held."""
    saved = as_json(config)
    held = {DATASET: dataset.fingerprint, VGG19_SOURCE: vgg19, LESION_SHAPES: digest_of_shapes(lesions)}
    return saved | {"data": saved["data"] | {"fold": dataset.fold}} | held


@dataclass(frozen=True)
class Inference:
    """The parts of a run's config that filling scans needs; neither data nor VGG-19 weights.

    `batch_size` is that of the training, and `phantom` tells whether the training data were the built-in phantom.
    """

    name: str
    system: System
    uses_ema: bool
    keep: int
    best: str
    preparation: PreparationSettings
    hole_size: int
    trained_on_any_shape: bool
    inputs: tuple[str, ...]
    is_finder: bool
    batch_size: int
    phantom: bool


def build_inference(config: ConfigDict) -> Inference:
    """Checks the config of a run and builds what filling scans needs. Raises UserError if the config cannot be run."""
    check_config(config)
    return Inference(
        name=config.system,
        system=make_system(config, VGG19("caffe")),
        uses_ema=config.train.ema > 0,
        keep=config.train.keep,
        best=config.train.best,
        preparation=preparation_settings(config),
        hole_size=config.holes.size,
        trained_on_any_shape=hole_settings(config).shapes is not None,
        inputs=hole_settings(config).inputs,
        is_finder=config.system in FINDERS,
        batch_size=config.train.batch_size,
        phantom=not config.data.dir,
    )


# ------------------------------------------------------------------ networks and systems


def make_system(config: ConfigDict, vgg19: VGG19) -> System:
    """Returns the system that `config.system` names; it has neither weights nor data."""
    return (SYSTEMS | FINDERS)[config.system](_building_blocks(config, vgg19))


def _building_blocks(config: ConfigDict, vgg19: VGG19) -> BuildingBlocks:
    generator, discriminator, statistics = config.generator, config.discriminator, config.normalisation
    dtype = jnp.dtype(config.train.dtype)
    return BuildingBlocks(
        image_size=input_size(config),
        hole_size=config.holes.size,
        fill=config.holes.fill,
        unet_blocks=generator.blocks,
        width=generator.width,
        dropout=generator.dropout,
        stacked=generator.stacked,
        remat=generator.remat,
        sees_mask=generator.sees_mask,
        smooth_start=generator.smooth_start,
        noise=generator.noise,
        opposite=generator.opposite,
        discriminator_width=discriminator.width,
        discriminator_layers=discriminator.layers,
        # parent=None: every network copies this template, wherever the network is made.
        normalise=Normalise(statistics.statistics, statistics.momentum, dtype=dtype, parent=None),
        dtype=dtype,
        loss=loss_settings(config),
        vgg19=vgg19,
    )


def feature_network(config: ConfigDict) -> FeatureNetwork:
    """Returns VGG-19 with the weights that `vgg19.weights` names; published weights are fetched on first use."""
    weights = vgg19_weights.resolve(config.vgg19.weights)
    net = VGG19(weights.preprocessing, dtype=jnp.dtype(config.train.dtype))
    return FeatureNetwork(net, jax.tree.map(jnp.asarray, weights.params), weights.source)
