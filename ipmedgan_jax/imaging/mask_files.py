"""Masks of volumes: read from a file on any grid, or thresholded from the volume's intensities."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import nibabel
import numpy as np
from scipy.ndimage import affine_transform, distance_transform_edt, find_objects, label

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import geometry, nifti, scans
from ipmedgan_jax.imaging.grids import PLANES, SliceGrid
from ipmedgan_jax.imaging.settings import PreparationSettings

_SAME_PLACE = 1e-2
"""Largest distance, in voxels, between the corners of two grids that count as the same grid."""


def read_mask(path: Path | str, scan: scans.Scan, labels: Sequence[int] = ()) -> tuple[np.ndarray, list[str]]:
    """Reads the mask of a scan; returns the voxels to be filled, bool and canonical `[X, Y, Z]`, and notes for the user.

    If the mask is on another grid, every voxel of the scan that it touches is filled. Without `labels`, all voxels that are
    not 0 are filled.

    UserError if the mask has no voxel in the volume, has several labels and no `labels` are given, or has the volume's grid
    but not its shape.
    """
    file = nifti.read(path)
    values = geometry.without_trailing_axes(file.values())
    if values.ndim != 3:
        raise UserError(f"{path}: has shape {values.shape}; a mask is 3-D, as its volume")
    if not np.isfinite(values).all():
        raise UserError(f"{path}: has voxels that are NaN or infinite; a mask has whole numbers, 0 where nothing is filled")
    selected, name = _select_labels(path, values, labels), scan.file.path.name
    if not (file.placed and scan.file.placed):
        unplaced = f"the mask or {name} has no sform or qform"
        if selected.shape != scan.file.stored.shape[:3]:
            raise UserError(f"{path}: {unplaced}, and their shapes differ; set the sform of both")
        notes = [f"{path}: {unplaced}; voxels are matched by their order in the files"]
        mask = nibabel.orientations.apply_orientation(selected, scan.axes)
    else:
        geometry.find_axes(file.path, file.affine)
        mask, notes = _move_to_grid(*geometry.reorient(selected, file.affine), scan, path)
    if not mask.any():
        raise UserError(f"{path}: no voxel of {name} is masked; there is nothing to fill")
    return mask, notes


def _move_to_grid(mask: np.ndarray, affine: np.ndarray, scan: scans.Scan, path: Path | str) -> tuple[np.ndarray, list[str]]:
    """Moves a canonical mask to the grid of a scan; returns it with notes for the user."""
    shape, name = scan.volume.array.shape, scan.file.path.name
    to_mask = np.linalg.solve(affine, scan.affine)  # voxels to voxels
    if _moves_no_voxel(to_mask, shape):
        if mask.shape != shape:
            raise UserError(f"{path}: has shape {mask.shape}, {name} has {shape}: not a mask of that volume")
        return mask, []
    notes = [f"{path}: is on another grid than {name}; every voxel that it touches is filled"]
    # If the mask is coarser than the scan, a voxel is touched when its centre lies in a masked voxel. If it is finer, a
    # voxel is touched when the centre of a masked voxel lies in it. Both tests are made.
    touched = affine_transform(
        mask.astype(np.uint8), to_mask[:3, :3], to_mask[:3, 3], shape, order=0, mode="grid-constant"
    ).astype(bool)
    positions = nibabel.affines.apply_affine(np.linalg.inv(to_mask), np.argwhere(mask))
    nearest = np.rint(positions).astype(int)
    inside = ((nearest >= 0) & (nearest < shape)).all(1)
    touched[tuple(nearest[inside].T)] = True
    if not inside.all():
        notes.append(f"{path}: {np.count_nonzero(~inside)} of {len(inside)} masked voxels lie outside {name}")
    return touched, notes


def _select_labels(path: Path | str, values: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    if labels:
        return np.isin(values, labels)
    found = np.unique(values[values != 0])
    if len(found) > 1:
        some = ", ".join(f"{value:g}" for value in found[:5]) + (", ..." if len(found) > 5 else "")
        raise UserError(
            f"{path}: holds the values {some}: name those to be filled with --mask_labels, or make a mask of 0 and 1"
        )
    return values != 0


def _moves_no_voxel(transform: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether a map of voxel indices leaves all corners of the volume in place, to `_SAME_PLACE`."""
    corners = np.stack(np.meshgrid(*((0, length - 1) for length in shape), [1.0], indexing="ij"), -1).reshape(-1, 4)
    return bool(np.abs(corners @ (transform - np.eye(4)).T).max() < _SAME_PLACE)


def parts(path: Path | str, settings: PreparationSettings, *, at_least: int) -> Iterator[np.ndarray]:
    """Yields the connected components of a mask's axial slices, bool `[h, w]`, in the pixels of a network's input.

    Components whose longer side is below `at_least` pixels are skipped.
    """
    file = nifti.read(path)
    mask, affine = geometry.reorient(geometry.without_trailing_axes(file.values()) > 0, file.affine)
    masks = PLANES["axial"](mask)
    x, y, z = nibabel.affines.voxel_sizes(affine)
    grid = SliceGrid.of(settings, "axial", masks, (x, y, z))
    for mask in masks[masks.any((1, 2))]:
        pixels = grid.to_pixels(mask[None].astype(np.float32))[0] > 0.5
        labels, _ = label(pixels)
        for i, box in enumerate(find_objects(labels), start=1):
            if max(extent.stop - extent.start for extent in box) >= at_least:
                yield labels[box] == i


def above(volume: scans.Volume, level: float) -> np.ndarray:
    """Returns the voxels above a level in the volume's unit, for example metal in CT; UserError if there are none."""
    mask = volume.array > level
    if not mask.any():
        raise UserError(
            f"{volume.path}: no voxel is above {level:g} (the highest is {volume.array.max():g}); nothing to fill"
        )
    return mask


def dilate(mask: np.ndarray, mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Returns the mask with all voxels within `mm` millimetres of it."""
    if mm <= 0:
        return mask
    grown = mask.copy()
    reach = [int(np.ceil(mm / spacing)) + 1 for spacing in spacing_mm]
    box = tuple(
        slice(max(0, int(where.min()) - margin), int(where.max()) + margin + 1)
        for where, margin in zip(np.nonzero(mask), reach, strict=True)
    )
    grown[box] = distance_transform_edt(~mask[box], sampling=spacing_mm) <= mm
    return grown
