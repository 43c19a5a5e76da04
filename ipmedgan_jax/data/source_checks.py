"""Checks of the scans that are prepared, and digests that find the same scan again."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from absl import logging

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data.dataset_file import PreparedVolume
from ipmedgan_jax.imaging import nifti, placement, scans
from ipmedgan_jax.imaging.settings import PreparationSettings

_FEW_VALUES = 16
"""Largest number of different intensities of a volume that is taken for a mask or label map whatever else it holds."""

_MANY_LABELS, _SAMPLE = 2048, 100_000
"""Largest number of labels of a label map, and the number of voxels that are looked at first."""

_EQUAL_NEIGHBOURS = 0.6
"""Share of bright neighbouring voxels with equal values beyond which whole numbers are labels; scans have 0.2 at most."""


def check_scan(settings: PreparationSettings, scan: scans.Scan) -> None:
    """Warns of a scan whose header or intensities are doubtful.

    UserError if the header does not say how the voxels lie, unless `data.assume_axial` is set, or if the volume is a mask or
    label map.
    """
    path, volume = scan.file.path, scan.volume
    if not scan.file.placed and not settings.assume_axial:
        raise UserError(
            f"{path}: has no sform or qform, which say how its voxels lie; set one, or --config.data.assume_axial=True if "
            "the first axis of all such files runs to the left, the second to the front and the third to the head"
        )
    check_intensities(path, volume.array, integer=volume.integer)
    if not scan.file.placed:
        logging.warning("%s: %s", path, scans.UNPLACED)
    if isinstance(scan.file, nifti.NiftiFile) and (warning := placement.forms_warning(scan.file)):
        logging.warning("%s: %s", path, warning)
    if warning := scans.modality_warning(volume, settings.modality):
        logging.warning("%s: %s", path, warning)


def check_intensities(path: Path, array: np.ndarray, *, integer: bool) -> None:
    """UserError if a volume `[X, Y, Z]` is a mask or a label map: of few values, or of whole numbers in flat regions."""
    flat = array.reshape(-1)
    limit = _MANY_LABELS if integer else _FEW_VALUES
    if len(np.unique(flat[:: max(1, flat.size // _SAMPLE)])) > limit:
        return
    values = np.unique(flat)
    if len(values) > limit or (len(values) > _FEW_VALUES and _flatness(array) < _EQUAL_NEIGHBOURS):
        return
    some = ", ".join(f"{value:g}" for value in values[:4]) + (", ..." if len(values) > 4 else "")
    kind = "mask" if len(values) == 2 else "label map"
    raise UserError(f"{path}: holds only the values {some}: a {kind}, not a scan; leave it out of --input")


def _flatness(array: np.ndarray) -> float:
    """Returns the share of neighbours along the first axis that are equal, among those brighter than the mean."""
    before, after = array[:-1], array[1:]
    bright = before + after > 2 * array.mean()
    return float((before == after)[bright].mean()) if bright.any() else 0.0


def digest_of_voxels(array: np.ndarray) -> str:
    """Returns a SHA-256 of a volume's shape and intensities, the order of axes and voxels left out.

    It is the same for a scan under another name, compressed or not, in another type, byte order or orientation.
    """
    values = np.sort(array.astype(np.float32), axis=None) + np.float32(0)  # which makes -0 to 0
    return hashlib.sha256(repr(sorted(array.shape)).encode() + values.astype("<f4").tobytes()).hexdigest()


def warn_of_copies(volumes: Iterable[PreparedVolume]) -> None:
    """Warns of one scan under two subjects, because one could be trained on and the other tested on."""
    same: dict[str, list[PreparedVolume]] = {}
    for volume in volumes:
        same.setdefault(volume.voxels_sha256 or volume.sha256, []).append(volume)
    for copies in same.values():
        one, by_subject = copies[0], {volume.subject: volume for volume in copies}
        for other in [volume for subject, volume in by_subject.items() if subject != one.subject]:
            logging.warning(
                "%s and %s hold the same voxels, of two subjects: %s (%s) and %s (%s); leave one out, or give both one name",
                *(one.source, other.source, one.subject, one.split, other.subject, other.split),
            )
