"""From a config to what runs: the system, its update, its data and settings. The only module that reads a ConfigDict."""

import fcntl
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from absl import logging
from ml_collections import ConfigDict

import ipmedgan_jax
from ipmedgan_jax import caches, pretrained
from ipmedgan_jax.data import phantom, preparation, records
from ipmedgan_jax.data.pipeline import HoleSettings
from ipmedgan_jax.errors import UserError
from ipmedgan_jax.networks.casnet import CasNet
from ipmedgan_jax.networks.layers import Normalise
from ipmedgan_jax.networks.patch_discriminator import PatchDiscriminator
from ipmedgan_jax.networks.vgg19 import FEATURES, VGG19
from ipmedgan_jax.scoring import FeatureNetwork
from ipmedgan_jax.steps import System, Update
from ipmedgan_jax.systems.ipmedgan import IpMedGAN
from ipmedgan_jax.systems.unet import UNet

LOCAL_LAYERS = 2
"""Stride-2 layers of the local discriminator: 34x34 patches, as the paper."""

VALIDATION_SCORES = ("ssim", "psnr", "mse", "mae", "uqi", "uqi_sewar", "vgg_distance")

MAY_CHANGE = (
    *("train.epochs", "train.steps", "train.minutes", "train.log_every", "train.validate_every", "train.validation_slices"),
    *("train.checkpoint_every", "train.keep", "data.dir", "data.workers", "data.threads", "data.prefetch"),
    *("phantom", "evaluation"),
)
"""Keys, or groups of keys, that a run may be resumed with other values of: they do not change what a step computes. The data
may lie elsewhere, but must be the same (`DATASET`)."""

DATASET = "dataset"
"""Key of `config.json` beside the config's own: the fingerprint of the prepared data."""


@dataclass(frozen=True)
class TrainingSettings:
    """How long to train and how often to look; steps throughout, `minutes` of wall time (0: no limit)."""

    steps: int
    minutes: float
    batch_size: int
    steps_per_dispatch: int
    seed: int
    threads: int
    prefetch: int
    log_every: int
    validate_every: int
    validation_slices: int
    checkpoint_every: int
    keep: int
    best: str


@dataclass(frozen=True)
class EvaluationSettings:
    batch_size: int
    checkpoint: str
    bootstrap: int
    examples: int


@dataclass(frozen=True)
class Experiment:
    """All that a run needs, built from its config."""

    name: str
    system: System
    update: Update
    features: FeatureNetwork
    dataset: records.Dataset
    holes: HoleSettings
    fill: float
    training: TrainingSettings
    evaluation: EvaluationSettings
    config: dict[str, Any]

    def describe_data(self) -> dict[str, Any]:
        """For metrics.json: what was scored."""
        subjects = self.dataset.subjects["test"]
        return {
            "directory": str(self.dataset.directory),
            "modality": self.dataset.modality,
            "image_size": self.dataset.image_size,
            "fingerprint": self.dataset.fingerprint,
            "preparation": self.dataset.settings,
            "split": "test",
            "test_subjects": list(subjects),
            "vgg19": self.features.source,
        }

    def describe_holes(self) -> dict[str, Any]:
        """For metrics.json: which holes."""
        return {
            "size": self.holes.size,
            "min_foreground": self.holes.evaluation_min_foreground,
            "seed": self.holes.evaluation_seed,
        }


def build(config: ConfigDict) -> Experiment:
    """Reads the config, checks it, finds the data and the VGG-19 weights. UserError for what cannot be run."""
    check(config)
    dataset = find_dataset(config)
    features = feature_network(config)
    system = make_system(config, features.net)
    return Experiment(
        name=config.system,
        system=system,
        update=make_update(config, system),
        features=features,
        dataset=dataset,
        holes=hole_settings(config),
        fill=config.holes.fill,
        training=_training_settings(config, dataset.slices["train"]),
        evaluation=evaluation_settings(config),
        config=as_json(config) | {DATASET: dataset.fingerprint},
    )


# ------------------------------------------------------------------ networks and systems


def make_system(config: ConfigDict, vgg19: VGG19) -> System:
    """The system named by `config.system`; no weights, no data."""
    return SYSTEMS[config.system](config, vgg19)


