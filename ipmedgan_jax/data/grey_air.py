"""Slices whose air lies inside the intensity window: of z-scored brains in zeros, or of a CT in a background of 0.

Elsewhere air is -1, the window's low end. Images are `[H, W]` in [-1, 1], heads bool `[H, W]`.
"""

import numpy as np

AIR = -1.0
"""The level of air at the window's low end."""


def level(image: np.ndarray, head: np.ndarray | None, foreground: float) -> float:
    """Returns the level of a slice's air: the median outside its head if that is above `foreground`, else -1.

    -1 too where the head is not known, or fills the slice.
    """
    if head is None or head.all():
        return AIR
    found = float(np.median(image[~head]))
    return found if found > foreground else AIR


def darkened(image: np.ndarray, head: np.ndarray | None, foreground: float) -> np.ndarray:
    """Returns the slice with -1 outside its head if its air is grey; else the slice itself."""
    if head is None or level(image, head, foreground) == AIR:
        return image
    return np.where(head, image, np.float32(AIR))
