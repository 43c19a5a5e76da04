"""Square tiles that cover a mask of any shape, in filling order."""

import itertools
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ipmedgan_jax.imaging.grids import Corner


@dataclass(frozen=True)
class Tiling:
    """Tiles that together cover every pixel of a mask.

    Attributes:
      corners: the tiles' corners in filling order; a tile may extend beyond the image.
      exceeds: whether a connected component of the mask is larger than one tile.
      whole: whether the mask consists of whole tiles.
    """

    corners: tuple[Corner, ...]
    exceeds: bool
    whole: bool

    def inside(self, shape: tuple[int, int], side: int) -> "Tiling":
        """Returns the tiling with every tile moved to lie inside an image of this shape, along the axes that it fits."""

        def moved(start: int, length: int) -> int:
            return min(max(start, 0), length - side) if length >= side else start

        return replace(self, corners=tuple((moved(row, shape[0]), moved(column, shape[1])) for row, column in self.corners))


def cover(mask: np.ndarray, side: int) -> Tiling:
    """Covers a mask, bool `[H, W]`, with tiles of `side` x `side` pixels.

    A component that fits into one tile gets a centred tile, shared with nearby components that fit into it whole. A larger
    component gets tiles that overlap by half, in order from its border to its middle.
    """
    components = _find_components(mask)
    large = [component for component in components if _is_larger(component, side)]
    boxes = [[(extent.start, extent.stop) for extent in box] for box in components if not _is_larger(box, side)]
    rest = mask.copy()
    corners = []
    from_border = (_tile_from_border(component, side) for component in large)
    for corner in itertools.chain(*from_border, _tile_small(np.array(boxes), side)):
        tile = tuple(slice(max(start, 0), start + side) for start in corner)
        if rest[tile].any():
            corners.append(corner)
            rest[tile] = False
    return Tiling(tuple(corners), bool(large), bool(np.count_nonzero(mask) == side**2 * len(corners)))


def _find_components(mask: np.ndarray) -> list[tuple[slice, slice]]:
    """Returns the boxes of the mask's 8-connected components."""
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    return ndimage.find_objects(labels)


def _is_larger(box: tuple[slice, slice], side: int) -> bool:
    return any(extent.stop - extent.start > side for extent in box)


def _tile_from_border(box: tuple[slice, slice], side: int) -> list[Corner]:
    """Returns the corners of overlapping tiles over a component's box, from its border to its middle."""
    middle = np.array([extent.start + extent.stop for extent in box]) / 2
    corners = list(itertools.product(tile_starts(box[0], side), tile_starts(box[1], side)))
    return sorted(corners, key=lambda corner: -float(np.hypot(*(np.add(corner, side / 2) - middle))))


def tile_starts(extent: slice, side: int) -> list[int]:
    """Returns the starts of tiles along one axis of a component: one centred tile, or several at most half a side apart."""
    length = extent.stop - extent.start
    if length <= side:
        return [extent.start + (length - side) // 2]
    count = -(-(length - side) // (side // 2)) + 1
    return np.linspace(extent.start, extent.stop - side, count).round().astype(int).tolist()


def _tile_small(boxes: np.ndarray, side: int) -> list[Corner]:
    """Returns the corners of tiles for components that fit into one; their boxes are `[n, 2 axes, start and stop]`."""
    corners: list[Corner] = []
    while len(boxes):
        near = _are_inside(boxes, _centre_tile(boxes[0], side), side)
        union = np.stack([boxes[near, :, 0].min(0), boxes[near, :, 1].max(0)], axis=1)
        corner = _centre_tile(union, side)
        corners.append((int(corner[0]), int(corner[1])))
        boxes = boxes[~_are_inside(boxes, corner, side)]
    return corners


def _centre_tile(box: np.ndarray, side: int) -> np.ndarray:
    """Returns the corner of the tile centred on a box."""
    return (box.sum(1) - side) // 2


def _are_inside(boxes: np.ndarray, corner: np.ndarray, side: int) -> np.ndarray:
    """Whether each box lies entirely inside a tile."""
    return np.all((boxes[:, :, 0] >= corner) & (boxes[:, :, 1] <= corner + side), axis=1)


def tent(side: int) -> np.ndarray:
    """Returns the weights of a tile's pixels where tiles overlap, `[side, side]`, above 0 and largest at the centre."""
    height = np.minimum(np.arange(1, side + 1), np.arange(side, 0, -1)) / side
    return np.minimum.outer(height, height).astype(np.float32)
