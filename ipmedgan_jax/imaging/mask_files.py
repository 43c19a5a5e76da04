"""Masks of volumes: read from a file on any grid, or thresholded from the volume's intensities."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import nibabel
import numpy as np
from scipy.ndimage import distance_transform_edt, find_objects, label

from ipmedgan_jax.core import memory
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import dicom_masks, geometry, nifti, overlap, placement, scans
from ipmedgan_jax.imaging.dicom_masks import DicomMask
from ipmedgan_jax.imaging.grids import PLANES, SliceGrid
from ipmedgan_jax.imaging.labels import LabelMap, read_labels
from ipmedgan_jax.imaging.settings import PreparationSettings

_MOST_PAIRS = 2**33
"""Largest number of pairs of a masked voxel and a voxel of the scan that are compared; an hour's work."""


class EmptyMaskError(UserError):
    """There is nothing to fill in a scan. `warnings` are those about its mask."""

    def __init__(self, message: str, warnings: Sequence[str] = ()):
        super().__init__(message)
        self.warnings = tuple(warnings)


class MisplacedMaskError(UserError):
    """A mask does not lie as its scan does. `problem` is the message without the advice, which is for `inpaint`."""

    def __init__(self, problem: str, advice: str):
        super().__init__(f"{problem}; {advice}")
        self.problem = problem


def read_mask(
    path: Path | str, scan: scans.Scan, labels: Sequence[int] = (), match: str | None = None
) -> tuple[np.ndarray, list[str]]:
    """Reads the mask of a scan; returns the voxels to be filled, bool and canonical `[X, Y, Z]`, and warnings.

    If the mask is on another grid, every voxel of the scan that it touches is filled. A mask that has the scan's shape but
    lies elsewhere is refused, unless `match` says how to lay it on the scan: each voxel at its `position` in millimetres, or
    at its `index` in the file. Without `labels`, all voxels that are not 0 are filled; labels that the mask does not have are
    warned of.

    EmptyMaskError if the mask has no such voxel. UserError if it lies wholly outside the scan, has several labels and no
    `labels` are given, is not a label map, or does not fit the scan.
    """
    if not dicom_masks.is_mask(Path(path)):
        return mask_of(read_labels(path), scan, labels, match)
    file = dicom_masks.read(Path(path), scan.file, labels)
    warnings = list(file.warnings)
    if not file.selected.any():
        raise EmptyMaskError(f"{warnings[-1]}; there is nothing to fill", warnings)
    mask, more = _lay_on_scan(file.selected, file, scan, match)
    return mask, warnings + more


def mask_of(
    found: LabelMap, scan: scans.Scan, labels: Sequence[int] = (), match: str | None = None
) -> tuple[np.ndarray, list[str]]:
    """Returns the voxels of a label map that are to be filled in a scan, with warnings; see `read_mask`."""
    selected, warnings = _select(found, labels)
    mask, more = _lay_on_scan(selected, found.file, scan, match)
    return mask, warnings + more


def _select(found: LabelMap, labels: Sequence[int]) -> tuple[np.ndarray, list[str]]:
    path = found.file.path
    if labels:
        selected, warning = found.select(labels)
    else:
        selected = found.nonzero("name those to be filled with --mask_labels, or make a mask of 0 and 1")
        warning = ""
    warnings = [warning] if warning else []
    if not selected.any():
        raise EmptyMaskError(f"{warning or f'{path}: is empty, every voxel is 0'}; there is nothing to fill", warnings)
    return selected, warnings


