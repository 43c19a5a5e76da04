"""Checks of a config before anything starts: a setting that cannot be run raises an error that names its key."""

import math
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from ipmedgan_jax.core import checkpoint_choice
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.spelling import suggestion
from ipmedgan_jax.data.damage import KINDS as DAMAGES
from ipmedgan_jax.data.damage import KINDS_BY_MODALITY
from ipmedgan_jax.data.hole_shapes import KINDS
from ipmedgan_jax.experiment.network_size import input_size
from ipmedgan_jax.networks.vgg19 import FEATURES
from ipmedgan_jax.systems.registry import FINDERS, SYSTEMS

LARGEST_IMAGE = 8192
"""Side in pixels of the largest images that a network may be built for."""

FINDING_SCORES = ("dice", "sensitivity", "precision")


VALIDATION_SCORES = ("ssim", "psnr", "mse", "mae", "uqi", "uqi_sewar", "vgg_distance")


def check_config(config: ConfigDict) -> None:
    """Raises UserError for the first setting that cannot be run; the message names its key."""
    for key, allowed in _CHOICES.items():
        value = _value_at(config, key)
        if value not in allowed:
            nearest = suggestion(value, allowed)
            raise UserError(f"config.{key} is {value!r}: expected one of {', '.join(allowed)}{nearest}")
    if not checkpoint_choice.is_choice(chosen := config.evaluation.checkpoint):
        raise UserError(f"config.evaluation.checkpoint is {chosen!r}: expected best, latest or a step, such as '4000'")
    check_image_size(config)
    key, size = _size_key(config), input_size(config)
    if not 16 <= config.holes.size <= size:
        raise UserError(f"config.holes.size is {config.holes.size}: expected 16 to {key}, {size}")
    holes = config.holes
    _check_kinds(config, "holes", KINDS)
    _check_kinds(config, "damage", DAMAGES)
    if config.train.best not in (FINDING_SCORES if config.system in FINDERS else VALIDATION_SCORES):
        choices = ", ".join(FINDING_SCORES if config.system in FINDERS else VALIDATION_SCORES)
        best = config.train.best
        raise UserError(f"config.train.best is {best!r}, which {config.system} does not report; choose one of {choices}")
    if not 1 <= holes.smallest <= holes.size:
        raise UserError(f"config.holes.smallest is {holes.smallest}: expected 1 to holes.size, {holes.size}")
    for key in _AT_LEAST_ONE:
        if type(_value_at(config, key)) is not int:
            raise UserError(f"config.{key} is {_value_at(config, key)!r}: expected a whole number")
    for key, (low, high) in _RANGES.items():
        if not low <= _value_at(config, key) <= high:
            expected = f"at least {low:g}" if high == math.inf else f"{low:g} to {high:g}"
            raise UserError(f"config.{key} is {_value_at(config, key)}: expected {expected}")
    _check_augmentation(config)
    if config.data.window and config.train.target_cache_gib:
        raise UserError("config.train.target_cache_gib keeps values of slices that recur: expected 0 with config.data.window")
    for key, weight in config.loss.items():
        if isinstance(weight, float) and not 0 <= weight < math.inf:
            raise UserError(f"config.loss.{key} is {weight}: expected at least 0")
    if config.train.generator_alone + config.train.discriminators_alone >= 1:
        raise UserError("config.train.generator_alone and discriminators_alone: expected a sum below 1")
    # Perceptual weights: the image and each of D's feature maps. Style weights: each of VGG-19's feature maps.
    counts = {"perceptual_layers": config.discriminator.layers + 2, "style_layers": len(FEATURES)}
    for key, count in counts.items():
        if len(config.loss[key]) != count:
            raise UserError(f"config.loss.{key} has {len(config.loss[key])} weights: expected {count}")
    per_dispatch = config.train.steps_per_dispatch
    for key in ("train.steps", "train.log_every", "train.validate_every", "train.checkpoint_every"):
        if (steps := _value_at(config, key)) % per_dispatch:
            raise UserError(f"config.{key} is {steps}: expected a multiple of train.steps_per_dispatch, {per_dispatch}")


def _check_augmentation(config: ConfigDict) -> None:
    """Raises UserError for augmentation that another setting makes useless or wrong."""
    augment = config.augment
    for key in ("scale", "gamma"):
        if 0 < augment[key] < 1:
            raise UserError(f"config.augment.{key} is {augment[key]}: expected 0 (off) or a factor of at least 1")
    if any(augment.values()) and config.train.target_cache_gib:
        raise UserError("config.train.target_cache_gib keeps values of slices that recur: expected 0 with config.augment")
    if augment.crop and config.system in FINDERS:
        raise UserError(
            f"config.augment.crop is {augment.crop}: expected 0 for {config.system}, to which a cut head is damage"
        )


