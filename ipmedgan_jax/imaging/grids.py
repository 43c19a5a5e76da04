"""Slices of a volume along each axis, and the pixels of a trained network that they are stretched to and back from."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ipmedgan_jax.imaging import geometry
from ipmedgan_jax.imaging.settings import PreparationSettings

PLANES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "axial": geometry.axial_slices,
    "coronal": lambda array: array[::-1, :, ::-1].transpose(1, 2, 0),
    "sagittal": lambda array: array[:, ::-1, ::-1].transpose(0, 2, 1),
}
"""Views of a canonical [X, Y, Z] as slices [S, rows, columns], the head up and, seen from above, the front up."""


def in_plane(plane: str, spacing_mm: tuple[float, float, float]) -> tuple[float, float]:
    """Millimetres from row to row and column to column."""
    x, y, z = spacing_mm
    return {"axial": (y, x), "coronal": (z, x), "sagittal": (z, y)}[plane]


@dataclass(frozen=True)
class SliceGrid:
    """The pixels of a plane's slices as the generator knows them: the source's, stretched in millimetres and to the frame."""

    settings: PreparationSettings
    shape: tuple[int, int]  # of the source's slices
    spacing_mm: tuple[float, float]  # of its rows and columns

    @cached_property
    def _stretches(self) -> list[tuple[int, int, int, float]]:
        """Axis, length before, length after, and the new pixels' distance in old ones: in order, as `prepare` does them."""
        settings, lengths = self.settings, list(self.shape)
        stretches = []
        if settings.resample_mm and not np.allclose(self.spacing_mm, settings.resample_mm, rtol=1e-4):
            for axis, spacing in enumerate(self.spacing_mm):
                after = max(1, round(lengths[axis] * spacing / settings.resample_mm))
                stretches.append((axis, lengths[axis], after, settings.resample_mm / spacing))
                lengths[axis] = after
        if settings.fit == "scale" and max(lengths) != settings.image_size:
            factor = settings.image_size / max(lengths)
            for axis in (0, 1):
                after = max(1, round(lengths[axis] * factor))
                stretches.append((axis, lengths[axis], after, 1 / factor))
                lengths[axis] = after
        return stretches

    def forth(self, slices: np.ndarray) -> np.ndarray:
        """`[S, rows, columns]` of the source -> of the generator's pixels."""
        for axis, _, after, step in self._stretches:
            slices = geometry.stretch(slices, axis + 1, after, step)
        return slices

    def back(self, slices: np.ndarray) -> np.ndarray:
        for axis, before, _, step in reversed(self._stretches):
            slices = geometry.stretch(slices, axis + 1, before, 1 / step)
        return slices

    def forth_along(self, axis: int, shares: np.ndarray) -> np.ndarray:
        """One value a row or column of the source -> one a row or column of pixels."""
        for each, _, after, step in self._stretches:
            if each == axis:
                shares = geometry.stretch(shares, 0, after, step)
        return shares
