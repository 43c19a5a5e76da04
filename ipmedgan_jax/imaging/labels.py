"""Label maps: masks of whole numbers, 0 where nothing is marked, as NIfTI files or DICOM series."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import dicom_files, geometry, scans

_ROUNDING = 1e-2
"""Largest distance of a stored value from its label. Floats that are saved as scaled integers come back as 1.0000153."""

_LARGEST = 2**31
"""Largest label, whatever its sign."""

_LISTED = 10
"""Largest number of labels that a message lists."""


class SeveralLabelsError(UserError):
    """A mask has several labels, and none was chosen. `names` are the names of the labels; empty where they have none."""

    def __init__(self, message: str, names: dict[int, str]):
        super().__init__(message)
        self.names = names


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A mask file and its labels: whole numbers `[i, j, k]`, as floats, in the file's axis order."""

    file: scans.ScanFile
    labels: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """The labels in the map, sorted, without 0."""
        return np.unique(self.labels[self.labels != 0])

    def nonzero(self, advice: str) -> np.ndarray:
        """Returns the voxels that are not 0, bool; SeveralLabelsError, with advice, if there are several labels."""
        present = self.present
        if len(present) > 1:
            message = f"{self.file.path}: holds the values {listed(present)}: {advice}"
            raise SeveralLabelsError(message, {int(label): "" for label in present})
        return self.labels != 0

    def select(self, labels: Sequence[int]) -> tuple[np.ndarray, str]:
        """Returns the voxels with one of the labels, bool, and a warning that names absent labels, or an empty string."""
        present = self.present
        absent = [label for label in labels if label not in present]
        warning = ""
        if absent:
            has = f"its labels are {listed(present)}" if len(present) else "every voxel is 0"
            warning = f"{self.file.path}: has no label {listed(absent)}; {has}"
        return np.isin(self.labels, labels), warning


def read_labels(path: Path | str) -> LabelMap:
    """Reads a label map; every value is rounded to the nearest whole number.

    UserError if it is not 3-D, or if a value is not finite or farther than 0.01 from a whole number.
    """
    if Path(path).is_dir() and not dicom_files.holds_dicom_anywhere(Path(path)):
        raise UserError(f"{path}: is a folder; expected one mask: a NIfTI file (.nii or .nii.gz), or DICOM")
    return labels_of(scans.read_file(Path(path)))


def labels_of(file: scans.ScanFile) -> LabelMap:
    """Returns the labels that a file holds, which may have been made in memory; see `read_labels`."""
    path = file.path
    values = geometry.without_trailing_axes(file.values())
    if values.ndim != 3:
        raise UserError(f"{path}: has shape {values.shape}; a mask is 3-D, as its volume")
    if not np.isfinite(values).all():
        raise UserError(f"{path}: has voxels that are NaN or infinite; a mask has whole numbers, 0 where nothing is filled")
    if np.abs(values).max(initial=0) > _LARGEST:
        raise UserError(f"{path}: has the value {values.flat[np.abs(values).argmax()]:g}; labels are at most {_LARGEST:,}")
    labels = np.rint(values)
    between = np.abs(values - labels) > _ROUNDING
    if between.any():
        raise UserError(
            f"{path}: {np.count_nonzero(between):,} voxels hold values such as {values[between][0]:g}; a mask has whole "
            "numbers: save labels with an integer type, or set a threshold on a probability map"
        )
    return LabelMap(file, labels)


def listed(labels: Sequence[float] | np.ndarray) -> str:
    """Returns `1, 2, 4`, shortened if there are many."""
    return ", ".join(f"{label:g}" for label in labels[:_LISTED]) + (", ..." if len(labels) > _LISTED else "")
