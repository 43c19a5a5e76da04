"""A scan and its mask as a generator meets them: what warnings and fills need of both, computed once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ipmedgan_jax.imaging import scans
from ipmedgan_jax.imaging.grids import PLANES, Corner, SliceGrid
from ipmedgan_jax.inpainting import tiles
from ipmedgan_jax.inpainting.model import Trained


@dataclass(frozen=True, eq=False)
class MaskedPlane:
    """The slices of one plane that have masked voxels.

    Attributes:
      name: of `PLANES`.
      input_corner: where the generator's input window usually starts, in pixels of the slices.
      indices: of the slices, `[n]`.
      tilings: of their masked pixels, `n`.
    """

    name: str
    grid: SliceGrid
    input_corner: Corner
    indices: np.ndarray
    tilings: tuple[tiles.Tiling, ...]


@dataclass(frozen=True, eq=False)
class MaskedVolume:
    """A volume, the voxels of it that a generator is to fill, and the planes along which it fills them.

    Attributes:
      mask: bool, of the volume's shape; true where voxels are to be filled. It holds at least one, and not all.
      plane_names: of `PLANES`, at least one.
    """

    trained: Trained
    volume: scans.Volume
    mask: np.ndarray
    plane_names: tuple[str, ...] = ("axial",)

    @cached_property
    def window(self) -> scans.Window:
        """The intensities shown as -1 and 1, by the known voxels. UserError where they have no contrast."""
        return self.trained.preparation.window(self.volume.array[~self.mask])

    @cached_property
    def background(self) -> float:
        """What stands beyond a slice's border, and in a masked voxel before it is filled."""
        return scans.background(self.window, self.volume.array[~self.mask])

    @cached_property
    def planes(self) -> tuple[MaskedPlane, ...]:
        return tuple(map(self._plane, self.plane_names))

    @property
    def slice_count(self) -> int:
        """How many slices are filled, in all planes."""
        return sum(len(plane.indices) for plane in self.planes)

    def _plane(self, name: str) -> MaskedPlane:
        settings = self.trained.preparation
        slices, masks = PLANES[name](self.volume.array), PLANES[name](self.mask)
        grid = SliceGrid.of(settings, name, slices, self.volume.spacing_mm)
        input_corner = grid.window_corner((slices > settings.threshold(self.window)) & ~masks)
        indices = np.flatnonzero(masks.any((1, 2)))
        tilings = (tiles.cover(masked_pixels(grid, masks[i : i + 1])[0], self.trained.hole_size) for i in indices)
        return MaskedPlane(name, grid, input_corner, indices, tuple(tilings))


def masked_pixels(grid: SliceGrid, masks: np.ndarray) -> np.ndarray:
    """The pixels that a masked voxel has a part in, bool; `masks` is bool `[S, rows, columns]` of voxels."""
    return grid.to_pixels(masks.astype(np.float32)) > 0