def _casnet(config: ConfigDict) -> CasNet:
    generator = config.generator
    return CasNet(
        generator.blocks,
        generator.width,
        generator.dropout,
        _normalise(config),
        _dtype(config),
        stacked=generator.stacked,
        remat=generator.remat,
    )


def _patch_discriminator(config: ConfigDict, layers: int) -> PatchDiscriminator:
    return PatchDiscriminator(layers, config.discriminator.width, _normalise(config), _dtype(config))


def _normalise(config: ConfigDict) -> Normalise:
    settings = config.normalisation
    # parent=None: a template that every network copies, wherever it is made.
    return Normalise(settings.statistics, settings.momentum, dtype=_dtype(config), parent=None)


def _dtype(config: ConfigDict) -> Any:
    return jnp.dtype(config.train.dtype)


def _ipmedgan(config: ConfigDict, vgg19: VGG19) -> System:
    """ip-MedGAN; with a local weight of 0, MedGAN."""
    loss = config.loss
    discriminators = {"global": _patch_discriminator(config, config.discriminator.layers)}
    if loss.local:
        discriminators["local"] = _patch_discriminator(config, LOCAL_LAYERS)
    # A sum over elements grows with the image; lambda_4 is the paper's at its 256 pixels.
    scale = (256 / config.data.image_size) ** 2
    scale = scale if loss.perceptual_scale_by_size and loss.perceptual_reduction == "sum" else 1.0
    return IpMedGAN(
        generator=_casnet(config),
        discriminators=discriminators,
        vgg19=vgg19,
        hole_size=config.holes.size,
        fill=config.holes.fill,
        adversarial=loss.adversarial,
        local=loss.local,
        style=loss.style,
        perceptual=loss.perceptual * scale,
        perceptual_reduction=loss.perceptual_reduction,
        perceptual_layers=tuple(loss.perceptual_layers),
        style_layers=tuple(loss.style_layers),
    )


def _unet(config: ConfigDict, vgg19: VGG19) -> System:
    del vgg19
    return UNet(_casnet(config), config.holes.fill, config.loss.l1_region)


SYSTEMS: dict[str, Callable[[ConfigDict, VGG19], System]] = {
    "ipmedgan": _ipmedgan,
    "medgan": _ipmedgan,
    "unet": _unet,
}
"""Every system that learns, by name."""


def make_update(config: ConfigDict, system: System) -> Update:
    adam = optax.adam(
        config.optimiser.learning_rate, b1=config.optimiser.b1, b2=config.optimiser.b2, eps=config.optimiser.eps
    )
    train = config.train
    return Update(system, adam, train.generator_updates, train.accumulate, train.ema)


def feature_network(config: ConfigDict) -> FeatureNetwork:
    """VGG-19 as `vgg19.weights` names it; read, or fetched on its first use."""
    weights = pretrained.resolve(config.vgg19.weights)
    net = VGG19(weights.preprocessing, dtype=_dtype(config))
    return FeatureNetwork(net, jax.tree.map(jnp.asarray, weights.params), weights.source)


# ------------------------------------------------------------------ data


def preparation_settings(config: ConfigDict) -> preparation.PreparationSettings:
    """What `prepare` does with volumes. UserError for an image size that no network here takes."""
    data = config.data
    _check_image_size(data.image_size)
    return preparation.PreparationSettings(
        modality=config.modality,
        image_size=data.image_size,
        fit=data.fit,
        resample_mm=data.resample_mm,
        window_hu=tuple(data.window_hu),
        percentiles=tuple(data.percentiles),
        foreground_level=data.foreground_level,
        min_foreground=data.min_foreground,
        subject_regex=data.subject_regex,
        split_ratios=tuple(data.split_ratios),
        split_seed=data.split_seed,
        validation_subjects=tuple(data.validation_subjects),
        test_subjects=tuple(data.test_subjects),
        workers=data.workers,
    )


def find_dataset(config: ConfigDict) -> records.Dataset:
    """The prepared data of `data.dir`, or the built-in phantom; UserError where it does not fit the config."""
    if not config.data.dir:
        return _phantom_dataset(config)
    dataset = records.load_dataset(Path(config.data.dir).expanduser())
    for key, found in (("modality", dataset.modality), ("data.image_size", dataset.image_size)):
        wanted = config.modality if key == "modality" else config.data.image_size
        if wanted != found:
            raise UserError(f"{config.data.dir}: prepared with {key} {found!r}, the config has {wanted!r}")
    _warn_of_other_preparation(config, dataset)
    return dataset


