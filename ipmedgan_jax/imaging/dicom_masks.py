"""Masks in DICOM: a segmentation (SEG) or a structure set (RTSTRUCT), found in a folder and fitted to a scan.

The segments of the one and the regions of the other are chosen by their numbers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import dicom, dicom_files
from ipmedgan_jax.imaging.dicom_files import MASKS, STRUCTURE_SET
from ipmedgan_jax.imaging.dicom_parsing import Values, read_dataset, read_header
from ipmedgan_jax.imaging.dicom_rtstruct import StructureSet
from ipmedgan_jax.imaging.dicom_seg import Segmentation
from ipmedgan_jax.imaging.labels import SeveralLabelsError

_MOST_NAMED = 10


@dataclass(frozen=True)
class MaskReference:
    """Which images a segmentation or a structure set is of: their series and their frames of reference, as UIDs."""

    path: Path
    series: frozenset[str]
    frames_of_reference: frozenset[str]


@dataclass(frozen=True, eq=False)
class DicomMask:
    """The chosen voxels of a mask, bool `[i, j, k]`, and where they lie.

    Attributes:
      path: the file.
      selected: the voxels.
      affine: maps their indices to millimetres; right, anterior and superior are positive, as in NIfTI.
      warnings: notes for the user.
    """

    path: Path
    selected: np.ndarray
    affine: np.ndarray
    warnings: tuple[str, ...]

    @property
    def placed(self) -> bool:
        return True


def is_mask(path: Path) -> bool:
    """Whether a path is a DICOM segmentation or structure set, or a folder that holds one."""
    if path.is_dir():
        return dicom_files.holds_dicom_anywhere(path) and bool(list_masks(path))
    return dicom_files.is_dicom(path) and _is_mask_file(path)


def list_masks(path: Path) -> list[MaskReference]:
    """Returns the segmentations and structure sets in a folder and its subfolders, or the given one."""
    paths = dicom_files.dicom_files(path) if path.is_dir() else [path]
    return [_reference(Values(path, read_header(path))) for path in paths if _is_mask_file(path)]


def choose_mask(masks: Sequence[MaskReference], series: str, frame_of_reference: str) -> Path:
    """Returns the one mask that refers to a series or, if none does, to its frame of reference; UserError if not one does.

    Args:
      masks: the masks to choose from.
      series: the SeriesInstanceUID.
      frame_of_reference: the FrameOfReferenceUID; may be empty.
    """
    fitting = [mask.path for mask in masks if series in mask.series]
    if not fitting and frame_of_reference:
        fitting = [mask.path for mask in masks if frame_of_reference in mask.frames_of_reference]
    if len(fitting) != 1:
        names = ", ".join(str(path) for path in (fitting or [mask.path for mask in masks])[:3])
        problem = f"several masks refer to it ({names})" if fitting else f"none of the masks refers to it ({names})"
        raise UserError(f"series {series}: {problem}; name one file by --mask")
    return fitting[0]


def find_mask(folder: Path, series: str, frame_of_reference: str) -> Path:
    """Returns the only mask in a folder that holds masks, or the one of a series; UserError as in `choose_mask`."""
    masks = list_masks(folder)
    return masks[0].path if len(masks) == 1 else choose_mask(masks, series, frame_of_reference)


def read(path: Path, scan: Any, labels: Sequence[int] = ()) -> DicomMask:
    """Reads the mask of a scan.

    Labels that the mask does not have are noted. If none is left, no voxel is selected, and the last note says why.

    SeveralLabelsError if the mask has several segments or regions and no `labels` are given; UserError if it lies outside
    the scan.

    Args:
      path: the file, or a folder that holds one mask of the scan.
      scan: the scan's file: `dicom.DicomSeries` or `nifti.NiftiFile`.
      labels: numbers of segments or regions.
    """
    first = scan.datasets[0] if isinstance(scan, dicom.DicomSeries) else None
    if path.is_dir():
        uids = (str(first.SeriesInstanceUID), str(first.get("FrameOfReferenceUID") or "")) if first is not None else ("", "")
        path = find_mask(path, *uids)
    values = Values(path, read_dataset(path))
    notes = _mismatches(values, Values(scan.path, first)) if first is not None else []
    place = (values, scan.affine, scan.stored.shape[:3])
    mask: Segmentation | StructureSet
    if values.text("SOPClassUID") == STRUCTURE_SET:
        images = frozenset(str(one.SOPInstanceUID) for one in scan.datasets) if first is not None else frozenset()
        mask = StructureSet(*place, images)
    else:
        mask = Segmentation(*place)
    numbers, missing = _choose(path, mask.names, labels)
    selected, affine, more = mask.select(numbers)
    if numbers and not selected.any():
        raise UserError(f"{path}: lies outside {scan.path.name}; give the mask of this scan")
    return DicomMask(path, selected, affine, tuple(notes + missing + more))


def _choose(path: Path, names: dict[int, str], labels: Sequence[int]) -> tuple[list[int], list[str]]:
    """Returns the numbers to select, and a note about labels that the mask does not have."""
    if not names:
        return [], [f"{path}: none of its segments or regions has a voxel"]
    listed = ", ".join(f"{number} ({name})" for number, name in list(names.items())[:_MOST_NAMED])
    listed += ", ..." if len(names) > _MOST_NAMED else ""
    if not labels and len(names) > 1:
        raise SeveralLabelsError(f"{path}: holds {listed}: name those to be filled with --mask_labels", names)
    missing = ", ".join(str(label) for label in labels if label not in names)
    numbers = [label for label in labels if label in names] if labels else list(names)
    return numbers, [f"{path}: has no label {missing}; it holds {listed}"] if missing else []


def _mismatches(mask: Values, scan: Values) -> list[str]:
    """Returns notes if a mask is of another patient, or in another frame of reference, than a slice of the scan."""
    notes = []
    patients = [one.text("PatientID") for one in (mask, scan)]
    if all(patients) and patients[0] != patients[1]:
        notes.append(f"{mask.path}: is of the patient {patients[0]}, the series of {patients[1]}")
    reference, frame = _reference(mask), scan.text("FrameOfReferenceUID")
    if frame and reference.frames_of_reference and frame not in reference.frames_of_reference:
        notes.append(f"{mask.path}: has another frame of reference than the series; it may lie elsewhere")
    return notes


def _is_mask_file(path: Path) -> bool:
    return Values(path, read_header(path, ["SOPClassUID"])).text("SOPClassUID") in MASKS


def _reference(header: Values) -> MaskReference:
    """Returns what a segmentation (Common Instance Reference) or a structure set (Structure Set module) refers to."""
    frames = header.items("ReferencedFrameOfReferenceSequence")
    studies = [study for frame in frames for study in frame.items("RTReferencedStudySequence")]
    series = [one for study in studies for one in study.items("RTReferencedSeriesSequence")]
    series += header.items("ReferencedSeriesSequence")
    places = [header.text("FrameOfReferenceUID"), *(frame.text("FrameOfReferenceUID") for frame in frames)]
    places += [region.text("ReferencedFrameOfReferenceUID") for region in header.items("StructureSetROISequence")]
    return MaskReference(header.path, _uids(one.text("SeriesInstanceUID") for one in series), _uids(places))


def _uids(values: Iterable[str]) -> frozenset[str]:
    return frozenset(filter(None, values))
