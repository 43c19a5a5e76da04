"""Arrays of voxels: orientation, spacing, axial slices, and the window cut from them.

Arrays are [X, Y, Z] in canonical RAS+ orientation (X grows to the subject's right, Y to the front, Z to the head) or
slices [S, rows, columns] as a radiologist sees them: row 0 anterior, column 0 the subject's right, slice 0 the lowest.
"""

from pathlib import Path

import nibabel
import numpy as np

from ipmedgan_jax.core.errors import UserError

FIT_MODES = ("crop_or_pad", "scale")


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


def stretch(array: np.ndarray, axis: int, length: int, step: float) -> np.ndarray:
    """Linear interpolation of one axis at `length` centred positions, `step` of the old voxels apart."""
    last = array.shape[axis] - 1
    positions = np.clip((np.arange(length) - (length - 1) / 2) * step + last / 2, 0, last)
    below = np.minimum(positions.astype(int), max(last - 1, 0))
    share = (positions - below).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(array.ndim)])
    lower, upper = np.take(array, below, axis), np.take(array, np.minimum(below + 1, last), axis)
    return lower + share * (upper - lower)


def axial_slices(array: np.ndarray) -> np.ndarray:
    """[X, Y, Z] to [S, rows, columns]: row 0 anterior, column 0 the subject's right, slice 0 the lowest."""
    return array[::-1, ::-1].transpose(2, 1, 0)


def fit_slices(slices: np.ndarray, size: int, mode: str, *, fill: float, threshold: float) -> np.ndarray:
    """[S, rows, columns] to [S, size, size].

    `crop_or_pad` keeps the pixels and moves one window for the whole volume onto the foreground (above `threshold`),
    since heads often lie off the centre of the scan; `scale` makes the longer side `size`, linearly, and pads the rest.
    """
    if mode not in FIT_MODES:
        raise UserError(f"data.fit is {mode!r}; it must be one of {', '.join(FIT_MODES)}")
    if mode == "scale":
        factor = scale_factor(slices.shape, size)
        for axis in (1, 2):
            slices = stretch(slices, axis, max(1, round(slices.shape[axis] * factor)), 1 / factor)
    return crop_or_pad(slices, size, crop_origin(slices, size, threshold), fill)


def scale_factor(shape: tuple[int, ...], size: int) -> float:
    """What `scale` multiplies rows and columns of [S, rows, columns] with."""
    return size / max(shape[1:])


def crop_origin(slices: np.ndarray, size: int, threshold: float) -> tuple[int, int]:
    """Row and column where the window of `size` starts, negative for padding: centred on the foreground's bounding box.

    An axis longer than `size` is only cropped, a shorter one only padded.
    """
    foreground = slices > threshold
    return (
        start_on(foreground.mean(axis=(0, 2)), size),
        start_on(foreground.mean(axis=(0, 1)), size),
    )


def start_on(shares: np.ndarray, size: int) -> int:
    """Start of the window along one axis, from the share of foreground at each place."""
    spare = len(shares) - size
    inside = np.flatnonzero(shares >= _BOX_SHARE)
    if spare <= 0 or not len(inside):
        return spare // 2
    return int(np.clip((inside[0] + inside[-1] + 1 - size) // 2, 0, spare))


def crop_or_pad(slices: np.ndarray, size: int | tuple[int, ...], origin: tuple[int, int], fill: float) -> np.ndarray:
    """`[S, height, width]`: the window of `slices` that starts at `origin`, `fill` where it reaches beyond them.

    `size` is the window's height and width, or the one number that both are.
    """
    height, width = (size, size) if isinstance(size, int) else size
    result = np.full((len(slices), height, width), fill, slices.dtype)
    (row, column), (rows, columns) = origin, slices.shape[1:]
    top, left, bottom, right = max(row, 0), max(column, 0), min(row + height, rows), min(column + width, columns)
    result[:, top - row : bottom - row, left - column : right - column] = slices[:, top:bottom, left:right]
    return result
