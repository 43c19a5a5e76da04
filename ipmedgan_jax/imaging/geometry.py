"""Geometry of voxel arrays: orientation, linear interpolation along an axis, and crops of slices.

Arrays are [X, Y, Z] in canonical RAS+ orientation (X grows to the subject's right, Y to the front, Z to the head) or
slices [S, rows, columns].
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from ipmedgan_jax.core import memory
from ipmedgan_jax.core.errors import UserError

SHORTEST_MM, LONGEST_MM = 1.0, 5000.0
"""Bounds of a volume's longest edge; outside them the unit of length in a header is wrong."""

LARGEST_GRID, LONGEST_AXIS = 2**29, 4096
"""Bounds of a resampled grid: its number of voxels, which is 2 GiB in float32, and the length of an axis."""

_BYTES_PER_VOXEL = 64
"""Memory that a volume takes at most, per voxel, while it is read and prepared or filled; docs/filling.md has the measure."""

_SMALLEST_VOLUME = 0.02
"""Smallest volume of a voxel as a share of that of the box with its edges: below it the axes lie in one plane."""

_FARTHEST_MM = 1e6
"""Farthest position of a grid's first voxel from the origin, and longest voxel edge."""

_BOX_SHARE = 0.01  # a row or column with a smaller share of foreground is noise, not head


def without_trailing_axes(array: np.ndarray) -> np.ndarray:
    """Reshapes `[X, Y, Z, 1, ...]` to `[X, Y, Z]`; returns any other array unchanged."""
    return array.reshape(shape_without_trailing_axes(array.shape))


def shape_without_trailing_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns `(X, Y, Z)` for `(X, Y, Z, 1, ...)`, and any other shape unchanged."""
    return shape[:3] if set(shape[3:]) == {1} else shape


def check_memory(path: Path, shape: Sequence[int], bytes_per_value: int) -> None:
    """UserError if a volume of this shape and type takes too much memory, all copies of it included; see `memory`."""
    needed = math.prod(shape) * _BYTES_PER_VOXEL * max(1, bytes_per_value // 8)
    memory.check(path, needed, f"a volume of {_by(shape)} voxels")


def find_axes(path: Path, affine: np.ndarray) -> np.ndarray:
    """Returns nibabel's orientation of an affine's axes; UserError if the affine does not span three axes."""
    if not _spans(affine):
        raise UserError(f"{path}: its affine does not span three axes; write it again with a valid sform or qform")
    return nibabel.orientations.io_orientation(affine)


def _spans(affine: np.ndarray) -> bool:
    """Whether an affine is finite, near the origin and has three axes that can be told apart."""
    edges = np.asarray(affine, float)[:3]
    if not np.isfinite(edges).all() or np.abs(edges).max() > _FARTHEST_MM:
        return False
    lengths = np.linalg.norm(edges[:, :3], axis=0)
    if not lengths.min() > 1 / _FARTHEST_MM:
        return False
    return abs(float(np.linalg.det(edges[:, :3] / lengths))) > _SMALLEST_VOLUME


def check_extent(path: Path, shape: Sequence[int], spacing_mm: Sequence[float]) -> None:
    """UserError if a volume is smaller or larger than any scan, because its header has the wrong unit of length."""
    edges_mm = [length * spacing for length, spacing in zip(shape, spacing_mm, strict=True)]
    if not SHORTEST_MM <= max(edges_mm) <= LONGEST_MM:
        raise UserError(
            f"{path}: its header makes it {_by(f'{edge:g}' for edge in edges_mm)} mm large, no scan is; correct its "
            "spacing, its affine, or its unit of length (xyzt_units)"
        )


def _by(values: Iterable[object]) -> str:
    return " x ".join(map(str, values))


def reorient(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reorients an array `[i, j, k]` to canonical `[X, Y, Z]`; returns it with its new affine."""
    axes = nibabel.orientations.io_orientation(affine)
    reoriented = nibabel.orientations.apply_orientation(array, axes)
    return reoriented, affine @ nibabel.orientations.inv_ornt_aff(axes, array.shape)


