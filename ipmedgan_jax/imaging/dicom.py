"""Reading a DICOM series as a volume. Needs the extra `dicom` (pydicom).

A series is a set of single-frame images of one patient position. Reading stacks its slices along their normal, in whatever
order their files come.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ipmedgan_jax.core import memory
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import dicom_files, dicom_pixels, dicom_writing, geometry
from ipmedgan_jax.imaging.dicom_parsing import Values, read_dataset

_ROUNDING_MM = 0.1
"""Largest distance of a slice from its place in an even stack.

Some exports round positions to 0.1 mm. That moves a slice by up to 0.05 mm, and so the line through the first and the last
slice. A slice that is missing moves its neighbours by at least a third of the spacing (`_LARGEST_SHARE` is below that).
"""

_LARGEST_SHARE = 0.25
"""Largest such distance as a share of the spacing, for slices that lie close together."""

_NUMBERS = {
    "ImageOrientationPatient": 6,
    "ImagePositionPatient": 3,
    "PixelSpacing": 2,
}
"""Attributes that every slice must have, and the number of their values."""

_OPTIONAL = ("SliceThickness", "RescaleSlope", "RescaleIntercept")

_OPTIONAL_UIDS = ("FrameOfReferenceUID", "StudyInstanceUID")
_UIDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", *_OPTIONAL_UIDS)

_TEXTS = ("Modality", "PatientID", "SeriesDescription", "ImageType", "TimezoneOffsetFromUTC")
"""Attributes that a slice may have, which `DicomSeries` and the writing of its fill ask for."""

_SAME = ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "BitsAllocated", "BitsStored", "PixelRepresentation")
"""Attributes that the slices of a volume share."""

Numbers = Sequence[float] | np.ndarray
"""The values of an attribute."""

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns DICOM's patient coordinates, which grow to the left and to the back, into those of NIfTI."""


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """One series, its datasets sorted by position along the slice normal; arrays are `[columns, rows, slices]`."""

    path: Path
    datasets: tuple[Any, ...]
    files: tuple[Path, ...]

    @cached_property
    def stored(self) -> np.ndarray:
        """The pixels as stored, without the rescale slope and intercept."""
        return np.stack([dataset.pixel_array.T for dataset in self.datasets], axis=-1)

    @property
    def placed(self) -> bool:
        return True

    @property
    def modality(self) -> str:
        """The modality in the words of the settings, `ct` or `mri`; another one in DICOM's, in lower case."""
        told = str(self.datasets[0].get("Modality") or "")
        return {"MR": "mri"}.get(told, told.lower())

    @property
    def affine(self) -> np.ndarray:
        """Maps voxel indices to millimetres; right, anterior and superior are positive, as in NIfTI."""
        first, last = self.datasets[0], self.datasets[-1]
        affine = plane_affine(first.ImageOrientationPatient, first.PixelSpacing, first.ImagePositionPatient)
        if len(self.datasets) == 1:
            affine[:3, 2] *= float(first.get("SliceThickness") or 1.0)
        else:
            affine[:3, 2] = (position(last) - position(first)) / (len(self.datasets) - 1)
        return TO_RAS @ affine

    def values(self) -> np.ndarray:
        """The pixels in the image's unit (HU for CT), float32."""
        slopes, intercepts = np.array([dicom_writing.scaling(dataset) for dataset in self.datasets], np.float32).T
        return self.stored * slopes + intercepts

    def write_filled(
        self, output: Path, where: np.ndarray, values: np.ndarray, description: str, *, replace: bool = False
    ) -> None:
        """Writes the series, with new values at some voxels, to a folder; the write is atomic.

        Args:
          where: the voxels that change, bool, of the stored shape.
          values: their new values `[where.sum()]` in the image's unit, in C order of `where`.
          description: text for the new series' derivation description.
          replace: whether a folder that exists is replaced; otherwise it must not exist.
        """
        filled = np.zeros(where.shape)
        filled[where] = values
        dicom_writing.write_derived(output, self.datasets, self.files, where, filled, description, replace=replace)


def read(folder: Path, series: str = "") -> DicomSeries:
    """Reads one series in a folder and its subfolders.

    UserError if pydicom is missing, if the folder holds no such series, or if a file or the series cannot be used.

    Args:
      folder: the folder.
      series: the number, UID or description of the series; needed if there are several.
    """
    chosen = dicom_files.choose_one(folder, dicom_files.list_series(folder), series)
    memory.check(folder, sum(path.stat().st_size for path in chosen.files), "its files")
    slices = [(read_dataset(path), path) for path in chosen.files]
    sizes = [_check_slice(dataset, path) for dataset, path in slices]
    slices = _without_copies(slices)
    normal = np.cross(*np.array(slices[0][0].ImageOrientationPatient, float).reshape(2, 3))
    slices.sort(key=lambda item: float(position(item[0]) @ normal))
    _check_forms_volume(folder, slices)
    geometry.check_memory(folder, (*sizes[0], len(slices)), 1)
    for dataset, path in slices:
        dicom_pixels.decode(dataset, path)
    return DicomSeries(folder, tuple(dataset for dataset, _ in slices), tuple(path for _, path in slices))


