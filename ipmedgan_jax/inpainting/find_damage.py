"""Finding a volume's damaged voxels slice by slice with a trained finder, by the conversion of `imaging.grids`."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data.batches import Find
from ipmedgan_jax.data.damage import LOW_THRESHOLD, damaged_pixels
from ipmedgan_jax.imaging import scans
from ipmedgan_jax.imaging.foreground import find_foreground
from ipmedgan_jax.imaging.grids import PLANES, Corner, SliceGrid
from ipmedgan_jax.imaging.scans import to_unit
from ipmedgan_jax.imaging.settings import PreparationSettings
from ipmedgan_jax.inpainting.tiles import tent, tile_starts


@dataclass(frozen=True)
class LoadedFinder:
    """A trained network that finds damage in batches of `batch_size` axial slices.

    Attributes:
      name: the system.
      step: the checkpoint's step.
      source: the folder that it was loaded from.
      preparation: the settings of its training data.
      batch_size: slices per call of `find`.
      find: returns the likelihood of damage of each pixel.
      weights_sha256: digest of the weights.
    """

    name: str
    step: int
    source: str
    preparation: PreparationSettings
    batch_size: int
    find: Find
    weights_sha256: str = ""


def find_in_volume(
    finder: LoadedFinder, volume: scans.Volume, done: Callable[[int], object] = lambda count: None
) -> np.ndarray:
    """Returns the voxels that the finder takes for damaged, bool `[X, Y, Z]`.

    `done` is called after each batch with the number of slices searched. Raises UserError for likelihoods that are not
    finite.
    """
    settings, mask = finder.preparation, np.zeros(volume.array.shape, bool)
    slices, found = PLANES["axial"](volume.array), PLANES["axial"](mask)
    foreground = find_foreground(settings, volume.array, volume.spacing_mm)
    window, padding = foreground.window, float(to_unit(foreground.padding, foreground.window))
    grid = SliceGrid.of(settings, "axial", slices, volume.spacing_mm)
    if settings.keeps_whole_slices:
        corners = covering_corners(grid.pixel_shape, settings.image_size)
    else:
        corners = [grid.window_corner(PLANES["axial"](foreground.head))]
    for indices in np.array_split(np.arange(len(slices)), -(-len(slices) // finder.batch_size)):
        pixels = to_unit(grid.to_pixels(slices[indices]), window)
        likelihoods, depths = np.zeros(pixels.shape, np.float32), np.zeros(pixels.shape, np.float32)
        for corner in corners:
            new = grid.from_window(_find(finder, grid.cut_window(pixels, corner, padding)), corner, 0.0)
            depth = grid.from_window(tent(settings.image_size)[None], corner, 0.0)
            # Where windows overlap, a pixel is judged by the one that shows most of its surroundings.
            likelihoods, depths = np.where(depth > depths, new, likelihoods), np.maximum(depth, depths)
        likelihoods = np.stack([np.where(damaged_pixels(likelihood), likelihood, 0) for likelihood in likelihoods])
        found[indices] = grid.to_voxels(likelihoods) >= LOW_THRESHOLD
        done(len(indices))
    return mask


def covering_corners(shape: tuple[int, int], side: int) -> list[Corner]:
    """Returns the corners of windows that cover a slice of this shape and overlap by half of their side or more."""

    def starts(length: int) -> list[int]:
        if length <= side:
            return [-((side - length) // 2)]
        return tile_starts(slice(0, length), side)

    return list(product(starts(shape[0]), starts(shape[1])))


def _find(finder: LoadedFinder, windows: np.ndarray) -> np.ndarray:
    """Returns the likelihoods of the pixels of input windows `[S, H, W]`, at most a batch of them."""
    batch = np.concatenate([windows, np.repeat(windows[-1:], finder.batch_size - len(windows), axis=0)])
    likelihoods = finder.find(batch[..., None])[: len(windows), ..., 0]
    if not np.isfinite(likelihoods).all():  # NaN is above no threshold, so it would count as intact
        raise UserError(f"{finder.source}: returned NaN or infinite likelihoods; choose another checkpoint or model")
    return likelihoods
