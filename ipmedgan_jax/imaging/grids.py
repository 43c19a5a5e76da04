"""Conversion of a scan's voxels to a network's pixels and back, one plane of slices at a time.

`prepare` uses it to make records of a volume's axial slices. `inpaint` uses it to make a trained network's inputs, and to
convert the network's output back to the scan's voxels. The steps are:

1. `PLANES[plane]` views a volume as slices `[S, rows, columns]` of voxels.
2. `SliceGrid.to_pixels` stretches them to the network's pixels; `to_voxels` stretches pixels back.
3. `SliceGrid.window_corner` centres the input window on the head, once per volume; `cut_window` cuts it out. For a network
   that sees windows round holes (`fit` is `window`), `prepare` keeps whole slices instead, and `padded` fills up small ones.

`prepare` first resamples the volume across its slices too (`scans.resample`), so that the slices of all scans are equally
far apart. `inpaint` fills the scan's own slices and does not interpolate between slices.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ipmedgan_jax.imaging import geometry
from ipmedgan_jax.imaging.settings import PreparationSettings

Corner = tuple[int, int]
"""Row and column of a window's first pixel; negative if the window starts before the slice."""

PLANES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "axial": lambda array: array[::-1, ::-1].transpose(2, 1, 0),
    "coronal": lambda array: array[::-1, :, ::-1].transpose(1, 2, 0),
    "sagittal": lambda array: array[:, ::-1, ::-1].transpose(0, 2, 1),
}
"""Views of a canonical [X, Y, Z] as slices [S, rows, columns], in radiological display.

Axial: row 0 is anterior, column 0 the subject's right, slice 0 the most inferior. In the other planes row 0 is superior.
"""


def in_plane(plane: str, spacing_mm: tuple[float, float, float]) -> tuple[float, float]:
    """Returns the row and column spacing of a plane's slices in millimetres; `spacing_mm` is along X, Y, Z."""
    x, y, z = spacing_mm
    return {"axial": (y, x), "coronal": (z, x), "sagittal": (z, y)}[plane]


@dataclass(frozen=True)
class SliceGrid:
    """Conversion between the voxels of one plane's slices and the pixels of a network trained with `settings`."""

    settings: PreparationSettings
    shape: tuple[int, int]  # of a slice in voxels: rows, columns
    spacing_mm: tuple[float, float]  # of its rows and of its columns

    @classmethod
    def of(
        cls, settings: PreparationSettings, plane: str, slices: np.ndarray, spacing_mm: tuple[float, float, float]
    ) -> "SliceGrid":
        """Returns the grid of a plane's `slices` `[S, rows, columns]`; the volume's `spacing_mm` is along X, Y, Z."""
        rows, columns = slices.shape[1:]
        return cls(settings, (rows, columns), in_plane(plane, spacing_mm))

    @cached_property
    def _resampling(self) -> list[geometry.Stretch]:
        return geometry.resampling(self.shape, self.spacing_mm, self.settings.resample_mm)

    @cached_property
    def _scaling(self) -> list[geometry.Stretch]:
        if self.settings.fit != "scale":
            return []
        return geometry.scaling(_stretched_shape(self.shape, self._resampling), self.settings.image_size)

    @property
    def pixel_shape(self) -> tuple[int, int]:
        """Shape of a slice in pixels: rows, columns."""
        return _stretched_shape(self.shape, self._resampling + self._scaling)

    @property
    def pixel_spacing_mm(self) -> tuple[float, float]:
        """Spacing of the rows and of the columns of pixels, in millimetres."""
        mm = self.settings.resample_mm
        rows, columns = (mm, mm) if self._resampling else self.spacing_mm
        if self._scaling:
            factor = self.settings.image_size / max(_stretched_shape(self.shape, self._resampling))
            rows, columns = rows / factor, columns / factor
        return rows, columns

    def to_pixels(self, slices: np.ndarray) -> np.ndarray:
        """Converts slices of voxels `[S, rows, columns]` to slices of pixels by linear interpolation."""
        for stretch in self._resampling + self._scaling:
            slices = stretch.apply(slices, stretch.axis + 1)
        return slices

    def to_voxels(self, slices: np.ndarray) -> np.ndarray:
        """Converts slices of pixels to slices of voxels `[S, rows, columns]` by linear interpolation."""
        for stretch in reversed(self._resampling + self._scaling):
            slices = stretch.undo(slices, stretch.axis + 1)
        return slices

    def padded(self, pixels: np.ndarray, padding: float) -> np.ndarray:
        """Pads slices of pixels alike on both sides, to `image_size` rows and columns at least."""
        shape = max(pixels.shape[1], self.settings.image_size), max(pixels.shape[2], self.settings.image_size)
        corner = -((shape[0] - pixels.shape[1]) // 2), -((shape[1] - pixels.shape[2]) // 2)
        return geometry.crop_or_pad(pixels, shape, corner, padding)

    def window_corner(self, foreground: np.ndarray) -> Corner:
        """Returns the corner of the input window in pixels; all slices of a volume share it.

        The window is centred on the head, because heads often lie off the centre of a scan. `foreground` is bool
        `[S, rows, columns]` of voxels.
        """
        row, column = (self._window_start(axis, foreground.mean(axis=(0, 2 - axis))) for axis in (0, 1))
        return row, column

    def _window_start(self, axis: int, shares: np.ndarray) -> int:
        for stretch in self._resampling + self._scaling:
            if stretch.axis == axis:
                shares = stretch.apply(shares, 0)
        return geometry.window_start(shares, self.settings.image_size)

    def cut_window(self, pixels: np.ndarray, corner: Corner, padding: float) -> np.ndarray:
        """Cuts input windows `[S, image_size, image_size, ...]` out of slices of pixels, with `padding` outside them."""
        return geometry.crop_or_pad(pixels, self.settings.image_size, corner, padding)

    def from_window(self, windows: np.ndarray, corner: Corner, padding: float) -> np.ndarray:
        """Puts input windows `[S, image_size, image_size]` back into slices of pixels, with `padding` outside the window."""
        return geometry.crop_or_pad(windows, self.pixel_shape, (-corner[0], -corner[1]), padding)


def _stretched_shape(shape: tuple[int, int], stretches: list[geometry.Stretch]) -> tuple[int, int]:
    after = dict(enumerate(shape)) | {stretch.axis: stretch.after for stretch in stretches}
    return after[0], after[1]
