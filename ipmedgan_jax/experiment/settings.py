"""Converts groups of a config to dataclasses of settings, which the other packages take."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ipmedgan_jax.data.augmentation import AugmentationSettings
from ipmedgan_jax.data.damage import KINDS_BY_MODALITY, DamageSettings
from ipmedgan_jax.data.hole_shapes import ShapeSettings
from ipmedgan_jax.data.pipeline import HoleSettings
from ipmedgan_jax.experiment.checks import check_image_size
from ipmedgan_jax.experiment.network_size import input_size
from ipmedgan_jax.imaging.settings import PreparationSettings
from ipmedgan_jax.systems.building_blocks import LossSettings
from ipmedgan_jax.systems.registry import FINDERS


@dataclass(frozen=True)
class TrainingSettings:
    """How long to train, and how often to log, validate and save.

    Lengths and intervals count steps; `minutes` is wall time (0: no limit). configs/base.py explains each key.
    """

    steps: int
    minutes: float
    batch_size: int
    steps_per_dispatch: int
    seed: int
    mirror: bool
    augmentation: AugmentationSettings | None
    target_cache_gib: float
    threads: int
    prefetch: int
    log_every: int
    validate_every: int
    validation_slices: int
    checkpoint_every: int
    keep: int
    best: str
    start_from: str
    wandb_project: str


@dataclass(frozen=True)
class EvaluationSettings:
    """Which slices and checkpoint to evaluate, and how; configs/base.py explains each key."""

    split: str
    batch_size: int
    checkpoint: str
    examples: int


def loss_settings(config: ConfigDict) -> LossSettings:
    """Returns `config.loss`; rescales `perceptual` to the image size if `perceptual_scale_by_size` says so."""
    loss = config.loss
    values: dict[str, Any] = {key: tuple(loss[key]) if key.endswith("_layers") else loss[key] for key in loss}
    if values.pop("perceptual_scale_by_size") and loss.perceptual_reduction == "sum":
        # A sum over elements grows with the image; the paper's lambda_4 is for its images of 256 pixels.
        values["perceptual"] *= (256 / input_size(config)) ** 2
    return LossSettings(**values)


def preparation_settings(config: ConfigDict) -> PreparationSettings:
    """Returns the settings of `prepare`. Raises UserError for an image size that the networks do not take."""
    data = config.data
    check_image_size(config)
    return PreparationSettings(
        modality=config.modality,
        image_size=input_size(config),
        fit="window" if data.window else data.fit,
        resample_mm=data.resample_mm,
        window_hu=tuple(data.window_hu),
        percentiles=tuple(data.percentiles),
        foreground=data.foreground,
        foreground_level=data.foreground_level,
        min_foreground=data.min_foreground,
        assume_axial=data.assume_axial,
        subject_regex=data.subject_regex,
        split_ratios=tuple(data.split_ratios),
        split_seed=data.split_seed,
        validation_subjects=tuple(data.validation_subjects),
        test_subjects=tuple(data.test_subjects),
        fold=data.fold,
        workers=data.workers,
    )


def hole_settings(
    config: ConfigDict,
    lesions: Sequence[np.ndarray] = (),
    *,
    avoids: bool = False,
    prepared: PreparationSettings | None = None,
) -> HoleSettings:
    """Returns the settings of holes and of simulated damage.

    Args:
      lesions: the real shapes of the kind `lesion`.
      avoids: whether the data have pixels that holes keep clear of.
      prepared: what the data were prepared with, whose level of the foreground counts; None: the config's.
    """
    level = prepared.foreground_level if prepared else config.data.foreground_level
    holes = config.holes
    shapes = ShapeSettings(
        kinds=tuple(holes.kinds),
        shares=tuple(holes.shares) or (1.0,) * len(holes.kinds),
        size=holes.size,
        smallest=holes.smallest,
        lesions=lesions,
    )
    return HoleSettings(
        size=holes.size,
        foreground=2 * level - 1,
        min_foreground=holes.min_foreground,
        evaluation_min_foreground=holes.evaluation_min_foreground,
        evaluation_seed=holes.evaluation_seed,
        avoids=avoids,
        window=config.data.window,
        noise=config.generator.noise and config.system not in FINDERS,
        opposite=config.generator.opposite and config.system not in FINDERS,
        shapes=None if set(holes.kinds) == {"square"} else shapes,
        damage=damage_settings(config, level) if config.system in FINDERS else None,
    )


def damage_settings(config: ConfigDict, foreground_level: float) -> DamageSettings:
    """Returns the settings of simulated damage; without kinds, those of the modality."""
    damage = config.damage
    kinds = tuple(damage.kinds) or KINDS_BY_MODALITY[config.modality]
    return DamageSettings(
        kinds=kinds,
        shares=tuple(damage.shares) or (1.0,) * len(kinds),
        intact=damage.intact,
        size=config.holes.size,
        smallest=config.holes.smallest,
        foreground=2 * foreground_level - 1,
    )


def augmentation_settings(config: ConfigDict) -> AugmentationSettings | None:
    """Returns `config.augment`; None if every part is off."""
    settings = AugmentationSettings(**config.augment)
    return settings if settings.is_on else None


def training_settings(config: ConfigDict, slices: int) -> TrainingSettings:
    """Returns the settings of training on `slices` slices.

    `train.steps`, or else `train.images`, or else `train.epochs` sets the length. The last two are rounded to whole
    dispatches, at least one.
    """
    train = config.train
    per_dispatch = train.steps_per_dispatch
    images = train.images or train.epochs * slices
    dispatches = max(1, round(images / train.batch_size / per_dispatch))
    return TrainingSettings(
        steps=train.steps or dispatches * per_dispatch,
        minutes=train.minutes,
        batch_size=train.batch_size,
        steps_per_dispatch=per_dispatch,
        seed=config.seed,
        mirror=train.mirror,
        augmentation=augmentation_settings(config),
        target_cache_gib=train.target_cache_gib,
        threads=config.data.threads,
        prefetch=config.data.prefetch,
        log_every=train.log_every,
        validate_every=train.validate_every,
        validation_slices=train.validation_slices,
        checkpoint_every=train.checkpoint_every,
        keep=train.keep,
        best=train.best,
        start_from=train.start_from,
        wandb_project=train.wandb_project,
    )


def evaluation_settings(config: ConfigDict) -> EvaluationSettings:
    """Returns `config.evaluation`."""
    evaluation = config.evaluation
    return EvaluationSettings(evaluation.split, evaluation.batch_size, evaluation.checkpoint, evaluation.examples)
