"""Windows round holes: the parts of whole slices that a network sees at a scan's own resolution (`config.data.window`).

A slice is at least as large as a window along both axes, because `prepare` pads smaller ones.
"""

import numpy as np

Corner = tuple[int, int]
"""Row and column of a window's first pixel."""


def random_corner(rng: np.random.Generator, hole: np.ndarray, shape: tuple[int, ...], side: int) -> Corner:
    """Draws the corner of a window whose middle is at most a quarter of the spare length off the hole's.

    Then the window moves by the least amount to lie inside the slice, which keeps the hole inside the window.

    Args:
      hole: the box `[row, column, height, width]` in the slice.
      shape: the slice's.
      side: the window's.
    """
    spare = [(side - length) // 4 for length in hole[2:]]
    row, column = (
        _start(start, length, whole, side, off=int(rng.integers(-most, most + 1)))
        for start, length, whole, most in zip(hole[:2], hole[2:], shape, spare, strict=True)
    )
    return row, column


def centred_corner(hole: np.ndarray, shape: tuple[int, ...], side: int) -> Corner:
    """Returns the corner of the window with the hole in its middle, moved by the least amount to lie inside the slice."""
    row, column = (_start(start, length, whole, side) for start, length, whole in zip(hole[:2], hole[2:], shape, strict=True))
    return row, column


def _start(start: int, length: int, whole: int, side: int, *, off: int = 0) -> int:
    """Returns where a window begins along one axis, `off` pixels after the centred place but inside the slice."""
    return int(np.clip(start + length // 2 - side // 2 + off, 0, whole - side))


def cut(array: np.ndarray, corner: Corner | None, side: int) -> np.ndarray:
    """Returns the window of an array `[H, W, ...]`, a view; the whole array without a corner."""
    if corner is None:
        return array
    row, column = corner
    return array[row : row + side, column : column + side]


def moved(hole: np.ndarray, corner: Corner | None) -> np.ndarray:
    """Returns a hole of the slice as a box of the window; the hole itself without a corner."""
    if corner is None:
        return hole
    return (hole - np.array([*corner, 0, 0])).astype(np.int32)