def _warn_of_other_preparation(config: ConfigDict, dataset: records.Dataset) -> None:
    """Says which settings the data were prepared with where the config has others; what was prepared stands."""
    wanted = preparation_settings(config).recorded()
    split = ("subject_regex", "split_ratios", "split_seed", "validation_subjects", "test_subjects")
    differing = [key for key, value in dataset.settings.items() if key not in split and wanted.get(key) != value]
    for key in differing:
        logging.warning("%s: prepared with data.%s %r, which stands", dataset.directory, key, dataset.settings[key])


def _phantom_dataset(config: ConfigDict) -> records.Dataset:
    """Phantoms written as NIfTI and prepared like anyone's volumes, once for each kind of settings, in the cache."""
    settings, made = preparation_settings(config), config.phantom
    recipe = json.dumps([settings.recorded(), made.to_dict(), ipmedgan_jax.__version__], sort_keys=True)
    name = f"phantom-{config.modality}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    folder = caches.folder() / name
    logging.warning("data.dir is empty: using the built-in head phantom in %s; its scores say nothing of real scans", folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several runs may start at once: one makes the phantoms, the others wait
            if not (folder / "prepared" / records.DATASET_FILE).exists():
                paths = phantom.write_phantoms(
                    folder / "nifti", config.modality, subjects=made.subjects, slices=made.slices, seed=made.seed
                )
                preparation.prepare(settings, paths, folder / "prepared")
    except OSError as error:
        wanted = "set XDG_CACHE_HOME to a folder that can"
        raise UserError(f"{folder}: cannot be written ({error.strerror or error}): {wanted}") from error
    return records.load_dataset(folder / "prepared")


def hole_settings(config: ConfigDict) -> HoleSettings:
    holes = config.holes
    return HoleSettings(
        size=holes.size,
        foreground=2 * config.data.foreground_level - 1,
        min_foreground=holes.min_foreground,
        evaluation_min_foreground=holes.evaluation_min_foreground,
        evaluation_seed=holes.evaluation_seed,
    )


# ------------------------------------------------------------------ settings


def _training_settings(config: ConfigDict, slices: int) -> TrainingSettings:
    train = config.train
    at_once = train.steps_per_dispatch
    dispatches = max(1, round(train.epochs * slices / train.batch_size / at_once))
    return TrainingSettings(
        steps=train.steps or dispatches * at_once,
        minutes=train.minutes,
        batch_size=train.batch_size,
        steps_per_dispatch=at_once,
        seed=config.seed,
        threads=config.data.threads,
        prefetch=config.data.prefetch,
        log_every=train.log_every,
        validate_every=train.validate_every,
        validation_slices=train.validation_slices,
        checkpoint_every=train.checkpoint_every,
        keep=train.keep,
        best=train.best,
    )


def evaluation_settings(config: ConfigDict) -> EvaluationSettings:
    evaluation = config.evaluation
    return EvaluationSettings(evaluation.batch_size, evaluation.checkpoint, evaluation.bootstrap, evaluation.examples)


def check(config: ConfigDict) -> None:
    """Raises UserError for the first setting that cannot be run, naming the key."""
    for key, allowed in _CHOICES.items():
        if _at(config, key) not in allowed:
            raise UserError(f"config.{key} is {_at(config, key)!r}: wanted one of {', '.join(allowed)}")
    _check_image_size(config.data.image_size)
    if not 16 <= config.holes.size <= config.data.image_size:
        raise UserError(f"config.holes.size is {config.holes.size}: wanted 16 to data.image_size, {config.data.image_size}")
    for key, (low, high) in _RANGES.items():
        if not low <= _at(config, key) <= high:
            wanted = f"at least {low:g}" if high == math.inf else f"{low:g} to {high:g}"
            raise UserError(f"config.{key} is {_at(config, key)}: wanted {wanted}")
    if config.system in ("ipmedgan", "medgan"):
        _check_discriminators(config)
    # The image and each of D's feature maps; one of each of VGG-19's.
    counts = {"perceptual_layers": config.discriminator.layers + 2, "style_layers": len(FEATURES)}
    for key, count in counts.items():
        if len(config.loss[key]) != count:
            raise UserError(f"config.loss.{key} has {len(config.loss[key])} weights: wanted {count}")
    at_once = config.train.steps_per_dispatch
    for key in ("train.steps", "train.log_every", "train.validate_every", "train.checkpoint_every"):
        if _at(config, key) % at_once:
            raise UserError(f"config.{key} is {_at(config, key)}: wanted a multiple of train.steps_per_dispatch, {at_once}")


def _check_discriminators(config: ConfigDict) -> None:
    if config.loss.local and config.holes.size % 2**LOCAL_LAYERS:
        raise UserError(
            f"config.holes.size is {config.holes.size}: the local discriminator wants a multiple of {2**LOCAL_LAYERS}"
        )
    layers, size = config.discriminator.layers, config.data.image_size
    if size < 3 * 2**layers:
        raise UserError(f"config.discriminator.layers is {layers}: leaves no logit of {size} pixels, take fewer layers")


_CHOICES: dict[str, tuple[str, ...]] = {
    "system": tuple(SYSTEMS),
    "modality": ("mri", "ct"),
    "normalisation.statistics": ("example", "batch"),
    "loss.perceptual_reduction": ("sum", "mean"),
    "loss.l1_region": ("hole", "image"),
    "train.dtype": ("float32", "bfloat16"),
    "train.best": VALIDATION_SCORES,
    "evaluation.checkpoint": ("best", "latest"),
}

_AT_LEAST_ONE = (
    *("generator.blocks", "generator.width", "discriminator.width", "discriminator.layers", "data.threads", "data.prefetch"),
    *("train.batch_size", "train.accumulate", "train.generator_updates", "train.steps_per_dispatch", "train.keep"),
    *("train.log_every", "train.validate_every", "train.checkpoint_every", "train.validation_slices"),
    *("evaluation.batch_size", "evaluation.bootstrap", "evaluation.examples"),
)

_RANGES: dict[str, tuple[float, float]] = dict.fromkeys(_AT_LEAST_ONE, (1.0, math.inf)) | {
    "seed": (0, 2**32 - 1),
    "holes.fill": (-1, 1),
    "holes.min_foreground": (0, 1),
    "holes.evaluation_min_foreground": (0, 1),
    "generator.dropout": (0, 0.99),
    "normalisation.momentum": (0, 1),
    "loss.adversarial": (0, math.inf),
    "loss.local": (0, math.inf),
    "loss.style": (0, math.inf),
    "loss.perceptual": (0, math.inf),
    "optimiser.learning_rate": (0, math.inf),
    "optimiser.b1": (0, 0.999999),
    "optimiser.b2": (0, 0.999999),
    "optimiser.eps": (0, math.inf),
    "train.epochs": (0, math.inf),
    "train.steps": (0, math.inf),
    "train.minutes": (0, math.inf),
    "train.ema": (0, 0.999999),
}
"""Lowest and highest value of the numbers that nothing else would refuse in time."""


def _at(config: ConfigDict, key: str) -> Any:
    """The value of a dotted key."""
    group, _, name = key.rpartition(".")
    return (config[group] if group else config)[name]


def _check_image_size(size: int) -> None:
    if size < 32 or size & (size - 1):
        raise UserError(f"config.data.image_size is {size}: wanted a power of two of at least 32")


# ------------------------------------------------------------------ the config as a file


def as_json(config: ConfigDict) -> dict[str, Any]:
    """Plain nested dicts and lists, as `config.json` holds them."""
    return json.loads(json.dumps(config.to_dict()))


def from_json(saved: dict[str, Any]) -> ConfigDict:
    """The config of a `config.json`; lists become the tuples they were."""
    return ConfigDict(_with_tuples({key: value for key, value in saved.items() if key != DATASET})).lock()


def _with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_tuples(each) for key, each in value.items()}
    return tuple(value) if isinstance(value, list) else value


def flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"train": {"steps": 3}}` as `{"train.steps": 3}`."""
    items: dict[str, Any] = {}
    for key, value in nested.items():
        items |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return items


def differing_keys(saved: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """Keys with other values, among those a run may not be resumed with other values of."""
    a, b = flat(saved), flat(current)
    free = tuple(f"{key}." for key in MAY_CHANGE)
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key) and not f"{key}.".startswith(free))
