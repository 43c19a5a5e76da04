"""Square holes, drawn on the host (NumPy), and the context image.

A hole is the box `[row, column, height, width]` in pixels, int32. A mask is true where pixels are removed.
"""

import hashlib
from typing import Any

import numpy as np


def random_hole(
    rng: np.random.Generator, foreground: np.ndarray, size: int, min_foreground: float, avoid: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Draws a square hole, uniform over all places whose share of foreground is at least `min_foreground`.

    Args:
      foreground: bool `[H, W]`.
      size: side in pixels.
      avoid: bool `[H, W]`, true where no hole may lie; None: it may lie anywhere.

    Returns:
      The hole, and the share of it that is foreground. If no place has enough foreground, the hole is at a place with the
      most; if every place has pixels to avoid, it is at one with the fewest. The caller decides whether to use it.
    """
    if avoid is not None and avoid.any():
        shares, hits = foreground_shares(foreground, size), foreground_shares(avoid, size)
        clear = hits == hits.min()
        return _draw_place(rng, shares, clear & (shares >= min(min_foreground, shares[clear].max())), size)
    if min_foreground <= 0:
        hole = any_hole(rng, foreground.shape, size)
        row, column = hole[:2]
        return hole, float(foreground[row : row + size, column : column + size].mean())
    shares = foreground_shares(foreground, size)
    return _draw_place(rng, shares, shares >= min(min_foreground, shares.max()), size)


def _draw_place(rng: np.random.Generator, shares: np.ndarray, admissible: np.ndarray, size: int) -> tuple[np.ndarray, float]:
    """Draws one of the admissible places; returns its hole and its share."""
    row, column = np.unravel_index(rng.choice(np.flatnonzero(admissible)), shares.shape)
    return box(int(row), int(column), size), float(shares[row, column])


def any_hole(rng: np.random.Generator, shape: tuple[int, ...], size: int) -> np.ndarray:
    """Draws a square hole, uniform over all places in an image of shape `(H, W)`."""
    row, column = (int(rng.integers(0, length - size + 1)) for length in shape)
    return box(row, column, size)


def foreground_shares(foreground: np.ndarray, size: int) -> np.ndarray:
    """Share of foreground in the square hole at every place: bool `[H, W]` -> `[H - size + 1, W - size + 1]`."""
    sums = np.pad(foreground.astype(np.int32), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    inside = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    return inside / size**2


def box(row: int, column: int, size: int) -> np.ndarray:
    """The square hole with this corner and side."""
    return np.array([row, column, size, size], np.int32)


def box_mask(hole: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The mask of a hole in an image of shape `(H, W)`: bool `[H, W]`."""
    row, column, height, width = hole
    mask = np.zeros(shape, bool)
    mask[row : row + height, column : column + width] = True
    return mask


def context_image(image: Any, mask: Any, fill: float) -> Any:
    """The image with `fill` where pixels are removed. NumPy or JAX arrays; a bool mask that broadcasts to the image."""
    arrays = image.__array_namespace__()
    return arrays.where(mask, arrays.asarray(fill, dtype=image.dtype), image)


def evaluation_rng(seed: int, subject: str, volume: str, index: int) -> np.random.Generator:
    """A random generator that depends on the slice's names and the seed alone, so that every system gets the same holes."""
    digest = hashlib.sha256(f"{seed}\0{subject}\0{volume}\0{index}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))
