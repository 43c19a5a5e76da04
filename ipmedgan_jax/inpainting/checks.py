"""Warnings about scans unlike the training data, to be read before a filled scan is trusted."""

from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.imaging import scans
from ipmedgan_jax.imaging.grids import PLANES, in_plane
from ipmedgan_jax.inpainting.masked_volume import MaskedVolume

_FARTHEST = 1.5
"""Largest factor, in either direction, between a scan's spacing and the training scans'; also between rows and columns."""

_RING = 5
"""Width in voxels of the ring around the mask whose intensities are checked."""

_OUTSIDE = 0.05
"""Largest share of that ring that may lie outside the intensity window without a warning."""

_AIR = 0.95
"""Largest share of that ring that may be background without a warning."""


def plausibility_warnings(masked: MaskedVolume, training_data: dict[str, Any]) -> list[str]:
    """Returns the warnings, one line each; `training_data` is a run's `data.json`. UserError for a scan without contrast."""
    trained, volume = masked.trained, masked.volume
    lines = [scans.modality_warning(volume, trained.preparation.modality)]
    lines.append(_spacing_warning(training_data, volume))
    lines.append(_intensity_warning(masked))
    lines += [share_warning(masked.mask, masked.foreground.head), _head_warning(masked)]
    if trained.preparation.resample_mm == 0:
        lines += [pixel_warning(plane, volume) for plane in masked.plane_names]
    lines += _size_warnings(masked)
    return [line for line in lines if line]


def check_known(masked: MaskedVolume) -> None:
    """UserError if a slice that would be filled has no known voxel, so that nothing tells what belongs there."""
    blind = {name: np.flatnonzero(PLANES[name](masked.mask).all((1, 2))) for name in PLANES}
    for name in masked.plane_names:
        if blind[name].size:
            others = [other for other in PLANES if not blind[other].size]
            remedy = f"give --planes={','.join(others)}" if others else "mask less"
            raise UserError(
                f"{counted(blind[name].size, 'slice')} of the plane {name} without a known voxel (number {blind[name][0]} "
                f"from 0, in RAS order); {remedy}"
            )


def _head_warning(masked: MaskedVolume) -> str:
    """Warns of slices whose whole head is masked, so that only air is known there."""
    head = masked.foreground.head
    for name in masked.plane_names:
        heads, masks = PLANES[name](head), PLANES[name](masked.mask)
        blind = (heads & masks).any((1, 2)) & ~(heads & ~masks).any((1, 2))
        if blind.any():
            return (
                f"{counted(int(blind.sum()), 'slice')} of the plane {name} without a known voxel of the head (number "
                f"{np.flatnonzero(blind)[0]} from 0, in RAS order): nothing but air says what to fill; try other --planes"
            )
    return ""


def _spacing_warning(training_data: dict[str, Any], volume: scans.Volume) -> str:
    if not {"lowest_spacing_mm", "highest_spacing_mm"} <= training_data.keys():
        return "the voxel spacing of the training scans is not recorded, so this scan's could not be compared with it"
    lowest, highest = np.array(training_data["lowest_spacing_mm"]), np.array(training_data["highest_spacing_mm"])
    spacing = np.array(volume.spacing_mm)
    if (spacing < lowest / _FARTHEST).any() or (spacing > highest * _FARTHEST).any():
        return f"voxels of {_millimetres(spacing)} mm; training scans had {_millimetres(lowest)} to {_millimetres(highest)}"
    return ""


def pixel_warning(plane: str, volume: scans.Volume) -> str:
    """Warns of pixels far from square. Axial slices have square ones, and fills of all kinds take them for granted."""
    rows, columns = in_plane(plane, volume.spacing_mm)
    if not 1 / _FARTHEST < rows / columns < _FARTHEST:
        return f"{plane} slices have pixels of {rows:.3g} x {columns:.3g} mm, far from square"
    return ""


def _millimetres(spacing: np.ndarray) -> str:
    return " x ".join(f"{value:.3g}" for value in spacing)


def _intensity_warning(masked: MaskedVolume) -> str:
    if line := air_warning(masked.mask, masked.foreground.head):
        return line
    (low, high), around = masked.window, _voxels_around(masked.mask, masked.volume.array)
    share = float(((around < low) | (around > high)).mean()) if around.size else 0.0
    if share > _OUTSIDE:
        return f"{share:.0%} of the voxels around the mask lie outside the intensity window of {low:g} to {high:g}"
    return ""


def air_warning(mask: np.ndarray, head: np.ndarray) -> str:
    """Returns a warning if a mask lies in the air; `mask` and `head` are bool `[X, Y, Z]`."""
    around = _voxels_around(mask, head)
    if around.size and float((~around).mean()) > _AIR:
        return "nearly all voxels around the mask are background: does the mask lie on the head?"
    return ""


def _voxels_around(mask: np.ndarray, array: np.ndarray) -> np.ndarray:
    """Returns an array's values in a ring around the mask, within its slices."""
    box = tuple(slice(max(0, where.min() - _RING), where.max() + _RING + 1) for where in np.nonzero(mask))
    ring = binary_dilation(mask[box], np.ones((3, 3, 1)), _RING) & ~mask[box]
    return array[box][ring]


def share_warning(mask: np.ndarray, head: np.ndarray) -> str:
    """Returns a warning if a mask takes most of the head; `mask` and `head` are bool `[X, Y, Z]`."""
    share = np.count_nonzero(mask) / np.count_nonzero(head | mask)
    return f"the mask covers {share:.0%} of the head: little is left to fill it from" if share > 0.5 else ""


def _size_warnings(masked: MaskedVolume) -> list[str]:
    side = masked.trained.hole_size
    tilings = [tiling for plane in masked.planes for tiling in plane.tilings]
    larger, not_square = sum(tiling.exceeds for tiling in tilings), sum(not tiling.whole for tiling in tilings)
    lines = []
    if larger:
        lines.append(
            f"the hole is larger than the {side} x {side} pixels of training in {counted(larger, 'slice')}, filled in "
            "overlapping tiles, from the hole's border inwards"
        )
    if not_square and not masked.trained.trained_on_any_shape:
        lines.append(
            f"the generator was trained on whole squares of {side} x {side} pixels only; the hole has another shape in "
            f"{counted(not_square, 'slice')}"
        )
    return lines
