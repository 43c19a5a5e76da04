"""Squares that cover a mask of any shape, in the order in which they are filled."""

import itertools

import numpy as np
from scipy import ndimage

from ipmedgan_jax.imaging.grids import Corner


def cover(mask: np.ndarray, side: int) -> list[Corner]:
    """Corners of squares of `side` pixels that together hold every pixel of the mask, bool `[H, W]`, in filling order.

    A part that fits into one square gets one, with its middle in the square's, and shares it with whole parts near it. A
    part that is larger gets squares that overlap by half, those at its border first, those in its middle last.
    """
    parts = _parts(mask)
    large = [part for part in parts if _larger(part, side)]
    boxes = np.array([[(extent.start, extent.stop) for extent in part] for part in parts if part not in large])
    rest = mask.copy()
    corners = []
    for corner in itertools.chain(*(_inwards(part, side) for part in large), _together(boxes, side)):
        held = tuple(slice(max(start, 0), start + side) for start in corner)
        if rest[held].any():
            corners.append(corner)
            rest[held] = False
    return corners


def exceeds(mask: np.ndarray, side: int) -> bool:
    """Whether a part of the mask does not fit into one square."""
    return any(_larger(part, side) for part in _parts(mask))


def _parts(mask: np.ndarray) -> list[tuple[slice, slice]]:
    """The boxes of the mask's connected parts."""
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    return ndimage.find_objects(labels)


def _larger(part: tuple[slice, slice], side: int) -> bool:
    return any(extent.stop - extent.start > side for extent in part)


def _inwards(part: tuple[slice, slice], side: int) -> list[Corner]:
    """Overlapping squares over a part's box, from its border to its middle."""
    middle = np.array([extent.start + extent.stop for extent in part]) / 2
    corners = list(itertools.product(_starts(part[0], side), _starts(part[1], side)))
    return sorted(corners, key=lambda corner: -float(np.hypot(*(np.add(corner, side / 2) - middle))))


def _starts(extent: slice, side: int) -> list[int]:
    """Where squares begin along one axis of a part: one in its middle, or several, half a side apart at most."""
    length = extent.stop - extent.start
    if length <= side:
        return [extent.start + (length - side) // 2]
    count = -(-(length - side) // (side // 2)) + 1
    return np.linspace(extent.start, extent.stop - side, count).round().astype(int).tolist()


def _together(boxes: np.ndarray, side: int) -> list[Corner]:
    """Squares for parts that fit into one, whose boxes are `[n, 2 axes, start and stop]`."""
    corners: list[Corner] = []
    while len(boxes):
        near = _within(boxes, _centred(boxes[0], side), side)
        together = np.stack([boxes[near, :, 0].min(0), boxes[near, :, 1].max(0)], axis=1)
        corner = _centred(together, side)
        corners.append((int(corner[0]), int(corner[1])))
        boxes = boxes[~_within(boxes, corner, side)]
    return corners


def _centred(box: np.ndarray, side: int) -> np.ndarray:
    """The corner of the square with the middle of a box in its own."""
    return (box.sum(1) - side) // 2


def _within(boxes: np.ndarray, corner: np.ndarray, side: int) -> np.ndarray:
    """Which boxes lie wholly in a square."""
    return np.all((boxes[:, :, 0] >= corner) & (boxes[:, :, 1] <= corner + side), axis=1)
