"""A generator loaded to fill scans, with the settings that it was trained for."""

from dataclasses import dataclass
from typing import Any

from ipmedgan_jax.core import json_fields
from ipmedgan_jax.data.batches import Inpaint
from ipmedgan_jax.imaging.settings import ADDED_SETTINGS, PreparationSettings


@dataclass(frozen=True)
class Trained:
    """The settings that a generator was trained for.

    A generator trained on squares still receives the mask's own shape. On lesion outlines this is 0.4 to 1 dB better than to
    remove the known pixels inside the square too (`benchmarks/lesion_holes.py`, FLAIR, two systems).

    Attributes:
      preparation: the settings of the training data.
      hole_size: side of the hole's box, in pixels.
      trained_on_any_shape: whether training used holes of other shapes than whole squares of `hole_size` pixels.
      batch_size: slices per call of the generator.
      inputs: arrays that the generator takes beside image, hole and hole mask, in order: any of `noise`, `opposite`.
    """

    preparation: PreparationSettings
    hole_size: int
    trained_on_any_shape: bool
    batch_size: int
    inputs: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, fields: Any) -> "Trained":
        """Returns the settings that `dataclasses.asdict` and JSON turned into `fields`.

        ValueError or UserError for fields that are missing, unknown, of another type or out of range.
        """
        if isinstance(fields, dict) and isinstance(recorded := fields.get("preparation"), dict):
            fields = fields | {"preparation": ADDED_SETTINGS | recorded}
        trained = json_fields.build(cls, fields, "trained.")
        if trained.hole_size < 1 or trained.batch_size < 1:
            raise ValueError("trained.hole_size, trained.batch_size: expected at least 1")
        if unknown := set(trained.inputs) - {"noise", "opposite"}:
            raise ValueError(f"trained.inputs: unknown {min(unknown)}")
        return trained


@dataclass(frozen=True)
class Generator:
    """A trained generator.

    Attributes:
      name: the system.
      step: the checkpoint's step.
      source: the folder that it was loaded from.
      trained: what it was trained for.
      training_data: the description of the training scans in a run's `data.json`, and `slices_seen`, the number of slices
        that training saw, repetitions included; entries that an earlier version did not write are missing.
      inpaint: returns inpainted images.
      weights_sha256: digest of the weights; a run and its exported model have the same.
    """

    name: str
    step: int
    source: str
    trained: Trained
    training_data: dict[str, Any]
    inpaint: Inpaint
    weights_sha256: str = ""
