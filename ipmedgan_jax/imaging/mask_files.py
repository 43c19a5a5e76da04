"""Masks of volumes: from a file on the volume's grid or another, or from the volume's own intensities."""

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
"""Voxels: how far two grids' voxels may lie apart to be the same."""


def read_mask(path: Path | str, scan: scans.Scan, labels: Sequence[int] = ()) -> tuple[np.ndarray, list[str]]:
    """The voxels to be filled, bool and canonical `[X, Y, Z]`, and notes for the user.

    Of a mask on another grid, every voxel of the scan that it touches. UserError for a mask without a voxel in the volume,
    one of many labels when no `labels` say which are meant, and one that has the volume's grid but not its shape.
    """
    file = nifti.read(path)
    values = geometry.without_trailing_axes(file.values())
    if values.ndim != 3:
        raise UserError(f"{path}: has shape {values.shape}; a mask is 3-D, as its volume")
    if not np.isfinite(values).all():
        raise UserError(f"{path}: has voxels that are NaN or infinite; a mask has whole numbers, 0 where nothing is filled")
    chosen, name = _chosen(path, values, labels), scan.file.path.name
    if not (file.placed and scan.file.placed):
        if chosen.shape != scan.file.stored.shape[:3]:
            raise UserError(f"{path}: {name} or it says not where its voxels lie, and their shapes differ; set their sform")
        notes = [f"{path}: {name} or it says not where its voxels lie; they are matched by their order in the files"]
        mask = nibabel.orientations.apply_orientation(chosen, scan.axes)
    else:
        geometry.find_axes(file.path, file.affine)
        mask, notes = _on_grid(*geometry.reorient(chosen, file.affine), scan, path)
    if not mask.any():
        raise UserError(f"{path}: no voxel of {name} is masked; there is nothing to fill")
    return mask, notes


def _on_grid(mask: np.ndarray, affine: np.ndarray, scan: scans.Scan, path: Path | str) -> tuple[np.ndarray, list[str]]:
    """A canonical mask on the grid of a scan, and notes about it."""
    shape, name = scan.volume.array.shape, scan.file.path.name
    to_mask = np.linalg.solve(affine, scan.affine)  # voxels to voxels
    if _moves_no_voxel(to_mask, shape):
        if mask.shape != shape:
            raise UserError(f"{path}: has shape {mask.shape}, {name} has {shape}: not a mask of that volume")
        return mask, []
    notes = [f"{path}: is on another grid than {name}; every voxel that it touches is filled"]
    # Coarse masks: the voxels whose middle lies in a masked one. Fine masks: those that the middle of a masked one lies in.
    touched = affine_transform(
        mask.astype(np.uint8), to_mask[:3, :3], to_mask[:3, 3], shape, order=0, mode="grid-constant"
    ).astype(bool)
    places = nibabel.affines.apply_affine(np.linalg.inv(to_mask), np.argwhere(mask))
    nearest = np.rint(places).astype(int)
    inside = ((nearest >= 0) & (nearest < shape)).all(1)
    touched[tuple(nearest[inside].T)] = True
    if not inside.all():
        notes.append(f"{path}: {np.count_nonzero(~inside)} of {len(inside)} masked voxels lie outside {name}")
    return touched, notes


def _chosen(path: Path | str, values: np.ndarray, labels: Sequence[int]) -> np.ndarray:
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
    """Whether a map of voxel indices leaves all corners of the volume where they are."""
    corners = np.stack(np.meshgrid(*((0, length - 1) for length in shape), [1.0], indexing="ij"), -1).reshape(-1, 4)
    return bool(np.abs(corners @ (transform - np.eye(4)).T).max() < _SAME_PLACE)


def parts(path: Path | str, settings: PreparationSettings, *, at_least: int) -> Iterator[np.ndarray]:
    """Connected parts of a mask's axial slices, bool `[h, w]` in a trained network's pixels, `at_least` so many across."""
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
    """The voxels above a level in the volume's unit: metal in CT, for one. UserError where there are none."""
    mask = volume.array > level
    if not mask.any():
        raise UserError(
            f"{volume.path}: no voxel is above {level:g} (the highest is {volume.array.max():g}); nothing to fill"
        )
    return mask


def dilate(mask: np.ndarray, mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """The mask and all voxels within `mm` of it."""
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
