"""Where a slice of the report lies, as other viewers tell it: in millimetres, and by the file's own voxel indices."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ipmedgan_jax.imaging import nifti
from ipmedgan_jax.imaging.scans import Scan

_SIDES = ("RL", "AP", "SI")
"""Letters of positive and of negative millimetres along each axis of the scanner."""


def with_place(plane: Mapping[str, Any], scan: Scan) -> dict[str, Any]:
    """Returns a plane of `fill_pictures` with words instead of its canonical voxel.

    `mm` gives the voxel's millimetres by letters, because DICOM and NIfTI count them with opposite signs; it is empty if the
    header does not place the scan. `voxel` has the file's own indices, from 0; it is empty for DICOM, which has none.
    """
    at = np.asarray(plane["at"])
    mm = (scan.affine @ [*at, 1])[:3] if scan.file.placed else []
    words = [f"{sides[int(value < 0)]} {abs(value):.1f}" for sides, value in zip(_SIDES, np.round(mm, 1), strict=False)]
    voxel = _in_file(at, scan) if isinstance(scan.file, nifti.NiftiFile) else []
    return {name: value for name, value in plane.items() if name != "at"} | {"mm": words, "voxel": voxel}


def _in_file(at: np.ndarray, scan: Scan) -> list[int]:
    """Returns the indices of a canonical voxel in the file's own order of axes."""
    axes, turned = scan.axes[:, 0].astype(int), scan.axes[:, 1] < 0
    shape = np.array(scan.volume.array.shape)
    return [int(shape[axis] - 1 - at[axis] if turn else at[axis]) for axis, turn in zip(axes, turned, strict=True)]
