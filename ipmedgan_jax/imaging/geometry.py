"""Arrays of voxels: orientation, linear interpolation along axes, and windows cut from slices.

Arrays are [X, Y, Z] in canonical RAS+ orientation (X grows to the subject's right, Y to the front, Z to the head) or
slices [S, rows, columns].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from ipmedgan_jax.core.errors import UserError

_BOX_SHARE = 0.01  # rows and columns with less foreground than this share are noise, not head


def without_trailing_axes(array: np.ndarray) -> np.ndarray:
    """`[X, Y, Z]` of `[X, Y, Z, 1, ...]`; anything else as it is."""
    return array.reshape(array.shape[:3]) if set(array.shape[3:]) == {1} else array


def find_axes(path: Path, affine: np.ndarray) -> np.ndarray:
    """nibabel's orientation of an affine's axes; UserError where there are not three."""
    spans = np.isfinite(affine).all()
    axes = nibabel.orientations.io_orientation(affine if spans else np.eye(4))
    if not (spans and np.isfinite(axes).all()):
        raise UserError(f"{path}: its affine does not span three axes; write it again with a valid sform or qform")
    return axes


def reorient(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An array `[i, j, k]` with its affine, as canonical `[X, Y, Z]` with its own."""
    axes = nibabel.orientations.io_orientation(affine)
    reoriented = nibabel.orientations.apply_orientation(array, axes)
    return reoriented, affine @ nibabel.orientations.inv_ornt_aff(axes, array.shape)


@dataclass(frozen=True)
class Stretch:
    """Linear interpolation of `before` samples along one axis at `after` centred positions, `step` samples apart."""

    axis: int
    before: int
    after: int
    step: float

    def apply(self, array: np.ndarray, axis: int) -> np.ndarray:
        """`before` samples along `axis` of the array -> `after`."""
        return stretch(array, axis, self.after, self.step)

    def undo(self, array: np.ndarray, axis: int) -> np.ndarray:
        """`after` samples along `axis` of the array -> `before`, at the places where they came from."""
        return stretch(array, axis, self.before, 1 / self.step)


def resampling(lengths: Sequence[int], spacing_mm: Sequence[float], mm: float) -> list[Stretch]:
    """The stretches of all axes to a spacing of `mm`; none where they have it already, or where `mm` is 0."""
    if mm == 0 or np.allclose(spacing_mm, mm, rtol=1e-4):
        return []
    return [
        Stretch(axis, length, max(1, round(length * spacing / mm)), mm / spacing)
        for axis, (length, spacing) in enumerate(zip(lengths, spacing_mm, strict=True))
    ]


def scaling(lengths: Sequence[int], size: int) -> list[Stretch]:
    """The stretches of all axes by one factor that makes the longest `size`; none where it is that already."""
    if max(lengths) == size:
        return []
    factor = size / max(lengths)
    return [Stretch(axis, length, max(1, round(length * factor)), 1 / factor) for axis, length in enumerate(lengths)]


def stretch(array: np.ndarray, axis: int, length: int, step: float) -> np.ndarray:
    """Linear interpolation of one axis at `length` centred positions, `step` of the old samples apart.

    Positions beyond the outermost samples take their value: no value leaves the array's range.
    """
    last = array.shape[axis] - 1
    positions = np.clip((np.arange(length) - (length - 1) / 2) * step + last / 2, 0, last)
    below = np.minimum(positions.astype(int), max(last - 1, 0))
    share = (positions - below).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(array.ndim)])
    lower, upper = np.take(array, below, axis), np.take(array, np.minimum(below + 1, last), axis)
    return lower + share * (upper - lower)


def window_start(shares: np.ndarray, size: int) -> int:
    """Start of a window of `size` along one axis, from the share of foreground at each place; negative for padding.

    The window is centred on the foreground. An axis longer than `size` is only cropped, a shorter one only padded.
    """
    spare = len(shares) - size
    inside = np.flatnonzero(shares >= _BOX_SHARE)
    if spare <= 0 or not len(inside):
        return spare // 2
    return int(np.clip((inside[0] + inside[-1] + 1 - size) // 2, 0, spare))


def crop_or_pad(slices: np.ndarray, size: int | tuple[int, ...], corner: tuple[int, int], fill: float) -> np.ndarray:
    """`[S, height, width]`: the window of `slices` that starts at `corner`, `fill` where it reaches beyond them.

    `size` is the window's height and width, or the one number that both are.
    """
    height, width = (size, size) if isinstance(size, int) else size
    result = np.full((len(slices), height, width), fill, slices.dtype)
    (row, column), (rows, columns) = corner, slices.shape[1:]
    top, left, bottom, right = max(row, 0), max(column, 0), min(row + height, rows), min(column + width, columns)
    result[:, top - row : bottom - row, left - column : right - column] = slices[:, top:bottom, left:right]
    return result
