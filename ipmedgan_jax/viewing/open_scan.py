"""The scan that the page shows: opened from files, described for the page, and as a NIfTI file that the page can read."""

import math
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import contrasts, dicom_files, dicom_folders, geometry, nifti, placement, scans
from ipmedgan_jax.imaging.labels import read_labels
from ipmedgan_jax.viewing.page_files import for_page, write_series
from ipmedgan_jax.viewing.requests import Refusal
from ipmedgan_jax.viewing.uploads import Upload

_VIEWS = "views"
"""Folder, beside the scan's own files, of what is made for the page."""

_LONGEST_HEADER = 2**20
_DIGITS = 6


@dataclass(frozen=True, eq=False)
class OpenScan:
    """A scan that was read once without an error.

    Attributes:
      index: counts the scans of a session.
      name: what the page calls it: the name of its file, or `series N`.
      image: its NIfTI file, or the folder of its DICOM series.
      series: SeriesInstanceUID of a DICOM series; empty for NIfTI.
      folder: a folder of the session for files about it.
      uploaded: whether its files came from the page, and lie in `folder`.
      shape: of the stored voxels, `[i, j, k]`.
      affine: maps their indices to millimetres; meaningless unless `placed`.
    """

    index: int
    name: str
    image: Path
    series: str
    folder: Path
    uploaded: bool
    shape: tuple[int, ...]
    affine: np.ndarray
    placed: bool
    described: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Returns what the page shows of the scan."""
        kind = "dicom" if self.series else "nifti"
        return {"number": self.index, "name": self.name, "kind": kind, "shape": list(self.shape), **self.described}

    @property
    def most_mask_bytes(self) -> int:
        """The largest file that a mask of this scan can reasonably be: 64 bits a voxel, and a header."""
        return math.prod(self.shape) * 8 + _LONGEST_HEADER

    def view(self) -> Path:
        """Returns a .nii.gz file for the page: of a series its grid in the order of its file."""
        path = self.folder / _VIEWS / "scan.nii.gz"
        path.parent.mkdir(exist_ok=True)
        if not self.series:
            return for_page(self.image, path)
        if not path.exists():
            write_series(path, scans.read_file(self.image, self.series))
        return path

    def read(self) -> scans.Scan:
        """Reads the scan again. Voxels that are not finite are allowed, as when it was opened."""
        return scans.read_scan(self.image, series=self.series, finite=False)

    def check_mask(self, path: Path) -> None:
        """Refuses a file that is no mask on the grid of this scan, before more than its header is unpacked."""
        _check_shape(path, self.shape)
        try:
            found = read_labels(path)
            if self.placed and found.file.placed and not placement.same_place(found.file.affine, self.affine, self.shape):
                away = placement.distance_mm(found.file.affine, self.affine, self.shape)
                raise Refusal(HTTPStatus.BAD_REQUEST, f"the mask is on another grid than the scan, up to {away:.1f} mm away")
            if not found.nonzero("paint with one value").any():
                raise Refusal(HTTPStatus.BAD_REQUEST, "nothing is painted; there is nothing to fill")
        except UserError as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, str(error).replace(str(path), "the mask")) from error


def _check_shape(path: Path, expected: tuple[int, ...]) -> None:
    """Refuses a NIfTI file of another shape by the first bytes of it."""
    try:
        header = nifti.stored_header(path)
        if not 0 <= header["vox_offset"] <= _LONGEST_HEADER:
            raise ValueError("its voxels begin elsewhere than after a header")
        shape = geometry.shape_without_trailing_axes(tuple(map(int, header.get_data_shape())))
    except Exception as error:  # of gzip, zlib and nibabel, for any bytes
        raise Refusal(HTTPStatus.BAD_REQUEST, "the mask is not a readable NIfTI file") from error
    if shape != expected:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"the mask has shape {shape}, the scan {expected}")


def open_path(path: Path, series: str, index: int, folder: Path) -> OpenScan:
    """Opens the scan that the command names, where it lies. UserError if it cannot be opened, or holds several series."""
    if path.is_dir() and not dicom_folders.list_dicom_folders(str(path)):
        raise UserError(f"{path}: holds no DICOM files; give a NIfTI file or the folder of a DICOM series")
    if path.is_dir():
        return _open_series(path, dicom_files.list_series(path), series, index, folder, uploaded=False)
    return _open_nifti(path, path.name, index, folder, uploaded=False)


def open_upload(upload: Upload, series: str, index: int, folder: Path) -> OpenScan:
    """Opens the files of an upload, which move to `folder` if they form a scan. UserError, or Refusal for a choice."""
    names = upload.names
    images = [stored for stored, name in names.items() if name.lower().endswith(nifti.SUFFIXES)]
    if images and len(names) > 1:
        raise UserError("expected one NIfTI file, or the files of one DICOM series")
    if not images:
        listed = dicom_files.list_series(upload.folder)
        return _open_series(upload.folder, listed, _choose(listed, series), index, folder, uploaded=True)
    ((stored, name),) = names.items()
    suffix = next(suffix for suffix in nifti.SUFFIXES if name.lower().endswith(suffix))
    image = folder / f"{name[: -len(suffix)]}{suffix}"  # its name tells the modality, and names the outputs
    folder.mkdir()
    (upload.folder / stored).rename(image)
    return _open_nifti(image, name, index, folder, uploaded=True)


def _open_nifti(image: Path, name: str, index: int, folder: Path, *, uploaded: bool) -> OpenScan:
    folder.mkdir(exist_ok=True)
    return _opened(image, "", name, index, folder, uploaded=uploaded)


def _open_series(
    root: Path, listed: list[dicom_files.SeriesFiles], series: str, index: int, folder: Path, *, uploaded: bool
) -> OpenScan:
    chosen = dicom_files.choose_one(root, listed, series)
    folder.mkdir()
    name = f"series {chosen.series_number}".strip()
    return _opened(chosen.folder, chosen.uid, name, index, folder, uploaded=uploaded)


def _choose(listed: list[dicom_files.SeriesFiles], number: str) -> str:
    """Returns the UID of the series of an upload that a number of the list in the refusal chooses, or of the only one."""
    if not listed:
        raise UserError("expected a NIfTI file (.nii or .nii.gz), or the files of a DICOM series")
    usable = [series for series in listed if series.is_volume and not series.is_output] or listed
    if len(usable) == 1 and not number:
        return usable[0].uid
    if number.isdecimal() and len(number) < _DIGITS and 1 <= int(number) <= len(usable):
        return usable[int(number) - 1].uid
    choose = [
        {
            "number": str(position),
            "description": ": ".join(filter(None, [f"series {series.series_number}".strip(), series.description])),
            "images": len(series.files),
        }
        for position, series in enumerate(usable, start=1)
    ]
    raise Refusal(HTTPStatus.CONFLICT, f"these are {len(usable)} series; choose one", choose=choose)


def sentence(warning: str) -> str:
    """Returns a warning, which follows the name of a file elsewhere, as a sentence for the page."""
    whole = f"the scan {warning}" if warning.startswith("has ") else warning
    return f"{whole[:1].upper()}{whole[1:].removesuffix('.')}{'' if whole.endswith('?') else '.'}"


def _opened(image: Path, series: str, name: str, index: int, folder: Path, *, uploaded: bool) -> OpenScan:
    scan = scans.read_scan(image, series=series, finite=False)
    modality = scan.file.modality or contrasts.modality_of(image) or scans.likely_modality(scan.volume)
    warnings = [] if scan.file.placed else [scans.UNPLACED]
    if isinstance(scan.file, nifti.NiftiFile):
        warnings += filter(None, [placement.forms_warning(scan.file)])
    if bad := int(scan.volume.array.size - np.isfinite(scan.volume.array).sum()):
        warnings.append(f"{bad:,} of its voxels are NaN or infinite; a fill needs numbers, replace them by the background")
    shape = tuple(geometry.without_trailing_axes(scan.file.stored).shape)
    described = {
        "affine": scan.file.affine.tolist(),
        "spacing_mm": [round(value, 4) for value in nibabel.affines.voxel_sizes(scan.file.affine).tolist()],
        "orientation": scan.volume.orientation,
        "modality": modality,
        "warnings": [sentence(warning) for warning in warnings],
    }
    return OpenScan(index, name, image, series, folder, uploaded, shape, scan.file.affine, scan.file.placed, described)
