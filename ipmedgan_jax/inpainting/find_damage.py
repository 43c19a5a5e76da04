"""The damaged voxels of a volume, found slice by slice by a trained finder, on the way that `imaging.grids` describes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ipmedgan_jax.data.batches import Find
from ipmedgan_jax.data.damage import LOW_THRESHOLD, damaged_pixels
from ipmedgan_jax.imaging import scans
from ipmedgan_jax.imaging.grids import PLANES, SliceGrid
from ipmedgan_jax.imaging.scans import to_unit
from ipmedgan_jax.imaging.settings import PreparationSettings


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
    settings, mask = finder.preparation, np.zeros(volume.array.shape, bool)
    slices, found = PLANES["axial"](volume.array), PLANES["axial"](mask)
    window = settings.window(volume.array)
    padding = float(to_unit(scans.background(window, volume.array), window))
    grid = SliceGrid.of(settings, "axial", slices, volume.spacing_mm)
    corner = grid.window_corner(slices > settings.threshold(window))
    for some in np.array_split(np.arange(len(slices)), -(-len(slices) // finder.batch_size)):
        shown = grid.cut_window(to_unit(grid.to_pixels(slices[some]), window), corner, padding)
        batch = np.concatenate([shown, np.repeat(shown[-1:], finder.batch_size - len(shown), axis=0)])
        likelihood = finder.find(batch[..., None])[: len(some), ..., 0]
        likelihood = np.stack([np.where(damaged_pixels(of_slice), of_slice, 0) for of_slice in likelihood])
        found[some] = grid.to_voxels(grid.from_window(likelihood, corner, 0.0)) >= LOW_THRESHOLD
        done(len(some))
    return mask
