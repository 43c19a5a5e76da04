"""What a person should know before trusting a filled scan: where it differs from what the generator was trained on."""

from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation

from ipmedgan_jax.imaging import scans
from ipmedgan_jax.imaging.grids import PLANES, SliceGrid, in_plane
from ipmedgan_jax.inpainting import tiles
from ipmedgan_jax.inpainting.model import Trained

_FARTHEST = 1.5
"""Times the trained spacing, or one part of it: beyond, a warning."""

_RING = 5
"""Voxels: the surroundings of the mask."""

_OUTSIDE = 0.05
"""Share of the surroundings that may lie outside the intensity window."""


def plausibility_warnings(
    trained: Trained, training_data: dict[str, Any], volume: scans.Volume, mask: np.ndarray, planes: tuple[str, ...]
) -> list[str]:
    """One line each, none where there is nothing to say; `training_data` is a run's `data.json`."""
    lines = [scans.modality_warning(volume, trained.preparation.modality)]
    lines.append(_spacing_warning(training_data, volume))
    window = trained.preparation.window(volume.array[~mask])
    lines.append(_intensity_warning(volume.array, mask, window))
    head = (volume.array > trained.preparation.threshold(window)) | mask
    share = np.count_nonzero(mask) / np.count_nonzero(head)
    if share > 0.5:
        lines.append(f"the mask holds {share:.0%} of the head: little is left to go by")
    lines += [_pixel_warning(trained, plane, volume) for plane in planes]
    lines += _size_warnings(trained, volume, mask, planes)
    return [line for line in lines if line]


def _spacing_warning(training_data: dict[str, Any], volume: scans.Volume) -> str:
    if not {"lowest_spacing_mm", "highest_spacing_mm"} <= training_data.keys():
        return "not known what voxels were trained on: the spacing could not be compared"
    lowest, highest = np.array(training_data["lowest_spacing_mm"]), np.array(training_data["highest_spacing_mm"])
    spacing = np.array(volume.spacing_mm)
    if (spacing < lowest / _FARTHEST).any() or (spacing > highest * _FARTHEST).any():
        return f"voxels of {_millimetres(spacing)} mm; training scans had {_millimetres(lowest)} to {_millimetres(highest)}"
    return ""


def _pixel_warning(trained: Trained, plane: str, volume: scans.Volume) -> str:
    """Generators know square pixels: scans are resampled to some, or their axial slices have them."""
    rows, columns = in_plane(plane, volume.spacing_mm)
    if trained.preparation.resample_mm == 0 and not 1 / _FARTHEST < rows / columns < _FARTHEST:
        return f"{plane} slices have pixels of {rows:.3g} x {columns:.3g} mm, far from square"
    return ""


def _millimetres(spacing: np.ndarray) -> str:
    return " x ".join(f"{value:.3g}" for value in spacing)


def _intensity_warning(array: np.ndarray, mask: np.ndarray, window: scans.Window) -> str:
    box = tuple(slice(max(0, where.min() - _RING), where.max() + _RING + 1) for where in np.nonzero(mask))
    ring = binary_dilation(mask[box], np.ones((3, 3, 1)), _RING) & ~mask[box]
    if not ring.any():
        return ""
    around, (low, high) = array[box][ring], window
    share = float(((around < low) | (around > high)).mean())
    if share > _OUTSIDE:
        return f"{share:.0%} of the voxels round the mask lie outside the {low:g} to {high:g} that the generator sees"
    return ""


def _size_warnings(trained: Trained, volume: scans.Volume, mask: np.ndarray, planes: tuple[str, ...]) -> list[str]:
    side, larger, others = trained.hole_size, 0, 0
    for plane in planes:
        masks = PLANES[plane](mask)
        grid = SliceGrid.of(trained.preparation, plane, masks, volume.spacing_mm)
        for masked in masks[masks.any((1, 2))]:
            pixels = grid.to_pixels(masked[None].astype(np.float32))[0] > 0
            larger += tiles.exceeds(pixels, side)
            others += np.count_nonzero(pixels) != side**2 * len(tiles.cover(pixels, side))
    lines = []
    if larger:
        lines.append(
            f"the hole is larger than the {side} x {side} pixels trained for in {larger} slice(s): filled there in "
            "overlapping squares, from its border inwards"
        )
    if others and not trained.trained_on_any_shape:
        lines.append(f"trained on whole squares of {side} x {side} pixels alone; holes of another shape in {others} slice(s)")
    return lines
