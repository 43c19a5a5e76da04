"""The description of training scans, as `data.json` of a run and `model.json` of a model hold it.

`Dataset.training_data` makes it.
"""

from dataclasses import dataclass, field
from typing import Any

from ipmedgan_jax.core import json_fields
from ipmedgan_jax.imaging.settings import ADDED_SETTINGS, PreparationSettings


@dataclass(frozen=True)
class _TrainingData:
    """The entries and their types; an earlier version did not write all of them."""

    modality: str = ""
    subjects: int = 0
    volumes: int = 0
    slices: int = 0
    contrasts: tuple[str, ...] = ()
    lowest_spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    highest_spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    preparation: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    phantom: bool = False
    slices_seen: int = 0


def check(fields: Any, where: str = "") -> dict[str, Any]:
    """Returns a description of training scans as it is; ValueError or UserError for an unknown or impossible entry."""
    found = json_fields.build(_TrainingData, fields, where)
    if min(found.subjects, found.volumes, found.slices, found.slices_seen) < 0:
        raise ValueError(f"{where}slices: a number below 0")
    if found.preparation:
        json_fields.build(PreparationSettings, ADDED_SETTINGS | found.preparation, f"{where}preparation.")
    return fields
