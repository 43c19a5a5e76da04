"""Reading a DICOM series as a volume, and writing it with filled pixels. Needs the extra `dicom` (pydicom).

A folder holds one series of single-frame images of one patient position. Reading stacks its slices along their normal.
Writing changes two things in each dataset: the filled pixels, and the attributes that identify it as part of a new, derived
series.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import UserError

_EVEN = 0.01
"""Largest variation of the slice spacing, as a share of its mean."""

_MOST_FILES = 5000

_NEEDED = {
    "SOPClassUID": 1,
    "SOPInstanceUID": 1,
    "ImageOrientationPatient": 6,
    "ImagePositionPatient": 3,
    "PixelSpacing": 2,
    "BitsAllocated": 1,
    "BitsStored": 1,
    "PixelRepresentation": 1,
}
"""Attributes that every slice must have, and the number of their values."""

_PIXEL_ATTRIBUTES = ("BitsAllocated", "BitsStored", "PixelRepresentation")


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
        along_columns, along_rows = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
        row_mm, column_mm = map(float, first.PixelSpacing)
        start = _position(first)
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = along_columns * column_mm, along_rows * row_mm
        affine[:3, 2] = (_position(last) - start) / max(1, len(self.datasets) - 1)
        if len(self.datasets) == 1:
            affine[:3, 2] = np.cross(along_columns, along_rows) * float(first.get("SliceThickness", 1.0) or 1.0)
        affine[:3, 3] = start
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # DICOM's left and posterior are positive

    def values(self) -> np.ndarray:
        """The pixels in the image's unit (HU for CT), float32."""
        slopes, intercepts = np.array(self._scalings, np.float32).T
        return self.stored * slopes + intercepts

    @property
    def _scalings(self) -> list[tuple[float, float]]:
        return [(float(d.get("RescaleSlope", 1) or 1), float(d.get("RescaleIntercept", 0) or 0)) for d in self.datasets]

    def write_filled(self, output: Path, where: np.ndarray, values: np.ndarray, description: str) -> None:
        """Writes the series, with new values at some voxels, to a folder that must not exist; the write is atomic.

        Args:
          where: the voxels that change, bool, of the stored shape.
          values: their new values `[where.sum()]` in the image's unit, in C order of `where`.
          description: text for the new series' derivation description.
        """
        filled = np.zeros(where.shape)
        filled[where] = values
        with files.atomic_folder(output) as unfinished:
            self._write_slices(unfinished, where, filled, description)

    def _write_slices(self, folder: Path, where: np.ndarray, filled: np.ndarray, description: str) -> None:
        from pydicom.uid import ExplicitVRLittleEndian, generate_uid

        series = generate_uid()
        for i, (dataset, file) in enumerate(zip(self.datasets, self.files, strict=True)):
            slope, intercept = self._scalings[i]
            selected, bits = where[..., i].T, int(dataset.BitsStored)
            low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dataset.PixelRepresentation else (0, 2**bits - 1)
            new = np.clip(np.rint((filled[..., i].T[selected] - intercept) / slope), low, high).astype(np.int64)
            words = _stored_words(dataset)
            pixel_bits = 2**bits - 1  # some series keep other data in the remaining bits
            words[selected] = (words[selected] & ~np.array(pixel_bits, words.dtype)) | (new & pixel_bits).astype(words.dtype)
            changed = copy.deepcopy(dataset)
            changed.PixelData = words.tobytes() + b"\0" * (words.nbytes % 2)
            changed["PixelData"].VR = "OW" if int(dataset.BitsAllocated) > 8 else "OB"
            changed.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            _mark_derived(changed, dataset, series, description)
            changed.save_as(folder / file.name, enforce_file_format=True, little_endian=True, implicit_vr=False)


