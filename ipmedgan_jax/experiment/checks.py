"""Settings that cannot be run are refused before anything starts, each by its key."""

import math
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data.damage import KINDS as DAMAGES
from ipmedgan_jax.data.damage import KINDS_BY_MODALITY
from ipmedgan_jax.data.hole_shapes import KINDS
from ipmedgan_jax.networks.vgg19 import FEATURES
from ipmedgan_jax.systems.registry import FINDERS, SYSTEMS

FINDING_SCORES = ("dice", "sensitivity", "precision")


VALIDATION_SCORES = ("ssim", "psnr", "mse", "mae", "uqi", "uqi_sewar", "vgg_distance")


def check(config: ConfigDict) -> None:
    """Raises UserError for the first setting that cannot be run, naming the key."""
    for key, allowed in _CHOICES.items():
        if _at(config, key) not in allowed:
            raise UserError(f"config.{key} is {_at(config, key)!r}: wanted one of {', '.join(allowed)}")
    _check_image_size(config.data.image_size)
    if not 16 <= config.holes.size <= config.data.image_size:
        raise UserError(f"config.holes.size is {config.holes.size}: wanted 16 to data.image_size, {config.data.image_size}")
    holes = config.holes
    _check_shares(config, "holes", KINDS)
    _check_shares(config, "damage", DAMAGES)
    if config.train.best not in (FINDING_SCORES if config.system in FINDERS else VALIDATION_SCORES):
        choices = ", ".join(FINDING_SCORES if config.system in FINDERS else VALIDATION_SCORES)
        best = config.train.best
        raise UserError(f"config.train.best is {best!r}, which {config.system} does not report; choose one of {choices}")
    if not 1 <= holes.smallest <= holes.size:
        raise UserError(f"config.holes.smallest is {holes.smallest}: wanted 1 to holes.size, {holes.size}")
    for key, (low, high) in _RANGES.items():
        if not low <= _at(config, key) <= high:
            wanted = f"at least {low:g}" if high == math.inf else f"{low:g} to {high:g}"
            raise UserError(f"config.{key} is {_at(config, key)}: wanted {wanted}")
    for key, weight in config.loss.items():
        if isinstance(weight, float) and not 0 <= weight < math.inf:
            raise UserError(f"config.loss.{key} is {weight}: wanted at least 0")
    if config.train.generator_alone + config.train.discriminators_alone >= 1:
        raise UserError("config.train.generator_alone and discriminators_alone: wanted less than 1 in all")
    # The image and each of D's feature maps; one of each of VGG-19's.
    counts = {"perceptual_layers": config.discriminator.layers + 2, "style_layers": len(FEATURES)}
    for key, count in counts.items():
        if len(config.loss[key]) != count:
            raise UserError(f"config.loss.{key} has {len(config.loss[key])} weights: wanted {count}")
    at_once = config.train.steps_per_dispatch
    for key in ("train.steps", "train.log_every", "train.validate_every", "train.checkpoint_every"):
        if _at(config, key) % at_once:
            raise UserError(f"config.{key} is {_at(config, key)}: wanted a multiple of train.steps_per_dispatch, {at_once}")


def _check_shares(config: ConfigDict, group: str, known: Mapping[str, Any]) -> None:
    """Kinds that there are, and a share for each. No kinds of damage stand for those of the modality."""
    kinds, shares = config[group].kinds, config[group].shares
    if any(kind not in known for kind in kinds) or (group == "holes" and not kinds):
        raise UserError(f"config.{group}.kinds is {tuple(kinds)}: wanted some of {', '.join(known)}")
    count = len(kinds or KINDS_BY_MODALITY[config.modality])
    if len(shares) not in (0, count) or (shares and not 0 < sum(shares) < math.inf):
        raise UserError(f"config.{group}.shares is {tuple(shares)}: wanted a share for each of {count} kinds")


_CHOICES: dict[str, tuple[str, ...]] = {
    "system": (*SYSTEMS, *FINDERS),
    "modality": ("mri", "ct"),
    "optimiser.name": ("adam", "adadelta", "sgd"),
    "normalisation.statistics": ("example", "batch"),
    "loss.perceptual_reduction": ("sum", "mean"),
    "loss.l1_region": ("hole", "image"),
    "train.dtype": ("float32", "bfloat16"),
    "train.best": (*VALIDATION_SCORES, *FINDING_SCORES),
    "evaluation.split": ("test", "validation"),
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
    "damage.intact": (0, 1),
    "generator.dropout": (0, 0.99),
    "normalisation.momentum": (0, 1),
    "optimiser.learning_rate": (0, math.inf),
    "optimiser.discriminator_rate": (0, math.inf),
    "optimiser.rate_batch": (0, math.inf),
    "optimiser.b1": (0, 0.999999),
    "optimiser.b2": (0, 0.999999),
    "optimiser.eps": (0, math.inf),
    "train.epochs": (0, math.inf),
    "train.images": (0, math.inf),
    "train.steps": (0, math.inf),
    "train.minutes": (0, math.inf),
    "train.ema": (0, 0.999999),
    "train.generator_alone": (0, 0.999999),
    "train.discriminators_alone": (0, 0.999999),
}
"""Lowest and highest value of the numbers that nothing else would refuse in time."""


def _at(config: ConfigDict, key: str) -> Any:
    """The value of a dotted key."""
    group, _, name = key.rpartition(".")
    return (config[group] if group else config)[name]


def _check_image_size(size: int) -> None:
    if size < 32 or size & (size - 1):
        raise UserError(f"config.data.image_size is {size}: wanted a power of two of at least 32")
