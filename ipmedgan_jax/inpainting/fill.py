"""Filling a volume's masked voxels slice by slice with a trained generator.

`imaging.grids` converts the scan's own slices to the generator's pixels, as `prepare` converted the training slices, and
converts the generator's output back to the scan's voxels. Nothing is interpolated between slices.

A hole is filled in tiles of the size that the generator was trained for (`tiles`), one tile's masked pixels at a time. The
generator never sees a masked voxel: if a hole has several tiles, Telea's method fills it before the generator does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data.batches import Inpaint
from ipmedgan_jax.data.holes import context_image
from ipmedgan_jax.data.symmetry import opposite
from ipmedgan_jax.imaging import geometry
from ipmedgan_jax.imaging.grids import PLANES, Corner
from ipmedgan_jax.imaging.scans import from_unit, to_unit
from ipmedgan_jax.inpainting.masked_volume import MaskedPlane, MaskedVolume, masked_pixels
from ipmedgan_jax.inpainting.model import Trained
from ipmedgan_jax.inpainting.tiles import Tiling, tent
from ipmedgan_jax.systems.classical import FILLS

SLICES_AT_ONCE = 4
"""Number of slices converted and filled together, in batches."""

VARIED_PIXELS = 8
"""Largest shift of a varied input window, in pixels."""

VARIED_NOISE = 0.01
"""Standard deviation of the noise in a varied input, as a share of half the intensity window."""


@dataclass(frozen=True)
class Variation:
    """A variation of the generator's input for one hole: a mirrored image, a shifted input window, and a little noise."""

    rng: np.random.Generator
    mirrored: bool

    def moved(self, corner: Corner) -> Corner:
        """Returns the corner of the input window after a random shift."""
        row, column = (start + int(self.rng.integers(-VARIED_PIXELS, VARIED_PIXELS + 1)) for start in corner)
        return row, column

    def fill(self, inpaint: Inpaint, batch: dict[str, Any]) -> np.ndarray:
        """Fills a varied batch; returns inpainted images in the orientation of the original batch."""
        noise = self.rng.normal(0, VARIED_NOISE, batch["image"].shape).astype(np.float32)
        shown = batch | {"image": np.clip(batch["image"] + noise, -1, 1)}
        if not self.mirrored:
            return inpaint(shown)
        others = {name: np.ascontiguousarray(batch[name][:, :, ::-1]) for name in ("noise", "opposite") if name in batch}
        columns = batch["image"].shape[2] - batch["hole"][:, 1] - batch["hole"][:, 3]
        shown = {
            "image": np.ascontiguousarray(shown["image"][:, :, ::-1]),
            "hole": np.column_stack([batch["hole"][:, 0], columns, batch["hole"][:, 2:]]),
            "hole_mask": np.ascontiguousarray(batch["hole_mask"][:, :, ::-1]),
        } | others
        return inpaint(shown)[:, :, ::-1]


