"""The other half of the head: a slice mirrored about the head's midline, as what a hole most resembles.

Works on axial slices. The midline is a straight line, so a tilted head is mirrored rightly too, and heads that are not quite
symmetric approximately.
"""

import cv2
import numpy as np

from ipmedgan_jax.data import grey_air

THUMBNAIL = 48
"""Pixels: longer side of the small image on which the midline is searched."""

_TILTS = np.deg2rad([-12.0, -6.0, 0.0, 6.0, 12.0])
"""Tilts from the first guess that are tried."""

_SHIFTS = THUMBNAIL * np.array([-0.06, -0.03, 0.0, 0.03, 0.06])
"""Shifts from the first guess that are tried, in pixels of the small image."""

_FINER = (1 / 2, 1 / 4, 1 / 8)
"""Scales of the tilts and shifts that are tried round the best of them, one after the other."""

_STEEPEST = np.deg2rad(30)  # a first guess that is tilted further is no midline


def opposite(image: np.ndarray, removed: np.ndarray, foreground: float, head: np.ndarray | None = None) -> np.ndarray:
    """Returns the slice mirrored about the head's midline, and which of its pixels are known: float32 `[H, W, 2]`.

    Removed pixels, and what would come from outside the slice, are 0 in both.

    Args:
      image: float32 `[H, W]` in [-1, 1], an axial slice; its removed pixels are not read.
      removed: bool `[H, W]`.
      foreground: value above which a pixel is not air.
      head: bool `[H, W]`, if it is known: tells the head where air is as bright (`grey_air`).
    """
    known = (~removed).astype(np.float32)
    context = np.where(removed, -1, image).astype(np.float32)
    seen = grey_air.darkened(context, None if head is None else head | removed, foreground)
    reflection = find_midline(seen, known, foreground)
    stack = np.stack([context * known, known], axis=-1)
    size = image.shape[1], image.shape[0]
    mirrored = cv2.warpAffine(stack, reflection, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    whole = mirrored[..., 1] > 0.99
    mirrored[~whole] = 0
    mirrored[..., 1] = whole
    return mirrored


def find_midline(image: np.ndarray, known: np.ndarray, foreground: float) -> np.ndarray:
    """Returns the reflection about the head's midline: a matrix `[2, 3]` on (column, row), which is its own inverse.

    The first guess is the long axis of the head, to which removed pixels belong where its hull has them. Near it the line is
    chosen about which the known pixels differ least from their reflections.
    """
    factor = THUMBNAIL / max(image.shape)
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    small, weight = (cv2.resize(array, size, interpolation=cv2.INTER_AREA) for array in (image, known))
    centre, angle = _long_axis(_head(small > foreground, weight < 0.5))
    best = (angle if abs(angle) <= _STEEPEST else 0.0), 0.0
    trials = [(best[0] + tilt, shift) for tilt in _TILTS for shift in _SHIFTS]
    for scale in (*_FINER, None):
        costs = [_asymmetry(small, weight, _reflection(centre, *trial)) for trial in trials]
        angle, offset = best = trials[int(np.argmin(costs))]
        if scale is not None:
            trials = [best, *((angle + scale * tilt, offset) for tilt in _TILTS)]
            trials += [(angle, offset + scale * shift) for shift in _SHIFTS]
    column, row = ((value + 0.5) / factor - 0.5 for value in centre)
    return _reflection((column, row), angle, offset / factor)


def _head(bright: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Returns the bright pixels, and the removed ones within their convex hull."""
    points, hull = cv2.findNonZero(bright.astype(np.uint8)), np.zeros(bright.shape, np.uint8)
    if points is not None:
        cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    return bright | (removed & (hull > 0))


def _long_axis(head: np.ndarray) -> tuple[tuple[float, float], float]:
    """Returns the centre (column, row) of the head's pixels, and the angle of their long axis from the rows' direction."""
    moments = cv2.moments(head.astype(np.uint8), binaryImage=True)
    if not moments["m00"]:
        return ((head.shape[1] - 1) / 2, (head.shape[0] - 1) / 2), 0.0
    centre = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
    return centre, 0.5 * float(np.arctan2(2 * moments["mu11"], moments["mu02"] - moments["mu20"]))


def _reflection(centre: tuple[float, float], angle: float, offset: float) -> np.ndarray:
    """Returns the reflection about the line through the centre, moved by `offset` across itself."""
    across = np.array([np.cos(angle), -np.sin(angle)])  # perpendicular to the line, in (column, row)
    linear = np.eye(2) - 2 * np.outer(across, across)
    point = np.array(centre) + offset * across
    return np.column_stack([linear, point - linear @ point])


def _asymmetry(image: np.ndarray, weight: np.ndarray, reflection: np.ndarray) -> float:
    """Returns the mean absolute difference of the known pixels and their reflections; air beyond the slice is -1."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = image.shape[1], image.shape[0]
    mirrored = cv2.warpAffine(image, reflection, size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=-1.0)
    both = weight * cv2.warpAffine(weight, reflection, size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=1.0)
    return float((np.abs(image - mirrored) * both).sum() / max(float(both.sum()), 1e-6))
