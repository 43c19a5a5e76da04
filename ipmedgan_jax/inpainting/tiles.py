"""Square tiles that cover a mask of any shape, in the order in which they are filled."""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ipmedgan_jax.imaging.grids import Corner


@dataclass(frozen=True)
class Tiling:
    """Tiles that together hold every pixel of a mask.

    Attributes:
      corners: of the tiles, in filling order; a tile may reach beyond the image.
      exceeds: whether a connected component of the mask does not fit into one tile.
      whole: whether the mask is nothing but whole tiles.
    """

    corners: tuple[Corner, ...]
    exceeds: bool
    whole: bool


def cover(mask: np.ndarray, side: int) -> Tiling:
    """Tiles of `side` pixels for a mask, bool `[H, W]`.

    A component that fits into one tile gets a centred tile, and shares it with components near it that fit in wholly. A
    larger one gets tiles that overlap by half, those at its border first, those in its middle last.
    """
    components = _components(mask)
    large = [component for component in components if _larger(component, side)]
    boxes = [[(extent.start, extent.stop) for extent in box] for box in components if not _larger(box, side)]
    rest = mask.copy()
    corners = []
    for corner in itertools.chain(*(_inwards(component, side) for component in large), _shared(np.array(boxes), side)):
        held = tuple(slice(max(start, 0), start + side) for start in corner)
        if rest[held].any():
            corners.append(corner)
            rest[held] = False
    return Tiling(tuple(corners), bool(large), bool(np.count_nonzero(mask) == side**2 * len(corners)))


def _components(mask: np.ndarray) -> list[tuple[slice, slice]]:
    """The boxes of the mask's connected components."""
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    return ndimage.find_objects(labels)


def _larger(box: tuple[slice, slice], side: int) -> bool:
    return any(extent.stop - extent.start > side for extent in box)


def _inwards(box: tuple[slice, slice], side: int) -> list[Corner]:
    """Overlapping tiles over a component's box, from its border to its middle."""
    middle = np.array([extent.start + extent.stop for extent in box]) / 2
    corners = list(itertools.product(_starts(box[0], side), _starts(box[1], side)))
    return sorted(corners, key=lambda corner: -float(np.hypot(*(np.add(corner, side / 2) - middle))))


def _starts(extent: slice, side: int) -> list[int]:
    """Where tiles begin along one axis of a component: one in its middle, or several, half a side apart at most."""
    length = extent.stop - extent.start
    if length <= side:
        return [extent.start + (length - side) // 2]
    count = -(-(length - side) // (side // 2)) + 1
    return np.linspace(extent.start, extent.stop - side, count).round().astype(int).tolist()


def _shared(boxes: np.ndarray, side: int) -> list[Corner]:
    """Tiles for components that fit into one; their boxes are `[n, 2 axes, start and stop]`."""
    corners: list[Corner] = []
    while len(boxes):
        near = _within(boxes, _centred(boxes[0], side), side)
        together = np.stack([boxes[near, :, 0].min(0), boxes[near, :, 1].max(0)], axis=1)
        corner = _centred(together, side)
        corners.append((int(corner[0]), int(corner[1])))
        boxes = boxes[~_within(boxes, corner, side)]
    return corners


def _centred(box: np.ndarray, side: int) -> np.ndarray:
    """The corner of the tile with the middle of a box in its own."""
    return (box.sum(1) - side) // 2


def _within(boxes: np.ndarray, corner: np.ndarray, side: int) -> np.ndarray:
    """Which boxes lie wholly in a tile."""
    return np.all((boxes[:, :, 0] >= corner) & (boxes[:, :, 1] <= corner + side), axis=1)
