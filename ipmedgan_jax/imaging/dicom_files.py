"""The DICOM files of a folder and the series they form. Listing series needs the extra `dicom` (pydicom).

Export tools leave other files among the slices: licences, viewers, hidden companions, reports, segmentations. These are
passed over. A file that may be a damaged slice is an error, because a series without it would still look complete.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.regular_files import open_file
from ipmedgan_jax.imaging import nifti
from ipmedgan_jax.imaging.dicom_parsing import Values, read_header

MANUFACTURER = "ipmedgan_jax"
"""The manufacturer that our outputs name as contributing equipment."""

SUFFIX = ".dcm"
"""The usual suffix of DICOM files."""

ALL = "all"
"""The choice of every series."""

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
MASKS = frozenset({SEGMENTATION, LABEL_MAP, STRUCTURE_SET})
"""SOP classes that hold masks of other series."""

_WITHOUT_SLICES = MASKS | {
    "1.2.840.10008.1.3.10",  # media storage directory (DICOMDIR)
    "1.2.840.10008.5.1.4.1.1.30",  # parametric map
    "1.2.840.10008.5.1.4.1.1.66.5",  # surface segmentation
    "1.2.840.10008.5.1.4.1.1.481.2",  # RT dose
}
"""SOP classes whose files lie among slices and are none, although some have pixels."""

_SLICE_SUFFIXES = frozenset({"", SUFFIX, ".ima", ".dicom", ".dic", ".img"})
_MOST_FILES = 20_000
_MOST_LISTED = 8

_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality", "Rows"),
    *("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "ContributingEquipmentSequence"),
)
_VR_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True)
class SeriesFiles:
    """The files of one series of images.

    Attributes:
      uid: its SeriesInstanceUID.
      series_number: its SeriesNumber; empty if it has none.
      description: its SeriesDescription.
      modality: its Modality, for example MR.
      frame_of_reference: its FrameOfReferenceUID; empty if it has none.
      files: its files, sorted.
      is_volume: whether its slices have a position and an orientation; secondary captures have not.
      is_output: whether `inpaint` wrote it.
    """

    uid: str
    series_number: str
    description: str
    modality: str
    frame_of_reference: str
    files: tuple[Path, ...]
    is_volume: bool
    is_output: bool

    @property
    def folder(self) -> Path:
        """The deepest folder that holds all files."""
        return Path(os.path.commonpath([path.parent for path in self.files]))

    def __str__(self) -> str:
        return f'{self.series_number or self.uid} "{self.description}" ({self.modality}, {len(self.files)} images)'

    def is_named(self, name: str) -> bool:
        """Whether a name is the series' number, its UID, or its description, where * and ? match any characters."""
        return name in (self.series_number, self.uid) or fnmatchcase(self.description.lower(), name.lower())


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do, with or without the 128 bytes of preamble."""
    if path.name.endswith(nifti.SUFFIXES) or not path.is_file():
        return False
    with open_file(path) as stream:
        start = stream.read(132)
    return start[128:] == b"DICM" or _begins_with_element(start)


def refuse_file(path: Path) -> None:
    """UserError if a path is a DICOM file where a series is expected."""
    if is_dicom(path):
        raise UserError(f"{path}: is one DICOM file; give the folder that holds its series")


def holds_dicom(folder: Path) -> bool:
    """Whether a folder itself, not its subfolders, holds DICOM files."""
    return folder.is_dir() and any(is_dicom(path) for path in sorted(folder.iterdir()) if not _is_hidden(path))


def holds_dicom_anywhere(folder: Path) -> bool:
    """Whether a folder or its subfolders hold DICOM files."""
    return folder.is_dir() and any(is_dicom(path) for path in visible_files(folder))


def holds_named_slices(folder: Path) -> bool:
    """Whether a folder or its subfolders hold DICOM files that are named as slices; files with other names are not read."""
    return any(_has_name_of_slice(path) and is_dicom(path) for path in visible_files(folder))


def dicom_files(folder: Path) -> Iterator[Path]:
    """Yields the DICOM files of a folder and its subfolders.

    UserError for a dangling link, and for a file that may be a damaged slice: it has the name of one, is not DICOM and is
    not a text.
    """
    paths = list(visible_files(folder))
    if len(paths) > _MOST_FILES:
        raise UserError(f"{folder}: holds {len(paths)} files; give the folder of one study or series")
    for path in paths:
        if path.is_symlink() and not path.exists():
            raise UserError(f"{path}: a link to a file that does not exist; fetch the file, or take the link out")
        if is_dicom(path):
            yield path
        elif _has_name_of_slice(path) and not _is_text(path):
            raise UserError(f"{path}: not a readable DICOM file; copy the series again, or take the file out")


def list_series(folder: Path) -> list[SeriesFiles]:
    """Returns the series of images in a folder and its subfolders, by number.

    UserError if a file cannot be read, or is an image that ends before its pixels.
    """
    found: dict[str, list[Values]] = {}
    for path in dicom_files(folder):
        header = Values(path, read_header(path, _TAGS))
        kind = header.text("SOPClassUID") or Values(path, header.dataset.file_meta).text("MediaStorageSOPClassUID")
        if kind in _WITHOUT_SLICES or (kind and "Image Storage" not in _class_name(kind) and "Rows" not in header.dataset):
            continue
        if "Rows" not in header.dataset or not header.text("SeriesInstanceUID"):
            raise UserError(f"{path}: ends before its pixels; copy the series again")
        found.setdefault(header.text("SeriesInstanceUID"), []).append(header)
    listed = [_describe(uid, images) for uid, images in found.items()]
    return sorted(listed, key=lambda series: (len(series.series_number), series.series_number, series.uid))


def choose_series(folder: Path, listed: Sequence[SeriesFiles], names: Sequence[str] = ()) -> list[SeriesFiles]:
    """Returns the series that some names choose.

    UserError if a name fits no series, or if there are no names and not exactly one series that can be a scan: one with
    positions that `inpaint` did not write.

    Args:
      folder: the folder of the series, for messages.
      listed: the series to choose from.
      names: numbers, UIDs, descriptions, or `ALL`.
    """
    if not listed:
        raise UserError(f"{folder}: holds no DICOM series with images")
    scans = [series for series in listed if series.is_volume] or list(listed)
    scans = [series for series in scans if not series.is_output] or scans
    if ALL in names or (not names and len(scans) == 1):
        return scans
    options = ", ".join(map(str, listed[:_MOST_LISTED])) + (", ..." if len(listed) > _MOST_LISTED else "")
    if not names:
        raise UserError(
            f"{folder}: holds {len(scans)} DICOM series: {options}; choose by --series=NUMBER, or take all by --series={ALL}"
        )
    for name in names:
        if not any(series.is_named(name) for series in listed):
            raise UserError(f"--series={name}: {folder} has no such series; it holds {options}")
    return [series for series in listed if any(series.is_named(name) for name in names)]


def choose_one(folder: Path, listed: Sequence[SeriesFiles], name: str = "") -> SeriesFiles:
    """Returns the one series that a name fits, or the only one; UserError as in `choose_series`, or if it fits more."""
    chosen = choose_series(folder, listed, [name] if name else [])
    if len(chosen) > 1:
        raise UserError(f"--series={name}: {folder} has several such series: {', '.join(series.uid for series in chosen)}")
    return chosen[0]


def _class_name(uid: str) -> str:
    """Returns the name of a SOP class; of an unknown one, its UID."""
    from pydicom.uid import UID_dictionary

    return UID_dictionary[uid][0] if uid in UID_dictionary else uid


def _describe(uid: str, images: list[Values]) -> SeriesFiles:
    first = images[0]
    equipment = first.items("ContributingEquipmentSequence")
    return SeriesFiles(
        uid=uid,
        series_number=first.text("SeriesNumber"),
        description=first.text("SeriesDescription"),
        modality=first.text("Modality") or "unknown modality",
        frame_of_reference=first.text("FrameOfReferenceUID"),
        files=tuple(image.path for image in images),
        is_volume=any(image.text("ImagePositionPatient") and image.text("ImageOrientationPatient") for image in images),
        is_output=any(item.text("Manufacturer") == MANUFACTURER for item in equipment),
    )


def visible_files(folder: Path) -> Iterator[Path]:
    """Yields the files and dangling links of a folder and its subfolders, sorted, without hidden ones."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (path for path in sorted(Path(root, name) for name in names) if not _is_hidden(path))


def _is_hidden(path: Path) -> bool:
    """Whether a name begins with a dot, as the companions that macOS writes (`._IM1`) do."""
    return path.name.startswith(".")


def _has_name_of_slice(path: Path) -> bool:
    suffix = path.suffix.lower()  # IM.0001, and UIDs, end in a number
    return suffix in _SLICE_SUFFIXES or suffix[1:].isdecimal()


def _is_text(path: Path) -> bool:
    with open_file(path) as stream:
        start = stream.read(4096)
    return bool(start) and not any(byte < 32 and byte not in b"\t\n\r\f" for byte in start)


def _begins_with_element(start: bytes) -> bool:
    """Whether bytes begin with a data element of group 0002 or 0008, as files without preamble do (DICOM PS3.5, 7.1)."""
    if len(start) < 8:
        return False
    explicit = start[4] in _VR_LETTERS and start[5] in _VR_LETTERS
    if start[:2] in (b"\x02\x00", b"\x00\x08"):  # the meta header, and big endian, have value representations
        return explicit
    length = int.from_bytes(start[4:8], "little")
    return start[:2] == b"\x08\x00" and start[3] == 0 and (explicit or (length < 1024 and length % 2 == 0))