def inpaint_volume(
    inpaint: Inpaint,
    masked: MaskedVolume,
    *,
    variation: Variation | None = None,
    done: Callable[[int], object] = lambda count: None,
) -> np.ndarray:
    """Returns the volume's array `[X, Y, Z]`, in its unit, with the masked voxels filled and all others unchanged.

    Args:
      inpaint: the generator.
      masked: the volume and its mask; if it has several planes, their fills are averaged.
      variation: the variation of the generator's input; None for the input of training.
      done: called after each group of slices with the number of slices filled.

    Raises UserError if the generator returns values that are not finite.
    """
    array, trained = masked.volume.array, masked.trained
    total = np.zeros_like(array)
    for plane in masked.planes:
        slices, masks, filled = (PLANES[plane.name](volume) for volume in (array, masked.mask, total))
        filler = _PlaneFiller(inpaint, masked, plane, variation)
        count = len(plane.indices)
        for group in np.array_split(np.arange(count), -(-count // (SLICES_AT_ONCE * trained.batch_size))):
            indices, tilings = plane.indices[group], [plane.tilings[i] for i in group]
            filled[indices] += filler.fill(indices, slices[indices], masks[indices], tilings)
            done(len(group))
    return np.where(masked.mask, total / len(masked.planes), array)


def deviation(
    inpaint: Inpaint, masked: MaskedVolume, *, samples: int, done: Callable[[int], object] = lambda count: None
) -> np.ndarray:
    """Returns the standard deviation of `samples` fills of the same hole, `[X, Y, Z]` in the volume's unit; 0 elsewhere.

    The fills, at least two, differ by variations that should not matter (`Variation`). They agree where the surroundings
    determine the content of the hole. Agreement does not make them right.
    """
    rng = np.random.default_rng(0)
    mean, squares = np.zeros(masked.mask.shape), np.zeros(masked.mask.shape)
    for i in range(samples):
        fill = inpaint_volume(inpaint, masked, variation=Variation(rng, mirrored=i % 2 == 1), done=done)
        change = fill - mean
        mean += change / (i + 1)
        squares += change * (fill - mean)
    return np.where(masked.mask, np.sqrt(squares / (samples - 1)), 0).astype(np.float32)


@dataclass(frozen=True)
class _Tile:
    """A tile to be filled in one of a stack of slices; corners are in pixels of the slice and may lie outside it."""

    index: int  # of the slice
    corner: Corner
    input_corner: Corner  # of the generator's input window

    def hole(self, side: int) -> tuple[int, int, int, int]:
        """Returns the tile's box [row, column, height, width] in the input window."""
        return self.corner[0] - self.input_corner[0], self.corner[1] - self.input_corner[1], side, side

    def within(self, shape: tuple[int, ...], side: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Returns the part of the tile inside slices of this shape, as indices of the slice and as indices of the tile."""
        in_slice = tuple(slice(max(at, 0), min(at + side, length)) for at, length in zip(self.corner, shape, strict=True))
        in_tile = tuple(slice(part.start - at, part.stop - at) for part, at in zip(in_slice, self.corner, strict=True))
        return in_slice, in_tile


@dataclass(frozen=True)
class _PlaneFiller:
    """Fills the slices of one plane."""

    inpaint: Inpaint
    masked: MaskedVolume
    plane: MaskedPlane
    variation: Variation | None

    @property
    def trained(self) -> Trained:
        return self.masked.trained

    def fill(self, indices: np.ndarray, slices: np.ndarray, masks: np.ndarray, tilings: Sequence[Tiling]) -> np.ndarray:
        """Fills the masked voxels of slices of the scan `[S, rows, columns]`, in its unit; `indices` are theirs in the plane.

        Slices with several tiles are filled in turns, one tile of each slice per turn.
        """
        grid, window = self.plane.grid, self.masked.window
        images = to_unit(grid.to_pixels(context_image(slices, masks, self.masked.background)), window)
        unknown = masked_pixels(grid, masks)
        for image, mask, tiling in zip(images, unknown, tilings, strict=True):
            if len(tiling.corners) > 1 and not mask.all():
                image[...] = FILLS["telea"](image, mask)
        others = self._other_inputs(indices, images, unknown)
        weights = np.zeros_like(images)
        for turn in range(max(len(tiling.corners) for tiling in tilings)):
            corners = {i: tiling.corners[turn] for i, tiling in enumerate(tilings) if turn < len(tiling.corners)}
            tiles = [_Tile(i, corner, self._input_corner(corner)) for i, corner in corners.items()]
            for start in range(0, len(tiles), self.trained.batch_size):
                self._fill_tiles(tiles[start : start + self.trained.batch_size], images, unknown, others, weights)
        return grid.to_voxels(from_unit(images, window))

    def _input_corner(self, corner: Corner) -> Corner:
        """Returns the corner of the input window of a tile.

        The window moves from its usual place by the least amount that keeps the tile a quarter of its side away from the
        window's edge. For a generator that sees windows of whole slices, it has the tile in its middle, as in training.
        """
        size, side = self.trained.preparation.image_size, self.trained.hole_size
        if self.plane.input_corner is None:
            return self._window_round(corner)
        margin = min(side // 4, (size - side) // 2)
        usual = self.plane.input_corner if self.variation is None else self.variation.moved(self.plane.input_corner)
        row, column = (int(np.clip(at, c + side + margin - size, c - margin)) for at, c in zip(usual, corner, strict=True))
        return row, column

    def _window_round(self, corner: Corner) -> Corner:
        """Returns the corner of the window with a tile in its middle, moved by the least amount to lie inside the slice.

        A slice that is smaller than the window has equal padding on both sides, as `prepare` pads it.
        """
        size, side = self.trained.preparation.image_size, self.trained.hole_size
        starts = corner[0] + side // 2 - size // 2, corner[1] + side // 2 - size // 2
        starts = starts if self.variation is None else self.variation.moved(starts)
        in_slice = (
            min(max(start, 0), length - size) if length >= size else -((size - length) // 2)
            for start, length in zip(starts, self.plane.grid.pixel_shape, strict=True)
        )
        # A varied window, or one of a slice that is smaller than the tile, must still hold the tile.
        row, column = (min(max(start, tile + side - size), tile) for start, tile in zip(in_slice, corner, strict=True))
        return row, column

    def _other_inputs(self, indices: np.ndarray, images: np.ndarray, unknown: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the generator's other inputs for whole slices, `[S, H, W, ...]`: tiles that overlap see the same."""
        others: dict[str, np.ndarray] = {}
        if "noise" in self.trained.inputs:
            others["noise"] = self._noise(indices, images.shape[1:])
        if "opposite" in self.trained.inputs:
            level = 2 * self.trained.preparation.foreground_level - 1
            others["opposite"] = np.zeros((*images.shape, 2), np.float32)
            if self.plane.name != "sagittal":  # in which a head has no other half
                heads = self._heads(indices)
                for shown, image, mask, head in zip(others["opposite"], images, unknown, heads, strict=True):
                    shown[...] = opposite(image, mask, level, head)
        return others

    def _heads(self, indices: np.ndarray) -> Sequence[np.ndarray | None]:
        """Returns the head in each of these slices; None each for a generator whose training data have no heads."""
        if self.trained.preparation.foreground != "head":
            return [None] * len(indices)
        heads = PLANES[self.plane.name](self.masked.foreground.head)[indices]
        return list(self.plane.grid.to_pixels(heads.astype(np.float32)) > 0.5)

    def _noise(self, indices: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Draws the noise of slices, alike in every fill of a scan unless the fill is a variation."""
        if self.variation is not None:
            return self.variation.rng.standard_normal((len(indices), *shape), np.float32)
        return np.stack([np.random.default_rng(int(index)).standard_normal(shape, np.float32) for index in indices])

    def _fill_tiles(
        self,
        tiles: list[_Tile],
        images: np.ndarray,
        unknown: np.ndarray,
        others: dict[str, np.ndarray],
        weights: np.ndarray,
    ) -> None:
        """Fills tiles of different slices in place; where tiles overlap, the fills are averaged with `weights`."""
        side = self.trained.hole_size
        padding = float(to_unit(self.masked.background, self.masked.window))
        # The last tile is repeated, because the program is compiled for one batch size.
        padded = tiles + tiles[-1:] * (self.trained.batch_size - len(tiles))
        shown = [self.plane.grid.cut_window(images[t.index][None], t.input_corner, padding) for t in padded]
        hole_masks = [geometry.crop_or_pad(unknown[t.index][None], side, t.corner, False) for t in padded]
        batch: dict[str, Any] = {
            "image": np.concatenate(shown)[..., None],
            "hole": np.array([t.hole(side) for t in padded], np.int32),
            "hole_mask": np.concatenate(hole_masks).astype(np.uint8),
        }
        for name, arrays in others.items():
            cut = [self.plane.grid.cut_window(arrays[t.index][None], t.input_corner, 0.0) for t in padded]
            batch[name] = np.concatenate(cut)
        fills = self.inpaint(batch) if self.variation is None else self.variation.fill(self.inpaint, batch)
        for tile, filled, hole_mask in zip(tiles, fills, hole_masks, strict=False):
            row, column, _, _ = tile.hole(side)
            in_slice, in_tile = tile.within(images.shape[1:], side)
            new = filled[row : row + side, column : column + side, 0][in_tile]
            weight = np.where(hole_mask[0], tent(side), 0)[in_tile]
            if not np.isfinite(new[weight > 0]).all():
                raise UserError("the generator returned NaN or infinite values: choose another checkpoint or model")
            image, before = images[tile.index][in_slice], weights[tile.index][in_slice]
            before += weight
            image += np.where(weight > 0, (new - image) * weight / np.maximum(before, 1e-9), 0)
