"""A config's groups as plain dataclasses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ipmedgan_jax.data.damage import KINDS_BY_MODALITY, DamageSettings
from ipmedgan_jax.data.hole_shapes import ShapeSettings
from ipmedgan_jax.data.pipeline import HoleSettings
from ipmedgan_jax.experiment.checks import _check_image_size
from ipmedgan_jax.imaging.settings import PreparationSettings
from ipmedgan_jax.systems.building_blocks import LossSettings
from ipmedgan_jax.systems.registry import FINDERS


@dataclass(frozen=True)
class TrainingSettings:
    """How long to train and how often to look; steps throughout, `minutes` of wall time (0: no limit)."""

    steps: int
    minutes: float
    batch_size: int
    steps_per_dispatch: int
    seed: int
    mirror: bool
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
    split: str
    batch_size: int
    checkpoint: str
    bootstrap: int
    examples: int


def loss_settings(config: ConfigDict) -> LossSettings:
    """`config.loss` key by key; `perceptual` is rescaled to the image's size where the config says so."""
    loss = config.loss
    values: dict[str, Any] = {key: tuple(loss[key]) if key.endswith("_layers") else loss[key] for key in loss}
    if values.pop("perceptual_scale_by_size") and loss.perceptual_reduction == "sum":
        # A sum over elements grows with the image; lambda_4 is the paper's at its 256 pixels.
        values["perceptual"] *= (256 / config.data.image_size) ** 2
    return LossSettings(**values)


def preparation_settings(config: ConfigDict) -> PreparationSettings:
    """What `prepare` does with volumes. UserError for an image size that no network here takes."""
    data = config.data
    _check_image_size(data.image_size)
    return PreparationSettings(
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


def hole_settings(config: ConfigDict, lesions: Sequence[np.ndarray] = ()) -> HoleSettings:
    """`lesions`: real shapes, for the kind of that name."""
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
        foreground=2 * config.data.foreground_level - 1,
        min_foreground=holes.min_foreground,
        evaluation_min_foreground=holes.evaluation_min_foreground,
        evaluation_seed=holes.evaluation_seed,
        shapes=None if set(holes.kinds) == {"square"} else shapes,
        damage=damage_settings(config) if config.system in FINDERS else None,
    )


def damage_settings(config: ConfigDict) -> DamageSettings:
    damage = config.damage
    kinds = tuple(damage.kinds) or KINDS_BY_MODALITY[config.modality]
    return DamageSettings(
        kinds=kinds,
        shares=tuple(damage.shares) or (1.0,) * len(kinds),
        intact=damage.intact,
        size=config.holes.size,
        smallest=config.holes.smallest,
        foreground=2 * config.data.foreground_level - 1,
    )


def _training_settings(config: ConfigDict, slices: int) -> TrainingSettings:
    train = config.train
    at_once = train.steps_per_dispatch
    images = train.images or train.epochs * slices
    dispatches = max(1, round(images / train.batch_size / at_once))
    return TrainingSettings(
        steps=train.steps or dispatches * at_once,
        minutes=train.minutes,
        batch_size=train.batch_size,
        steps_per_dispatch=at_once,
        seed=config.seed,
        mirror=train.mirror,
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
    return EvaluationSettings(
        evaluation.split, evaluation.batch_size, evaluation.checkpoint, evaluation.bootstrap, evaluation.examples
    )
