"""A scan and its mask with what warnings and fills derive from both, computed once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ipmedgan_jax.core import memory
from ipmedgan_jax.imaging import scans
from ipmedgan_jax.imaging.foreground import Foreground, find_foreground
from ipmedgan_jax.imaging.grids import PLANES, Corner, SliceGrid
from ipmedgan_jax.inpainting import tiles
from ipmedgan_jax.inpainting.model import Trained

_BYTES_PER_PIXEL = 16 * 4 * 4
"""Memory that a slice's pixels take while it is filled, each: a batch of slices, in float32, with a few copies."""


@dataclass(frozen=True, eq=False)
class MaskedPlane:
    """The slices of one plane that have masked voxels.

    Attributes:
      name: a key of `PLANES`.
      grid: the conversion of the plane's voxels to pixels.
      input_corner: the usual corner of the generator's input window, in pixels of the slices; None if it is one round each
        tile.
      indices: indices of the slices, `[n]`.
      tilings: the `n` tilings of their masked pixels.
    """

    name: str
    grid: SliceGrid
    input_corner: Corner | None
    indices: np.ndarray
    tilings: tuple[tiles.Tiling, ...]


@dataclass(frozen=True, eq=False)
class MaskedVolume:
    """A volume, its mask, and the planes along which a generator fills the masked voxels.

    Attributes:
      trained: what the generator was trained for.
      volume: the scan.
      mask: bool, of the volume's shape, true where voxels are to be filled: at least one, and not all.
      plane_names: keys of `PLANES`, at least one.
    """

    trained: Trained
    volume: scans.Volume
    mask: np.ndarray
    plane_names: tuple[str, ...] = ("axial",)

    @cached_property
    def foreground(self) -> Foreground:
        """The head and the intensity window of the known voxels. UserError if these have no contrast."""
        volume = self.volume
        return find_foreground(self.trained.preparation, volume.array, volume.spacing_mm, known=~self.mask)

    @property
    def window(self) -> scans.Window:
        """The intensities that map to -1 and to 1."""
        return self.foreground.window

    @property
    def background(self) -> float:
        """The intensity beyond a slice's border, and of a masked voxel before it is filled."""
        return self.foreground.padding

    @cached_property
    def planes(self) -> tuple[MaskedPlane, ...]:
        """The planes of `plane_names`, with their masked slices."""
        return tuple(map(self._make_plane, self.plane_names))

    @property
    def slice_count(self) -> int:
        """Number of slices to fill, in all planes."""
        return sum(len(plane.indices) for plane in self.planes)

    def _make_plane(self, name: str) -> MaskedPlane:
        masks = PLANES[name](self.mask)
        grid = SliceGrid.of(self.trained.preparation, name, masks, self.volume.spacing_mm)
        rows, columns = grid.pixel_shape
        memory.check(self.volume.path, rows * columns * _BYTES_PER_PIXEL, f"each {name} slice of {rows} x {columns} pixels")
        is_fixed = not self.trained.preparation.keeps_whole_slices
        input_corner = grid.window_corner(PLANES[name](self.foreground.head)) if is_fixed else None
        indices = np.flatnonzero(masks.any((1, 2)))
        side = self.trained.hole_size
        tilings = [tiles.cover(masked_pixels(grid, masks[i : i + 1])[0], side) for i in indices]
        if not is_fixed:  # as in training, where holes and windows lie inside the slice
            tilings = [tiling.inside(grid.pixel_shape, side) for tiling in tilings]
        return MaskedPlane(name, grid, input_corner, indices, tuple(tilings))


def masked_pixels(grid: SliceGrid, masks: np.ndarray) -> np.ndarray:
    """Returns the pixels, bool, that any masked voxel contributes to; `masks` is bool `[S, rows, columns]` of voxels."""
    return grid.to_pixels(masks.astype(np.float32)) > 0