@dataclass(frozen=True)
class Stretch:
    """Linear interpolation along one axis of `before` samples at `after` centred positions, `step` samples apart."""

    axis: int
    before: int
    after: int
    step: float

    def apply(self, array: np.ndarray, axis: int) -> np.ndarray:
        """Interpolates along `axis` of the array, from `before` samples to `after`."""
        return stretch(array, axis, self.after, self.step)

    def undo(self, array: np.ndarray, axis: int) -> np.ndarray:
        """Interpolates along `axis` of the array, from `after` samples back to the `before` original positions."""
        return stretch(array, axis, self.before, 1 / self.step)


def resampling(lengths: Sequence[int], spacing_mm: Sequence[float], mm: float) -> list[Stretch]:
    """Returns each axis's stretch to a spacing of `mm`; an empty list if all axes have it already or `mm` is 0.

    UserError if the new grid exceeds `LARGEST_GRID` or `LONGEST_AXIS`.
    """
    if mm == 0 or np.allclose(spacing_mm, mm, rtol=1e-4):
        return []
    stretches = [
        Stretch(axis, length, max(1, round(length * spacing / mm)), mm / spacing)
        for axis, (length, spacing) in enumerate(zip(lengths, spacing_mm, strict=True))
    ]
    after = [stretch.after for stretch in stretches]
    if max(after) > LONGEST_AXIS or math.prod(after) > LARGEST_GRID:
        raise UserError(
            f"data.resample_mm {mm:g} makes a grid of {_by(after)} from {_by(lengths)} voxels of "
            f"{_by(f'{spacing:.3g}' for spacing in spacing_mm)} mm, at most {LONGEST_AXIS:,} along an axis and "
            f"{LARGEST_GRID:,} in all are possible; correct the header's spacing, or set a larger data.resample_mm"
        )
    return stretches


def scaling(lengths: Sequence[int], size: int) -> list[Stretch]:
    """Returns each axis's stretch by the factor that makes the longest axis `size` long; an empty list if it is already."""
    if max(lengths) == size:
        return []
    factor = size / max(lengths)
    return [Stretch(axis, length, max(1, round(length * factor)), 1 / factor) for axis, length in enumerate(lengths)]


def stretch(array: np.ndarray, axis: int, length: int, step: float) -> np.ndarray:
    """Interpolates one axis linearly at `length` centred positions that lie `step` old samples apart.

    Positions beyond the outermost samples take the value of the nearest sample, so no value leaves the array's range.
    """
    last = array.shape[axis] - 1
    positions = np.clip((np.arange(length) - (length - 1) / 2) * step + last / 2, 0, last)
    below = np.minimum(positions.astype(int), max(last - 1, 0))
    share = (positions - below).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(array.ndim)])
    lower, upper = np.take(array, below, axis), np.take(array, np.minimum(below + 1, last), axis)
    return lower + share * (upper - lower)


def window_start(shares: np.ndarray, size: int) -> int:
    """Returns the start of a window of `size` along one axis; a negative start means padding.

    The window is centred on the foreground: `shares` has the share of foreground at each position. An axis longer than
    `size` is only cropped, a shorter one only padded.
    """
    spare = len(shares) - size
    inside = np.flatnonzero(shares >= _BOX_SHARE)
    if spare <= 0 or not len(inside):
        return spare // 2
    return int(np.clip((inside[0] + inside[-1] + 1 - size) // 2, 0, spare))


def crop_or_pad(slices: np.ndarray, size: int | tuple[int, ...], corner: tuple[int, int], fill: float) -> np.ndarray:
    """Cuts the window that starts at `corner` out of slices; pixels outside the slices get `fill`.

    Args:
      slices: `[S, rows, columns, ...]`.
      size: the window's height and width, or one number for both.
      corner: row and column of the window's first pixel; may be negative.

    Returns:
      `[S, height, width, ...]`, of the slices' type.
    """
    height, width = (size, size) if isinstance(size, int) else size
    result = np.full((len(slices), height, width, *slices.shape[3:]), fill, slices.dtype)
    (row, column), (rows, columns) = corner, slices.shape[1:3]
    top, left, bottom, right = max(row, 0), max(column, 0), min(row + height, rows), min(column + width, columns)
    result[:, top - row : bottom - row, left - column : right - column] = slices[:, top:bottom, left:right]
    return result
