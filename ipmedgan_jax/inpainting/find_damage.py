"""The damaged voxels of a volume, found slice by slice by a trained finder, on the way that `volume_inpainting` describes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ipmedgan_jax.data.batches import Find
from ipmedgan_jax.data.damage import LOW_THRESHOLD, damaged_pixels
from ipmedgan_jax.imaging import geometry, scans
from ipmedgan_jax.imaging.grids import PLANES, SliceGrid, in_plane
from ipmedgan_jax.imaging.scans import to_unit
from ipmedgan_jax.imaging.settings import PreparationSettings
from ipmedgan_jax.inpainting.frame import frame_origin


@dataclass(frozen=True)
class LoadedFinder:
    """A trained network that finds damage in batches of `batch_size` axial slices.

    `name`, `step` and `source` are the system, the checkpoint, and where it was loaded from.
    """

    name: str
    step: int
    source: str
    preparation: PreparationSettings
    batch_size: int
    find: Find


def find_in_volume(
    finder: LoadedFinder, volume: scans.Volume, done: Callable[[int], object] = lambda count: None
) -> np.ndarray:
    """The voxels taken for damaged, bool `[X, Y, Z]`. `done` is called with a number of slices, each time some are."""
    mask = np.zeros(volume.array.shape, bool)
    slices, found = PLANES["axial"](volume.array), PLANES["axial"](mask)
    window = finder.preparation.window(volume.array)
    grid = SliceGrid(finder.preparation, slices.shape[1:], in_plane("axial", volume.spacing_mm))
    row, column = frame_origin(grid, window, slices, np.ones_like(found))
    size = finder.preparation.image_size
    for some in np.array_split(np.arange(len(slices)), -(-len(slices) // finder.batch_size)):
        images = to_unit(grid.forth(slices[some]), window)
        shown = geometry.crop_or_pad(images, size, (row, column), -1.0)
        padded = np.concatenate([shown, np.repeat(shown[-1:], finder.batch_size - len(shown), axis=0)])
        likelihood = finder.find(padded[..., None])[: len(some), ..., 0]
        likelihood = np.stack([np.where(damaged_pixels(each), each, 0) for each in likelihood])
        found[some] = grid.back(geometry.crop_or_pad(likelihood, images.shape[1:], (-row, -column), 0.0)) >= LOW_THRESHOLD
        done(len(some))
    return mask