def _lay_on_scan(
    mask: np.ndarray, file: scans.ScanFile | DicomMask, scan: scans.Scan, match: str | None
) -> tuple[np.ndarray, list[str]]:
    """Returns a mask that has its file's axes as a canonical mask on the scan's grid, with warnings."""
    name, shape = scan.file.path.name, scan.file.stored.shape[:3]
    if match == "index" and mask.shape != shape:
        raise UserError(f"{file.path}: has shape {mask.shape}, {name} has {shape}: --match_mask=index needs one shape")
    if match == "index":
        axes = placement.other_axes(file.affine, scan.file.affine) if file.placed and scan.file.placed else ""
        warning = f"{file.path}: the axes of the mask and of {name} point to {axes}: by the index, it may be mirrored"
        return nibabel.orientations.apply_orientation(mask, scan.axes), [warning] if axes else []
    if not (file.placed and scan.file.placed):
        unplaced = f"the mask or {name} has no sform or qform"
        if match == "position":
            raise UserError(f"{file.path}: {unplaced}; --match_mask=position needs one in both")
        if mask.shape != shape:
            raise UserError(f"{file.path}: {unplaced}, and their shapes differ; set the sform of both")
        warning = f"{file.path}: {unplaced}; voxels are matched by their order in the files"
        return nibabel.orientations.apply_orientation(mask, scan.axes), [warning]
    geometry.find_axes(file.path, file.affine)
    warning = placement.forms_warning(file) if isinstance(file, nifti.NiftiFile) else ""
    warnings = [f"{file.path}: {warning}"] if warning else []
    canonical, affine = geometry.reorient(mask, file.affine)
    fits = canonical.shape == scan.volume.array.shape
    if placement.same_place(affine, scan.affine, scan.volume.array.shape, rounded=fits):
        if fits:
            return canonical, warnings
        if match is None:
            raise MisplacedMaskError(
                f"{file.path}: has shape {canonical.shape}, {name} has {scan.volume.array.shape}: not a mask of that volume",
                "--match_mask=position fills it where they overlap",
            )
    elif mask.shape == shape and match is None:
        _refuse_elsewhere(file, affine, scan)
    touched, more = _move_to_grid(canonical, affine, scan, file.path)
    return touched, warnings + more


def _refuse_elsewhere(file: scans.ScanFile | DicomMask, affine: np.ndarray, scan: scans.Scan) -> None:
    """UserError for a mask that has the shape of its scan and another affine; `affine` is that of the canonical mask."""
    both = [(one.path, placement.forms_warning(one)) for one in (file, scan.file) if isinstance(one, nifti.NiftiFile)]
    forms = "".join(f" ({path}: {warning})" for path, warning in both if warning)
    distance = placement.distance_mm(affine, scan.affine, scan.volume.array.shape)
    axes = placement.other_axes(file.affine, scan.file.affine)
    where = f"from the scan's; their axes point to {axes}" if axes else "from those of the same index"
    by_index = "--match_mask=index to go by the index, or "  # which would mirror a mask of other axes
    raise MisplacedMaskError(
        f"{file.path}: has the shape of {scan.file.path.name}, but its voxels lie up to {distance:.1f} mm away "
        f"{where}{forms}",
        f"give {'' if axes else by_index}--match_mask=position to go by the millimetres",
    )


def _move_to_grid(mask: np.ndarray, affine: np.ndarray, scan: scans.Scan, path: Path) -> tuple[np.ndarray, list[str]]:
    """Moves a canonical mask to the grid of a scan; returns it with warnings. UserError if it lies outside the scan."""
    name = scan.file.path.name
    total = int(np.count_nonzero(mask))
    memory.check(path, total * overlap.BYTES_PER_VOXEL, f"to lay its {total:,} masked voxels on the grid of {name}")
    transform = np.linalg.solve(scan.affine, affine)
    if total * overlap.candidates(transform, scan.volume.array.shape) > _MOST_PAIRS:
        raise UserError(f"{path}: its voxels are too large or too many to be laid on the grid of {name}; resample it")
    touched, outside = overlap.touched_voxels(mask, transform, scan.volume.array.shape)
    if outside == total:
        raise UserError(
            f"{path}: lies outside {name}: none of its {total:,} masked voxels touches the scan; give the mask of this scan, "
            "or correct its sform"
        )
    warnings = [f"{path}: is on another grid than {name}; every voxel that it touches is filled"]
    if outside:
        warnings.append(f"{path}: {outside} of {total} masked voxels lie outside {name}")
    return touched, warnings


def parts(path: Path | str, settings: PreparationSettings, *, at_least: int) -> Iterator[np.ndarray]:
    """Yields the connected components of a mask's axial slices, bool `[h, w]`, in the pixels of a network's input.

    Components whose longer side is below `at_least` pixels are skipped. UserError if the file is not a label map or has
    several labels.
    """
    found = read_labels(path)
    geometry.find_axes(found.file.path, found.file.affine)
    mask, affine = geometry.reorient(found.nonzero("make a mask of 0 and 1"), found.file.affine)
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
    """Returns the voxels above a level in the volume's unit, for example metal in CT; EmptyMaskError if there are none."""
    mask = volume.array > level
    if not mask.any():
        raise EmptyMaskError(
            f"{volume.path}: no voxel is above {level:g} (the highest is {volume.array.max():g}); nothing to fill"
        )
    return mask


def dilate(mask: np.ndarray, mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Returns the mask, bool `[X, Y, Z]` with at least one voxel, with all voxels within `mm` millimetres of it."""
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