def _check_kinds(config: ConfigDict, group: str, known: Mapping[str, Any]) -> None:
    """Raises UserError unless the group's kinds are known and each has a share.

    Without shares all kinds are drawn alike. Without kinds of damage those of the modality are simulated.
    """
    kinds, shares = config[group].kinds, config[group].shares
    if any(kind not in known for kind in kinds) or (group == "holes" and not kinds):
        raise UserError(f"config.{group}.kinds is {tuple(kinds)}: expected some of {', '.join(known)}")
    count = len(kinds or KINDS_BY_MODALITY[config.modality])
    if len(shares) not in (0, count) or (shares and not 0 < sum(shares) < math.inf):
        raise UserError(f"config.{group}.shares is {tuple(shares)}: expected a share for each of {count} kinds")


_CHOICES: dict[str, tuple[str, ...]] = {
    "system": (*SYSTEMS, *FINDERS),
    "modality": ("mri", "ct"),
    "optimiser.name": ("adam", "adadelta", "sgd"),
    "normalisation.statistics": ("example", "batch"),
    "loss.perceptual_reduction": ("sum", "mean"),
    "loss.l1_region": ("hole", "image"),
    "train.dtype": ("float32", "bfloat16"),
    "train.on_nonfinite": ("stop", "skip"),
    "train.best": (*VALIDATION_SCORES, *FINDING_SCORES),
    "evaluation.split": ("test", "validation"),
}


_AT_LEAST_ONE = (
    *("generator.blocks", "generator.width", "discriminator.width", "discriminator.layers", "data.threads", "data.prefetch"),
    *("train.batch_size", "train.accumulate", "train.generator_updates", "train.steps_per_dispatch", "train.keep"),
    *("train.log_every", "train.validate_every", "train.checkpoint_every", "train.validation_slices"),
    *("evaluation.batch_size", "evaluation.examples"),
)


_RANGES: dict[str, tuple[float, float]] = dict.fromkeys(_AT_LEAST_ONE, (1.0, math.inf)) | {
    # Networks are built from configs of others, too: within these bounds that takes seconds.
    "generator.blocks": (1, 100),
    "generator.width": (1, 4096),
    "discriminator.layers": (1, 16),
    "discriminator.width": (1, 4096),
    "seed": (0, 2**32 - 1),
    "holes.fill": (-1, 1),
    "holes.min_foreground": (0, 1),
    "holes.evaluation_min_foreground": (0, 1),
    "augment.scale": (0, 3),
    "augment.rotation": (0, 180),
    "augment.blur": (0, 3),
    "augment.gamma": (0, 3),
    "augment.bias": (0, 0.9),
    "augment.window": (0, 0.5),
    "augment.noise": (0, 0.5),
    "augment.crop": (0, 1),
    "augment.lesion": (0, 1),
    "damage.intact": (0, 1),
    "generator.dropout": (0, 0.99),
    "normalisation.momentum": (0, 1),
    "optimiser.learning_rate": (0, math.inf),
    "optimiser.discriminator_rate": (0, math.inf),
    "optimiser.rate_batch": (0, math.inf),
    "optimiser.warmup_steps": (0, math.inf),
    "optimiser.decay": (0, 1),
    "data.window": (0, math.inf),
    "optimiser.b1": (0, 0.999999),
    "optimiser.b2": (0, 0.999999),
    "optimiser.eps": (0, math.inf),
    "train.epochs": (0, math.inf),
    "train.images": (0, math.inf),
    "train.steps": (0, math.inf),
    "train.minutes": (0, math.inf),
    "train.target_cache_gib": (0, math.inf),
    "train.ema": (0, 0.999999),
    "train.generator_alone": (0, 0.999999),
    "train.discriminators_alone": (0, 0.999999),
}
"""Lowest and highest value of the numbers that no later check would refuse in time."""


def _value_at(config: ConfigDict, key: str) -> Any:
    """Returns the value of a dotted key."""
    group, _, name = key.rpartition(".")
    return (config[group] if group else config)[name]


def check_image_size(config: ConfigDict) -> None:
    """Raises UserError unless the networks take images of the config's size."""
    size = input_size(config)
    if not 32 <= size <= LARGEST_IMAGE or size & (size - 1):
        raise UserError(
            f"config.{_size_key(config)} is {size}: expected a power of two of at least 32, and at most {LARGEST_IMAGE}"
        )


def _size_key(config: ConfigDict) -> str:
    return "data.window" if config.data.window else "data.image_size"
