"""From a scan's voxels to a network's pixels and back: slices along a plane, their stretches, and the input window.

`prepare` makes records of a volume's axial slices in this way, `inpaint` shows a trained network a scan's slices in it, and
brings what the network returns back to the scan's voxels:

1. `PLANES[plane]` views a volume as slices `[S, rows, columns]` of voxels;
2. `SliceGrid.to_pixels` stretches them to the network's pixels, `to_voxels` stretches pixels back;
3. `SliceGrid.window_corner` places the input window on the head, once for a volume, and `cut_window` cuts it out.

`prepare` resamples the volume through its slices first (`scans.resample`), so that slices of all scans lie equally far
apart; `inpaint` fills the scan's own slices, and interpolates nothing from slice to slice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ipmedgan_jax.imaging import geometry
from ipmedgan_jax.imaging.settings import PreparationSettings

Corner = tuple[int, int]
"""Row and column of a window's first pixel; negative where it begins before the slice."""

PLANES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "axial": lambda array: array[::-1, ::-1].transpose(2, 1, 0),
    "coronal": lambda array: array[::-1, :, ::-1].transpose(1, 2, 0),
    "sagittal": lambda array: array[:, ::-1, ::-1].transpose(0, 2, 1),
}
"""Views of a canonical [X, Y, Z] as slices [S, rows, columns], as a radiologist sees them.

Axial: row 0 is anterior, column 0 the subject's right, slice 0 the lowest. In the other planes the head is up.
"""


def in_plane(plane: str, spacing_mm: tuple[float, float, float]) -> tuple[float, float]:
    """Millimetres from row to row and from column to column of a plane's slices; `spacing_mm` is along X, Y, Z."""
    x, y, z = spacing_mm
    return {"axial": (y, x), "coronal": (z, x), "sagittal": (z, y)}[plane]


@dataclass(frozen=True)
class SliceGrid:
    """The voxels of one plane's slices `[S, rows, columns]`, and the pixels of a network trained with `settings`."""

    settings: PreparationSettings
    shape: tuple[int, int]  # rows and columns of voxels
    spacing_mm: tuple[float, float]  # from row to row, and from column to column

    @classmethod
    def of(
        cls, settings: PreparationSettings, plane: str, slices: np.ndarray, spacing_mm: tuple[float, float, float]
    ) -> "SliceGrid":
        """The grid of a plane's slices of a volume whose voxels are `spacing_mm` apart along X, Y, Z."""
        rows, columns = slices.shape[1:]
        return cls(settings, (rows, columns), in_plane(plane, spacing_mm))

    @cached_property
    def _resampling(self) -> list[geometry.Stretch]:
        return geometry.resampling(self.shape, self.spacing_mm, self.settings.resample_mm)

    @cached_property
    def _scaling(self) -> list[geometry.Stretch]:
        if self.settings.fit != "scale":
            return []
        return geometry.scaling(_lengths(self.shape, self._resampling), self.settings.image_size)

    @property
    def pixel_shape(self) -> tuple[int, int]:
        """Rows and columns of pixels."""
        return _lengths(self.shape, self._resampling + self._scaling)

    @property
    def pixel_spacing_mm(self) -> tuple[float, float]:
        """Millimetres from row to row, and from column to column, of pixels."""
        mm = self.settings.resample_mm
        rows, columns = (mm, mm) if self._resampling else self.spacing_mm
        if self._scaling:
            factor = self.settings.image_size / max(_lengths(self.shape, self._resampling))
            rows, columns = rows / factor, columns / factor
        return rows, columns

    def to_pixels(self, slices: np.ndarray) -> np.ndarray:
        """Slices of voxels -> slices of pixels."""
        for stretch in self._resampling + self._scaling:
            slices = stretch.apply(slices, stretch.axis + 1)
        return slices

    def to_voxels(self, slices: np.ndarray) -> np.ndarray:
        """Slices of pixels -> slices of voxels."""
        for stretch in reversed(self._resampling + self._scaling):
            slices = stretch.undo(slices, stretch.axis + 1)
        return slices

    def window_corner(self, foreground: np.ndarray) -> Corner:
        """Where the input window starts, in pixels: on the head, the same place for all slices of a volume.

        `foreground` is bool `[S, rows, columns]` of voxels. Heads often lie off the centre of a scan.
        """
        row, column = (self._window_start(axis, foreground.mean(axis=(0, 2 - axis))) for axis in (0, 1))
        return row, column

    def _window_start(self, axis: int, shares: np.ndarray) -> int:
        for stretch in self._resampling + self._scaling:
            if stretch.axis == axis:
                shares = stretch.apply(shares, 0)
        return geometry.window_start(shares, self.settings.image_size)

    def cut_window(self, pixels: np.ndarray, corner: Corner, padding: float) -> np.ndarray:
        """Slices of pixels -> what of them lies in the input window, `[S, image_size, image_size]`."""
        return geometry.crop_or_pad(pixels, self.settings.image_size, corner, padding)

    def from_window(self, windows: np.ndarray, corner: Corner, padding: float) -> np.ndarray:
        """Input windows `[S, image_size, image_size]` -> slices of pixels, with `padding` outside the window."""
        return geometry.crop_or_pad(windows, self.pixel_shape, (-corner[0], -corner[1]), padding)


def _lengths(lengths: tuple[int, int], stretches: list[geometry.Stretch]) -> tuple[int, int]:
    after = dict(enumerate(lengths)) | {stretch.axis: stretch.after for stretch in stretches}
    return after[0], after[1]
