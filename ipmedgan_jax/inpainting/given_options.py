"""The options of a fill as a caller in Python gives them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.inpainting.filling_options import Filling, MaskChoice
from ipmedgan_jax.inpainting.python_messages import python_names


def given_filling(
    planes: str | Sequence[str],
    samples: int,
    strict: bool,
    dilate_mm: float,
    mask_labels: int | Sequence[int],
    match_mask: str | None,
) -> Filling:
    """Returns the options as `inpaint` has them; UserError for a bad value."""
    labels = (mask_labels,) if isinstance(mask_labels, int | np.integer) else _as_tuple("mask_labels", mask_labels)
    if not all(isinstance(label, int | np.integer) and label > 0 for label in labels):
        raise UserError(f"mask_labels={mask_labels!r}: expected whole numbers above 0, for example (1, 4)")
    if match_mask not in (None, "position", "index"):
        raise UserError(f"match_mask={match_mask!r}: expected 'position' or 'index'")
    with python_names():
        choice = MaskChoice(labels=tuple(map(int, labels)), match=match_mask, dilate_mm=_number("dilate_mm", dilate_mm))
        named = (planes,) if isinstance(planes, str) else _as_tuple("planes", planes)
        if (count := _number("samples", samples)) != round(count):
            raise UserError(f"samples={samples!r}: expected a whole number")
        return Filling(planes=named, samples=round(count), strict=strict, mask=choice)


def _number(name: str, given: Any) -> float:
    """Returns an option as a finite number; UserError for anything else."""
    try:
        number = float(given)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{name}={given!r}: expected a number")
    return number


def _as_tuple(name: str, given: Any) -> tuple[Any, ...]:
    try:
        return tuple(given)
    except TypeError as error:
        raise UserError(f"{name}={given!r}: expected one or a list of them") from error
