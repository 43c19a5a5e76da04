"""Where NIfTI files say that their voxels lie: distances between grids, and between the two forms of one header."""

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError

from ipmedgan_jax.imaging import nifti

_SAME_PLACE = 1e-2
"""Largest distance, in voxels, between the corners of two grids that count as the same grid."""

_ROUNDING_MM, _ROUNDING = 0.1001, 0.25
"""Largest distance, in millimetres and in voxels, by which rounded positions in DICOM move a grid."""

_SAME_FORM = 0.1
"""Largest distance between a header's two forms without a warning, as a share of the shortest voxel edge."""

_SAME_SPACING = 0.2
"""Largest difference, as a share, between sform and pixdim without a warning; a gantry tilt of 30 degrees makes it 0.15."""


def same_place(affine: np.ndarray, other: np.ndarray, shape: tuple[int, ...], *, rounded: bool = False) -> bool:
    """Whether two grids of one shape have their corner voxels at the same positions, to a hundredth of a voxel.

    `rounded` allows for positions that were rounded to 0.1 mm, as in DICOM, but for less than a quarter of a voxel.
    """
    moved = float(np.abs(_corners(shape) @ (np.linalg.solve(affine, other) - np.eye(4)).T).max())
    return moved < _SAME_PLACE or (rounded and moved < _ROUNDING and distance_mm(affine, other, shape) < _ROUNDING_MM)


def distance_mm(affine: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> float:
    """Returns the largest distance between corner voxels of the same index in two grids of one shape, in millimetres."""
    return float(np.linalg.norm((_corners(shape) @ (affine - other).T)[:, :3], axis=1).max())


def other_axes(affine: np.ndarray, other: np.ndarray) -> str:
    """Returns the directions of the axes of two grids, `LAS and RAS`, if they differ; empty for equal or unusable ones."""
    with np.errstate(all="ignore"):
        if not (np.isfinite(affine).all() and np.isfinite(other).all()):
            return ""
        codes = ["".join(code or "?" for code in nibabel.aff2axcodes(one)) for one in (affine, other)]
    return "" if codes[0] == codes[1] or "?" in "".join(codes) else " and ".join(codes)


def forms_warning(file: nifti.NiftiFile) -> str:
    """Returns a warning, without the file's name, if a header contradicts itself on where its voxels lie, else nothing.

    Its sform is compared with its qform or, if that is not coded, with its pixdim.
    """
    if not file.header["sform_code"] > 0:
        return ""
    if not file.header["qform_code"] > 0:
        return _spacing_warning(file)
    try:
        with np.errstate(all="ignore"):
            qform = file.header.get_qform()
    except (ValueError, HeaderDataError) as error:
        return f"its qform is no rotation ({error}); its sform is used"
    if not np.isfinite(qform).all():
        return "its qform is no rotation (it has numbers that are not finite); its sform is used"
    distance = distance_mm(qform, file.affine, file.stored.shape[:3])
    if distance <= _SAME_FORM * min(np.linalg.norm(file.affine[:3, :3], axis=0)):
        return ""
    return f"its qform and its sform lie up to {distance:.1f} mm apart; the sform is used"


def _spacing_warning(file: nifti.NiftiFile) -> str:
    pixdim, spacing = np.array(file.header.get_zooms()[:3]), np.linalg.norm(file.affine[:3, :3], axis=0)
    if np.allclose(spacing, pixdim, rtol=_SAME_SPACING):
        return ""
    by_sform, by_pixdim = (" x ".join(f"{value:.3g}" for value in values) for values in (spacing, pixdim))
    return f"its sform gives voxels of {by_sform} mm, its pixdim {by_pixdim} mm; the sform is used"


def _corners(shape: tuple[int, ...]) -> np.ndarray:
    """Returns the indices of a grid's corner voxels in homogeneous coordinates, `[8, 4]`."""
    return np.stack(np.meshgrid(*((0, length - 1) for length in shape), [1.0], indexing="ij"), -1).reshape(-1, 4)
