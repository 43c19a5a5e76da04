"""Filling scans with a trained generator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging.scans import Scan
from ipmedgan_jax.inpainting import checks, fill
from ipmedgan_jax.inpainting.masked_volume import MaskedVolume
from ipmedgan_jax.inpainting.model import Generator
from ipmedgan_jax.inpainting.training_checks import describe_training, training_warnings


@dataclass(frozen=True)
class LearnedFiller:
    """A trained generator as a `Filler`."""

    generator: Generator
    kind: str = "a neural network"

    @property
    def name(self) -> str:
        return self.generator.name

    @property
    def label(self) -> str:
        return f"{self.name} at step {self.step}"

    @property
    def step(self) -> int:
        return self.generator.step

    @property
    def source(self) -> str:
        return self.generator.source

    @property
    def weights_sha256(self) -> str:
        return self.generator.weights_sha256

    @property
    def modality(self) -> str:
        return self.generator.trained.preparation.modality

    def training(self) -> dict[str, Any]:
        return describe_training(self.generator)

    def check_hu(self, scan: Scan) -> list[str]:
        if self.modality != "ct":
            raise UserError("--mask_above_hu: this generator was trained on MRI, whose intensities are not HU; give a --mask")
        return []

    def open(self, scan: Scan, mask: np.ndarray, planes: Sequence[str]) -> "LearnedFill":
        return LearnedFill(self.generator, scan, MaskedVolume(self.generator.trained, scan.volume, mask, tuple(planes)))


@dataclass(frozen=True)
class LearnedFill:
    """A generator's fill of one scan."""

    generator: Generator
    scan: Scan
    masked: MaskedVolume

    @property
    def slice_count(self) -> int:
        return self.masked.slice_count

    def warnings(self) -> list[str]:
        checks.check_known(self.masked)
        lines = checks.plausibility_warnings(self.masked, self.generator.training_data)
        return lines + training_warnings(self.generator, self.scan)

    def filled(self, done: Callable[[int], object]) -> np.ndarray:
        return fill.inpaint_volume(self.generator.inpaint, self.masked, done=done)

    def deviation(self, samples: int, done: Callable[[int], object]) -> np.ndarray:
        return fill.deviation(self.generator.inpaint, self.masked, samples=samples, done=done)