def plane_affine(orientation: Numbers, spacing: Numbers, start: Numbers) -> np.ndarray:
    """Maps [column, row, distance in mm along the normal] of a frame to DICOM's patient coordinates (PS3.3, C.7.6.2.1.1)."""
    along_columns, along_rows = np.array(orientation, float).reshape(2, 3)
    row_mm, column_mm = map(float, spacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = along_columns * column_mm, along_rows * row_mm
    affine[:3, 2], affine[:3, 3] = np.cross(along_columns, along_rows), np.array(start, float)
    return affine


def position(dataset: Any) -> np.ndarray:
    """Returns the position of a slice's first pixel, in DICOM's patient coordinates."""
    return np.array(dataset.ImagePositionPatient, float)


def _check_slice(dataset: Any, path: Path) -> tuple[int, int]:
    """Returns rows and columns of a slice; UserError if a value that will be asked for is missing or of another kind."""
    values = Values(path, dataset)
    if not values.content("PixelData"):
        raise UserError(f"{path}: is truncated: it ends before or in its pixels; copy the series again")
    for name, count in _NUMBERS.items():
        values.numbers(name, count)
    for name in _OPTIONAL:
        values.scalar(name, 0.0)
    for name in _TEXTS:
        values.text(name)
    values.integer("SeriesNumber", 0), values.items("ContributingEquipmentSequence")
    for name in _UIDS:
        if not values.uid(name) and name not in _OPTIONAL_UIDS:
            raise UserError(f"{path}: has no usable {name}: not a slice of a volume")
    if values.integer("NumberOfFrames", 1) > 1 or values.integer("SamplesPerPixel", 1) > 1:
        raise UserError(f"{path}: has several frames or colours; expected one grey-level frame per file")
    if (kind := values.text("PhotometricInterpretation") or "MONOCHROME2") != "MONOCHROME2":
        raise UserError(f"{path}: its PhotometricInterpretation is {kind}; expected MONOCHROME2, bright for high values")
    if values.items("ModalityLUTSequence"):
        raise UserError(
            f"{path}: a table says what its pixels mean (ModalityLUTSequence), which is not read; export the "
            "series with RescaleSlope and RescaleIntercept"
        )
    if not min(dataset.PixelSpacing) > 0:
        raise UserError(f"{path}: its PixelSpacing is {list(dataset.PixelSpacing)} mm; not a slice of a volume")
    _, rows, columns = dicom_pixels.shape(values)
    if values.integer("BitsAllocated") < 8:
        raise UserError(f"{path}: its pixels have one bit each: a mask, not a slice of a scan")
    expected = rows * columns * values.integer("BitsAllocated") // 8
    if not dataset.file_meta.TransferSyntaxUID.is_compressed and len(dataset.PixelData) < expected:
        raise UserError(f"{path}: is truncated: it has {len(dataset.PixelData)} of {expected} bytes of pixels; copy it again")
    return rows, columns


def _without_copies(slices: list[tuple[Any, Path]]) -> list[tuple[Any, Path]]:
    """Leaves out files that repeat another one; UserError if two files of one SOPInstanceUID differ."""
    found: dict[str, tuple[Any, Path]] = {}
    for dataset, path in slices:
        other, first = found.setdefault(str(dataset.SOPInstanceUID), (dataset, path))
        if other.PixelData != dataset.PixelData or other.ImagePositionPatient != dataset.ImagePositionPatient:
            raise UserError(f"{path}: has the SOPInstanceUID of {first} but another content; take one of them out")
    return list(found.values())


def _check_forms_volume(folder: Path, slices: list[tuple[Any, Path]]) -> None:
    """UserError if sorted slices differ in shape, orientation or pixel format, or are not evenly spaced."""
    for name in _SAME:
        values = np.array([dataset[name].value for dataset, _ in slices], float)
        usual = np.median(values, axis=0)
        unlike = [path for value, (_, path) in zip(values, slices, strict=True) if not np.allclose(value, usual, atol=1e-4)]
        if unlike:
            some = f"{unlike[0].name} and {len(unlike) - 1} more" if len(unlike) > 1 else unlike[0].name
            raise UserError(f"{folder}: its slices differ in {name} ({some}): not one volume; take out slices of a scout")
    positions = np.stack([position(dataset) for dataset, _ in slices])
    distances = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    if not len(distances):
        return
    if distances.min() <= min(_ROUNDING_MM, _LARGEST_SHARE * distances.max()):
        repeated = slices[int(distances.argmin()) + 1][1].name
        raise UserError(f"{folder}: some slices share one position (see {repeated}): several volumes in one series?")
    even = np.linspace(positions[0], positions[-1], len(positions))
    spacing = np.linalg.norm(positions[-1] - positions[0]) / len(distances)
    if np.linalg.norm(positions - even, axis=1).max() > min(_ROUNDING_MM + 1e-6, _LARGEST_SHARE * spacing):
        raise UserError(
            f"{folder}: its slices are {distances.min():.2f} to {distances.max():.2f} mm apart: some are missing, "
            "or they are unevenly spaced"
        )
