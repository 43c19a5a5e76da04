"""A volume's masked voxels, filled slice by slice by a trained generator.

`imaging.grids` brings the scan's own slices to the generator's pixels, as `prepare` brought those it was trained on, and what
it returns back to the scan's voxels. Nothing is interpolated from slice to slice.

A hole is filled in squares of the size that the generator was trained for (`tiles`), a square's masked pixels at a time. The
generator is never shown a masked voxel: before its turn comes, a square holds what Telea's method makes of its surroundings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ipmedgan_jax.data.batches import Inpaint
from ipmedgan_jax.imaging import geometry, scans
from ipmedgan_jax.imaging.grids import PLANES, Corner, SliceGrid
from ipmedgan_jax.imaging.scans import from_unit, to_unit
from ipmedgan_jax.inpainting import tiles
from ipmedgan_jax.inpainting.model import Trained
from ipmedgan_jax.systems.classical import FILLS

SLICES_AT_ONCE = 4
"""Times the batch size: slices stretched, and filled turn by turn, together."""

VARIED_PIXELS = 8
"""How far a varied input window is moved, at most."""

VARIED_NOISE = 0.01
"""Standard deviation of the noise in a varied input, of half the intensity window."""


@dataclass(frozen=True)
class Variation:
    """Another way to show a generator the same hole: mirrored, elsewhere in its input window, in a little noise."""

    rng: np.random.Generator
    mirrored: bool

    def moved(self, corner: Corner) -> Corner:
        row, column = (start + int(self.rng.integers(-VARIED_PIXELS, VARIED_PIXELS + 1)) for start in corner)
        return row, column

    def fill(self, inpaint: Inpaint, batch: dict[str, Any]) -> np.ndarray:
        """What `inpaint` makes of the batch shown in this way, as if it had been shown plainly."""
        noise = self.rng.normal(0, VARIED_NOISE, batch["image"].shape).astype(np.float32)
        shown = batch | {"image": np.clip(batch["image"] + noise, -1, 1)}
        if not self.mirrored:
            return inpaint(shown)
        columns = batch["image"].shape[2] - batch["hole"][:, 1] - batch["hole"][:, 3]
        shown = {
            "image": np.ascontiguousarray(shown["image"][:, :, ::-1]),
            "hole": np.column_stack([batch["hole"][:, 0], columns, batch["hole"][:, 2:]]),
            "hole_mask": np.ascontiguousarray(batch["hole_mask"][:, :, ::-1]),
        }
        return inpaint(shown)[:, :, ::-1]


def inpaint_volume(
    inpaint: Inpaint,
    trained: Trained,
    volume: scans.Volume,
    mask: np.ndarray,
    *,
    planes: Sequence[str] = ("axial",),
    variation: Variation | None = None,
    done: Callable[[int], object] = lambda count: None,
) -> np.ndarray:
    """The volume's array `[X, Y, Z]`, in its unit, with its masked voxels filled; the others as they are.

    Args:
      mask: bool, of the array's shape; true where voxels are to be filled. It holds at least one, and not all.
      planes: of `PLANES`; more than one: their fills' mean.
      variation: shows the generator the same hole in another way; None: as in training.
      done: called with the number of slices filled, each time some are.
    """
    window = trained.preparation.window(volume.array[~mask])
    background = scans.background(window, volume.array[~mask])
    total = np.zeros_like(volume.array)
    for plane in planes:
        slices, masks, filled = (PLANES[plane](array) for array in (volume.array, mask, total))
        grid = SliceGrid.of(trained.preparation, plane, slices, volume.spacing_mm)
        filler = _PlaneFiller(inpaint, trained, grid, window, background, variation)
        corner = grid.window_corner((slices > trained.preparation.threshold(window)) & ~masks)
        which = np.flatnonzero(masks.any((1, 2)))
        for some in np.array_split(which, -(-len(which) // (SLICES_AT_ONCE * trained.batch_size))):
            filled[some] += filler.fill(slices[some], masks[some], corner)
            done(len(some))
    return np.where(mask, total / len(planes), volume.array)


def deviation(
    inpaint: Inpaint,
    trained: Trained,
    volume: scans.Volume,
    mask: np.ndarray,
    *,
    samples: int,
    planes: Sequence[str] = ("axial",),
    done: Callable[[int], object] = lambda count: None,
) -> np.ndarray:
    """How far fills of the same hole lie apart: `[X, Y, Z]`, their standard deviation in the volume's unit; 0 elsewhere.

    The `samples` fills, at least two, differ by what should not matter (`Variation`). Where a generator knows what belongs
    into the hole they agree; that they agree does not make them right.
    """
    rng = np.random.default_rng(0)
    mean, squares = np.zeros(volume.array.shape), np.zeros(volume.array.shape)
    for i in range(samples):
        variation = Variation(rng, mirrored=i % 2 == 1)
        fill = inpaint_volume(inpaint, trained, volume, mask, planes=planes, variation=variation, done=done)
        change = fill - mean
        mean += change / (i + 1)
        squares += change * (fill - mean)
    return np.where(mask, np.sqrt(squares / (samples - 1)), 0).astype(np.float32)


def slices_to_fill(mask: np.ndarray, planes: Sequence[str]) -> int:
    """How many slices `inpaint_volume` will fill."""
    return sum(int(PLANES[plane](mask).any((1, 2)).sum()) for plane in planes)


@dataclass(frozen=True)
class _Square:
    """A square to be filled in one of a stack of slices; corners in pixels of the slice, and beyond it too."""

    index: int  # of the slice
    corner: Corner
    input_corner: Corner  # of the generator's input window

    def hole(self, side: int) -> tuple[int, int, int, int]:
        """The box in the input window."""
        return self.corner[0] - self.input_corner[0], self.corner[1] - self.input_corner[1], side, side

    def within(self, shape: tuple[int, ...], side: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """The part of the square inside slices of this shape: in the slice, and in the square."""
        in_slice = tuple(slice(max(at, 0), min(at + side, length)) for at, length in zip(self.corner, shape, strict=True))
        in_square = tuple(slice(each.start - at, each.stop - at) for each, at in zip(in_slice, self.corner, strict=True))
        return in_slice, in_square


@dataclass(frozen=True)
class _PlaneFiller:
    inpaint: Inpaint
    trained: Trained
    grid: SliceGrid
    window: tuple[float, float]
    background: float
    variation: Variation | None

    def fill(self, slices: np.ndarray, masks: np.ndarray, usual_corner: Corner) -> np.ndarray:
        """Slices of the source `[S, rows, columns]` with their masked voxels filled, in its unit."""
        images = to_unit(self.grid.to_pixels(np.where(masks, np.float32(self.background), slices)), self.window)
        unknown = self.grid.to_pixels(masks.astype(np.float32)) > 0  # pixels that a masked voxel has a part in
        queues = [tiles.cover(mask, self.trained.hole_size) for mask in unknown]
        for image, mask, queue in zip(images, unknown, queues, strict=True):
            if len(queue) > 1 and not mask.all():
                image[...] = FILLS["telea"](image, mask)
        weights = np.zeros_like(images)
        for turn in range(max(map(len, queues))):
            corners = {i: queue[turn] for i, queue in enumerate(queues) if turn < len(queue)}
            squares = [_Square(i, corner, self._input_corner(corner, usual_corner)) for i, corner in corners.items()]
            for start in range(0, len(squares), self.trained.batch_size):
                self._fill_squares(squares[start : start + self.trained.batch_size], images, unknown, weights)
        return self.grid.to_voxels(from_unit(images, self.window))

    def _input_corner(self, corner: Corner, usual: Corner) -> Corner:
        """The input window's start, moved from the usual as little as keeps a square a quarter of its side from the edge."""
        size, side = self.trained.preparation.image_size, self.trained.hole_size
        margin = min(side // 4, (size - side) // 2)
        if self.variation is not None:
            usual = self.variation.moved(usual)
        row, column = (int(np.clip(at, c + side + margin - size, c - margin)) for at, c in zip(usual, corner, strict=True))
        return row, column

    def _fill_squares(self, squares: list[_Square], images: np.ndarray, unknown: np.ndarray, weights: np.ndarray) -> None:
        """Fills squares of different slices, in place: where squares overlap, with the mean of their fills by `weights`."""
        side = self.trained.hole_size
        padding = float(to_unit(self.background, self.window))
        # The batch is always of the compiled size.
        padded = squares + squares[-1:] * (self.trained.batch_size - len(squares))
        shown = [self.grid.cut_window(images[s.index][None], s.input_corner, padding) for s in padded]
        shapes = [geometry.crop_or_pad(unknown[s.index][None], side, s.corner, False) for s in padded]
        batch: dict[str, Any] = {
            "image": np.concatenate(shown)[..., None],
            "hole": np.array([s.hole(side) for s in padded], np.int32),
            "hole_mask": np.concatenate(shapes).astype(np.uint8),
        }
        fills = self.inpaint(batch) if self.variation is None else self.variation.fill(self.inpaint, batch)
        for square, filled, shape in zip(squares, fills, shapes, strict=False):
            row, column, _, _ = square.hole(side)
            in_slice, in_square = square.within(images.shape[1:], side)
            new = filled[row : row + side, column : column + side, 0][in_square]
            weight = np.where(shape[0], _tent(side), 0)[in_square]
            image, before = images[square.index][in_slice], weights[square.index][in_slice]
            before += weight
            image += np.where(weight > 0, (new - image) * weight / np.maximum(before, 1e-9), 0)


def _tent(side: int) -> np.ndarray:
    """`[side, side]`: what a square's pixels count where squares overlap, most in its middle."""
    height = np.minimum(np.arange(1, side + 1), np.arange(side, 0, -1)) / side
    return np.minimum.outer(height, height).astype(np.float32)