def read(folder: Path) -> DicomSeries:
    """Reads the one series in a folder.

    UserError if pydicom is missing, if the folder holds no series or several, or if a file or the series cannot be used.
    """
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
    except ImportError as error:
        raise UserError(f"{folder}: reading DICOM needs pydicom: pip install 'ipmedgan-jax[dicom]'") from error
    found: dict[str, list[tuple[Any, Path]]] = {}
    paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if len(paths) > _MOST_FILES:
        raise UserError(f"{folder}: holds {len(paths)} files; give the folder of one series")
    for path in paths:
        try:
            dataset = pydicom.dcmread(path)
            is_image = "Rows" in dataset and "PixelData" in dataset
        except Exception as error:  # pydicom raises many kinds for a damaged file
            if isinstance(error, InvalidDicomError) and path.suffix.lower() not in ("", ".dcm", ".ima"):
                continue
            raise UserError(
                f"{path}: not a readable DICOM file ({error}); copy the series again, or take the file out"
            ) from error
        if is_image:
            found.setdefault(str(dataset.get("SeriesInstanceUID", "")), []).append((dataset, path))
        elif _should_be_image(dataset):
            raise UserError(f"{path}: ends before its pixels; copy the series again")
    if len(found) != 1:
        raise UserError(f"{folder}: holds {len(found)} DICOM series with images; give a folder that holds one")
    (slices,) = found.values()
    for dataset, path in slices:
        _check(dataset, path)
    normal = np.cross(*np.array(slices[0][0].ImageOrientationPatient, float).reshape(2, 3))
    slices.sort(key=lambda item: float(_position(item[0]) @ normal))
    _check_forms_volume(folder, [dataset for dataset, _ in slices])
    series = DicomSeries(folder, tuple(dataset for dataset, _ in slices), tuple(path for _, path in slices))
    try:
        _ = series.stored
    except Exception as error:  # pydicom's decoders raise many kinds
        raise UserError(f"{folder}: its pixels cannot be read ({error}); decompress the series first") from error
    return series


def _should_be_image(dataset: Any) -> bool:
    """Whether a dataset without pixels is a truncated image; reports and directories never have pixels."""
    kind = dataset.file_meta.get("MediaStorageSOPClassUID")
    return kind is None or "Image Storage" in kind.name


def _stored_words(dataset: Any) -> np.ndarray:
    """Returns a copy of the pixels `[rows, columns]` as unsigned little-endian words, unused bits included."""
    kind = np.dtype(f"<u{int(dataset.BitsAllocated) // 8}")
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_compressed or not syntax.is_little_endian:
        return np.ascontiguousarray(dataset.pixel_array).astype(kind.newbyteorder("<")).view(kind)
    count = int(dataset.Rows) * int(dataset.Columns)
    return np.frombuffer(dataset.PixelData, kind, count).reshape(dataset.Rows, dataset.Columns).copy()


def _check(dataset: Any, path: Path) -> None:
    for name, count in _NEEDED.items():
        value = dataset.get(name)
        if value is None or value == "" or (count > 1 and len(value) != count):
            raise UserError(f"{path}: has no usable {name}: not a slice of a volume")
    if int(dataset.get("NumberOfFrames") or 1) > 1 or int(dataset.get("SamplesPerPixel") or 1) > 1:
        raise UserError(f"{path}: has several frames or colours; expected one grey-level frame per file")
    if not all(float(value) > 0 for value in dataset.PixelSpacing):
        raise UserError(f"{path}: its PixelSpacing is {list(dataset.PixelSpacing)} mm; not a slice of a volume")


def _check_forms_volume(folder: Path, datasets: list[Any]) -> None:
    """UserError if the slices differ in shape, orientation or pixel format, or are not evenly spaced."""
    first = datasets[0]
    for name in ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", *_PIXEL_ATTRIBUTES):
        if any(not np.allclose(dataset[name].value, first[name].value, atol=1e-4) for dataset in datasets):
            raise UserError(f"{folder}: its slices differ in {name}: not one volume")
    positions = np.stack([_position(dataset) for dataset in datasets])
    distances = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    if len(distances) and (distances.min() <= 0 or np.ptp(distances) > max(_EVEN * distances.mean(), 0.02)):
        raise UserError(
            f"{folder}: its slices are {distances.min():.2f} to {distances.max():.2f} mm apart: some are missing, share one "
            "position, or are unevenly spaced"
        )


def _position(dataset: Any) -> np.ndarray:
    return np.array(dataset.ImagePositionPatient, float)


def _mark_derived(changed: Any, source: Any, series: str, description: str) -> None:
    """Gives a dataset new UIDs and a reference to its source (DICOM PS3.3 C.7.6.1, derived images)."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence
    from pydicom.uid import generate_uid

    changed.SOPInstanceUID = changed.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    changed.SeriesInstanceUID = series
    changed.SeriesDescription = f"{source.get('SeriesDescription', '')} inpainted".strip()[:64]
    changed.DerivationDescription = description[:1024]
    kind = list(source.get("ImageType", ["ORIGINAL", "PRIMARY"]))
    changed.ImageType = ["DERIVED", "SECONDARY", *kind[2:]]
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    changed.SourceImageSequence = Sequence([reference])


def is_series(path: Path) -> bool:
    """Whether a path is a folder that holds DICOM files; looks at its first 20 entries."""
    return path.is_dir() and any(_has_preamble(file) for file in _first_files(path))


def _first_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir())[:20] if path.is_file())


def _has_preamble(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"
