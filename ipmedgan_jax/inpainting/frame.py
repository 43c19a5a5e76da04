"""A network's frame in the slices of a plane: where it lies, and intensities as the network knows them."""

import numpy as np

from ipmedgan_jax.imaging import geometry
from ipmedgan_jax.imaging.grids import SliceGrid
from ipmedgan_jax.imaging.scans import Window


def frame_origin(grid: SliceGrid, window: Window, slices: np.ndarray, known: np.ndarray) -> tuple[int, int]:
    """Where the frame starts in the plane's pixels: on the head, for the whole volume, as in `prepare`.

    `slices` and `known` (false where a voxel shows nothing to go by) are `[S, rows, columns]` of the source.
    """
    low, high = window
    foreground = (slices > low + grid.settings.foreground_level * (high - low)) & known
    shares = foreground.mean(axis=(0, 2)), foreground.mean(axis=(0, 1))
    size = grid.settings.image_size
    row, column = (geometry.start_on(grid.forth_along(axis, shares[axis]), size) for axis in (0, 1))
    return row, column
