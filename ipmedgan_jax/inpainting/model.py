"""A generator loaded to fill scans, and what it was trained for."""

from dataclasses import dataclass
from typing import Any

from ipmedgan_jax.data.batches import Inpaint
from ipmedgan_jax.imaging.settings import PreparationSettings


@dataclass(frozen=True)
class Trained:
    """What a generator was trained for. `any_shape`: holes of other shapes than whole squares of `hole_size` pixels.

    One that was trained on squares is shown the mask's own shape all the same: on lesions' outlines that is 0.4 to 1 dB
    better than to take what is known inside the square from it (`benchmarks/lesion_holes.py`, FLAIR, two systems).
    """

    preparation: PreparationSettings
    hole_size: int
    trained_on_any_shape: bool
    batch_size: int


@dataclass(frozen=True)
class Generator:
    """A trained generator.

    Attributes:
      name, step, source: the system, the checkpoint, and where it was loaded from.
      training_data: the training scans, as a run's `data.json` has them; empty where that is not known.
    """

    name: str
    step: int
    source: str
    trained: Trained
    training_data: dict[str, Any]
    inpaint: Inpaint
