"""The settings of preparation (scans to slices), shared by `prepare` and `inpaint`."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ipmedgan_jax.core import fold_choice
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import scans

FIT_MODES = ("crop_or_pad", "scale", "window")
"""How slices are brought to `image_size`.

`crop_or_pad` keeps the pixels and centres one window on the head; `scale` scales the longer side to `image_size`. `window`
keeps whole slices, of which a network sees a window of `image_size` round each hole.
"""

FOREGROUND_MODES = ("head", "threshold")
"""What counts as foreground: the head as one object, or every voxel above `foreground_level`."""

ADDED_SETTINGS: dict[str, Any] = {"foreground": "threshold", "fold": ""}
"""Settings that were added after the first prepared data, with the value that stands for data that do not record them."""


_NOT_RECORDED = ("assume_axial", "workers")
"""Settings that decide whether and how fast records are made, and not what they hold."""


@dataclass(frozen=True)
class PreparationSettings:
    """The settings of `config.data` that determine the records; configs/base.py gives their units and reasons."""

    modality: str
    image_size: int
    fit: str = "crop_or_pad"
    resample_mm: float = 1.0
    window_hu: tuple[float, float] = (-1000.0, 2000.0)
    percentiles: tuple[float, float] = (0.5, 99.5)
    foreground: str = "head"
    foreground_level: float = 0.05
    min_foreground: float = 0.05
    assume_axial: bool = False
    subject_regex: str = ""
    split_ratios: tuple[float, float, float] = (0.7, 0.1, 0.2)
    split_seed: int = 0
    validation_subjects: tuple[str | int, ...] = ()
    test_subjects: tuple[str | int, ...] = ()
    fold: str = ""
    workers: int = 2

    def __post_init__(self) -> None:
        """UserError if a value is out of range."""
        for name, expected, valid in (
            ("modality", "mri or ct", self.modality in scans.MODALITIES),
            ("data.image_size", "at least 1", self.image_size >= 1),
            ("data.fit", " or ".join(FIT_MODES), self.fit in FIT_MODES),
            ("data.resample_mm", "0 or more", 0 <= self.resample_mm < math.inf),
            ("data.window_hu", "two rising numbers", _is_rising(self.window_hu)),
            (
                "data.percentiles",
                "two rising numbers in 0..100",
                _is_rising(self.percentiles) and self.percentiles[0] >= 0 and self.percentiles[1] <= 100,
            ),
            ("data.foreground", " or ".join(FOREGROUND_MODES), self.foreground in FOREGROUND_MODES),
            ("data.foreground_level", "at least 0 and below 1", 0 <= self.foreground_level < 1),
            ("data.min_foreground", "in 0..1", 0 <= self.min_foreground <= 1),
            ("data.split_ratios", "three shares, not negative, with a sum above 0", _are_shares(self.split_ratios)),
            (
                "data.fold",
                f"k of n, with k from 1 to n and n at least {fold_choice.SMALLEST}{fold_choice.suggestion(self.fold)}",
                not self.fold or fold_choice.parse(self.fold) is not None,
            ),
            ("data.workers", "at least 1", self.workers >= 1),
        ):
            if not valid:
                raise UserError(f"{name} is {getattr(self, name.removeprefix('data.'))!r}; it must be {expected}")

    @property
    def keeps_whole_slices(self) -> bool:
        """Whether a network sees windows of whole slices."""
        return self.fit == "window"

    def window(self, intensities: np.ndarray) -> tuple[float, float]:
        """Returns the intensities that map to -1 and to 1; see `scans.intensity_window`."""
        return scans.intensity_window(
            intensities,
            self.modality,
            window_hu=self.window_hu,
            percentiles=self.percentiles,
            foreground_level=self.foreground_level,
        )

    def threshold(self, window: scans.Window) -> float:
        """Returns the intensity above which a voxel is foreground rather than air."""
        low, high = window
        return low + self.foreground_level * (high - low)

    def as_recorded(self, settings: Mapping[str, Any]) -> "PreparationSettings":
        """Returns these settings with their values replaced by those of a dataset, in the form that `recorded` gives."""
        found = ADDED_SETTINGS | dict(settings)
        values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
        return replace(self, **values)

    def recorded(self) -> dict:
        """Returns the settings that the records depend on, as they are after a round trip through JSON.

        A setting that was added later is left out at the value of older data, whose fingerprint must not change.
        """
        values = asdict(self)
        left_out = {key: values[key] for key in _NOT_RECORDED} | ADDED_SETTINGS
        return json.loads(
            json.dumps({key: value for key, value in values.items() if key not in left_out or value != left_out[key]})
        )


def _is_rising(values: Sequence[float]) -> bool:
    return len(values) == 2 and -math.inf < values[0] < values[1] < math.inf


def _are_shares(values: Sequence[float]) -> bool:
    return len(values) == 3 and all(0 <= value < math.inf for value in values) and sum(values) > 0
