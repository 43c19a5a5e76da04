"""A scan and a mask as a caller in Python gives them, an image, a path or an array, and results of the same kind."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.filebasedimages import FileBasedImage
from nibabel.spatialimages import SpatialImage
from numpy.typing import ArrayLike

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.imaging import dicom_files, geometry, mask_files, nifti, nifti_image
from ipmedgan_jax.imaging.labels import labels_of
from ipmedgan_jax.imaging.nifti import NiftiFile
from ipmedgan_jax.imaging.scans import Scan
from ipmedgan_jax.inpainting import input_digests, sidecar


@dataclass(frozen=True, eq=False)
class GivenScan:
    """A scan as it was given.

    Attributes:
      file: the scan as a file.
      path: the file that it was read from; None if it is in memory.
      given: the array or image whose kind the result has; None if the result is the image of the file's content.
    """

    file: NiftiFile
    path: Path | None
    given: Any

    def filled(self, where: np.ndarray, values: np.ndarray) -> Any:
        """Returns the scan with new values at some voxels; both in the order of the file."""
        content = self.file.filled_content(where, values)
        if self.given is None:
            return nifti_image.exact_image(content)
        new = nifti.parse(self.file.path, bytes(content)).stored
        if isinstance(self.given, SpatialImage):
            return nifti_image.with_voxels(self.given, new.copy())
        filled = self.given.copy()
        filled[where] = new[where].astype(filled.dtype)
        return filled

    def beside(self, array: np.ndarray) -> Any:
        """Returns an array on the scan's grid as the kind of the scan."""
        if isinstance(self.given, np.ndarray):
            return array
        made = array.astype(np.uint8) if array.dtype == bool else array
        return nifti_image.exact_image(nifti.content_of_array(made, self.file.affine))


def given_scan(image: Any, affine: ArrayLike | None) -> GivenScan:
    """Returns the scan as a file; UserError for anything but an image, a path or an array with an affine."""
    _check_volume(image, nifti_image.IMAGE)
    if isinstance(image, SpatialImage | str | os.PathLike):
        if affine is not None:
            raise UserError("affine: only for an array; an image and a file have their own")
        if isinstance(image, SpatialImage):
            file, exact = nifti_image.file_of_image(image, nifti_image.IMAGE)
            return GivenScan(file, nifti_image.path_of(image), None if exact else image)
        path = user_path(os.fspath(image))
        if path.is_dir():
            raise UserError(f"{path}: is a folder; for a DICOM series call ipmedgan_jax.fill_file, which writes a series")
        dicom_files.refuse_file(path)
        return GivenScan(nifti.read(path), path, None)
    if image is None or (affine is None and not isinstance(image, np.ndarray)):
        raise UserError(f"image: is {_kind(image)}; expected {_KINDS}, or an array with its affine")
    if affine is None:
        raise UserError("affine: needed for an array: 4 x 4, from voxel indices to millimetres, as nibabel's image.affine")
    array, matrix = _array("image", image), _matrix(affine)
    if array.dtype == bool:
        raise UserError("image: its voxels are true or false; expected a scan's intensities")
    return GivenScan(nifti_image.file_of_array(array, matrix, nifti_image.IMAGE), None, array)


def given_mask(mask: Any, scan: Scan, labels: Sequence[int], match: str | None) -> tuple[np.ndarray, Path | None, list[str]]:
    """Returns the masked voxels, canonical `[X, Y, Z]`, the mask's file if it has one, and warnings. See `read_mask`."""
    path: Path | None = None
    _check_volume(mask, nifti_image.MASK)
    if isinstance(mask, str | os.PathLike):
        path = user_path(os.fspath(mask))
        voxels, lines = mask_files.read_mask(path, scan, labels, match)
    else:
        if isinstance(mask, SpatialImage):
            file, _ = nifti_image.file_of_image(mask, nifti_image.MASK)
            path = nifti_image.path_of(mask)
        else:
            if match is not None:
                raise UserError(f"match_mask={match!r}: only for a mask with an affine; an array lies on the scan's grid")
            file, match = _mask_on_grid(mask, scan), "index"
        voxels, lines = mask_files.mask_of(labels_of(file), scan, labels, match)
    return voxels, path, lines


_KINDS = "a nibabel image or the path of a file"


def _kind(given: Any) -> str:
    return "None" if given is None else f"of type {type(given).__name__}"


def _array(name: str, given: Any) -> np.ndarray:
    """Returns what was given as an array; UserError for what is none, such as rows of unequal lengths."""
    try:
        return np.asarray(given)
    except (ValueError, TypeError) as error:
        raise UserError(f"{name}: is no array ({error}); expected numbers [X, Y, Z]") from error


def _matrix(affine: ArrayLike) -> np.ndarray:
    """Returns an affine that was given with an array; UserError unless it is 4 x 4 numbers."""
    try:
        matrix = np.asarray(affine, float)
    except (ValueError, TypeError) as error:
        raise UserError(f"affine: not numbers ({error}); expected 4 x 4, as nibabel's image.affine") from error
    if matrix.shape != (4, 4):
        raise UserError(f"affine: has shape {matrix.shape}, expected (4, 4)")
    return matrix


def _check_volume(given: Any, name: Path) -> None:
    """UserError for an image of nibabel's that holds no volume, such as a surface."""
    if isinstance(given, FileBasedImage) and not isinstance(given, SpatialImage):
        raise UserError(f"{name}: is a {type(given).__name__}, not a volume; give an image with voxels and an affine")


def _mask_on_grid(mask: ArrayLike, scan: Scan) -> NiftiFile:
    """Returns an array on the scan's grid as a file; UserError for another shape."""
    array = _array("mask", mask)
    if array.dtype == object:
        raise UserError(f"mask: is {_kind(mask)}; expected {_KINDS}, or an array on the grid of the scan")
    array = geometry.without_trailing_axes(array)
    expected = scan.file.stored.shape[:3]
    if array.shape != expected:
        raise UserError(f"mask: has shape {array.shape}, the scan {expected}: an array lies on the scan's grid")
    return nifti_image.file_of_array(array, scan.file.affine, nifti_image.MASK)


def describe_files(image: Path | None, mask: Path | None) -> dict[str, Any]:
    """Returns the entries of the report about files that were given."""
    image, mask = (path if path is not None and path.exists() else None for path in (image, mask))
    of_image = {"image": sidecar.portable(image), "image_sha256": input_digests.of_scan(image)} if image else {}
    of_mask = {"mask": sidecar.portable(mask), "mask_sha256": input_digests.of_mask(mask, image)} if mask else {}
    return of_image | of_mask
