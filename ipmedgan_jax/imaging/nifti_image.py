"""nibabel's images as files in memory, and back: an image that is saved as the bytes it was made of.

`nibabel.save` writes the voxels of an image anew: it chooses another scaling and rounds to it, and repairs the header. So an
image that comes from a file is read as that file, and a filled one keeps the content of its file.
"""

import io
from pathlib import Path
from typing import Any, TypeVar

import nibabel
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.spatialimages import HeaderDataError, SpatialImage

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import nifti
from ipmedgan_jax.imaging.nifti import NiftiFile

IMAGE, MASK = Path("image"), Path("mask")
"""Names, for messages, of what is in memory and has no file."""


class ExactNifti1Image(nibabel.Nifti1Image):
    """An image with the content of its file. Saving writes this content, unless the header or the affine was changed.

    It is made by `from_bytes`. An image that nibabel derives from it (by a slice, or other voxels) is saved as nibabel does.
    """

    _content: bytes | None = None
    _made: tuple[Any, ...] = ()

    @classmethod
    def from_bytes(cls, bytestring: bytes) -> "ExactNifti1Image":
        image: ExactNifti1Image = super().from_bytes(bytestring)
        image._content = bytestring
        image._made = (image.header.copy(), image.affine.copy(), image.dataobj)
        return image

    @property
    def content(self) -> bytes | None:
        """The file's content; None if the image was changed."""
        if self._content is None:
            return None
        header, affine, voxels = self._made
        same = self.header == header and list(self.header.extensions) == list(header.extensions)
        return self._content if same and np.array_equal(self.affine, affine) and self.dataobj is voxels else None

    def to_filename(self, filename: Any, **options: Any) -> None:
        """Writes the same file as `inpaint`, compressed if its name ends in .gz."""
        path = Path(filename)
        if self.content is None or options or not path.name.endswith(nifti.SUFFIXES):
            super().to_filename(filename, **options)
        else:
            nifti.write(path, self.content)
            self.file_map = self.filespec_to_file_map(filename)

    def to_file_map(self, file_map: Any = None, dtype: Any = None, **options: Any) -> None:
        """Writes the content to file objects."""
        if self.content is None or dtype is not None or options:
            super().to_file_map(file_map, dtype, **options)
            return
        with (file_map or self.file_map)["image"].get_prepare_fileobj("wb") as stream:
            stream.write(self.content)


class ExactNifti2Image(ExactNifti1Image, nibabel.Nifti2Image):
    """The same, of NIfTI-2."""


def exact_image(content: bytes | bytearray) -> ExactNifti1Image:
    """Returns the image of a file's content, uncompressed."""
    is_first = nifti.header_kind(bytes(content[: nifti.HEADER_BYTES])) is nibabel.Nifti1Header
    kind = ExactNifti1Image if is_first else ExactNifti2Image
    return kind.from_bytes(bytes(content))


def path_of(image: SpatialImage) -> Path | None:
    """Returns the file that an image was loaded from; None for one in memory."""
    name = image.get_filename() if isinstance(image.dataobj, ArrayProxy) else None
    return Path(name) if name else None


def file_of_image(image: SpatialImage, name: Path) -> tuple[NiftiFile, bool]:
    """Returns the file that an image stands for, and whether this file has the image's content to the byte.

    An image that nibabel loaded from a single NIfTI file, and that was not changed since, is that file. Another one is the
    file that nibabel would save, if it has the type of its voxels. Otherwise it is a file of the type of the voxels.

    `name` names an image without a file in messages. UserError if the file is unusable.
    """
    path = path_of(image) or name
    if isinstance(image, nibabel.Nifti1Image):
        if isinstance(image.dataobj, ArrayProxy):
            if (content := _content_of(image)) is not None:
                return nifti.parse(path, content), True
            if not _is_changed(image) and isinstance(source := image.dataobj.file_like, str | Path):
                return nifti.read(source), True
            header = image.header
            stored = _read_voxels(image, path, scaled=False)
            if header.get_data_dtype() == stored.dtype:
                scaling = (image.dataobj.slope, image.dataobj.inter)
                return nifti.parse(path, _saved(stored, image.affine, header, path, scaling)), True
        elif _has_own_type(image):
            return nifti.parse(path, _saved(image.dataobj, image.affine, image.header, path)), True
    return file_of_array(_read_voxels(image, path), image.affine, path, image.header), False


def file_of_array(array: np.ndarray, affine: np.ndarray, name: Path, header: Any = None) -> NiftiFile:
    """Returns an array as a file of its type, or of float32 for float16 and uint8 for bool. UserError for no numbers.

    Args:
      array: numbers `[X, Y, Z]`.
      affine: `[4, 4]`, maps voxel indices to millimetres.
      name: names the file in messages.
      header: a header of nibabel whose other fields are kept.
    """
    small = {"b1": np.uint8, "f2": np.float32}
    if array.dtype.kind not in "biuf":
        raise UserError(f"{name}: its voxels are of type {array.dtype}, not one number each; give whole or decimal numbers")
    array = array.astype(small.get(array.dtype.str[1:], array.dtype), copy=False)
    made = nibabel.Nifti1Header()
    if isinstance(header, nibabel.Nifti1Header):
        made = _kind(header).header_class.from_header(header, check=False)
    else:
        made.set_xyzt_units("mm")
    try:
        made.set_data_dtype(array.dtype)
    except HeaderDataError as error:  # float128 of most processors
        raise UserError(f"{name}: its voxels are of type {array.dtype}, which NIfTI does not have; give float64") from error
    made.set_slope_inter(None, None)
    return nifti.parse(name, _saved(array, affine, made, name))


def _kind(header: nibabel.Nifti1Header) -> type[nibabel.Nifti1Image]:
    return nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image


def _content_of(image: nibabel.Nifti1Image) -> bytes | None:
    """Returns the content of an unchanged image that was made from bytes; None for other images."""
    if isinstance(image, ExactNifti1Image) and image.content is not None:
        return image.content
    source = _proxy(image).file_like
    return source.getvalue() if isinstance(source, io.BytesIO) and not _is_changed(image) else None


def _proxy(image: SpatialImage) -> Any:
    """Returns the voxels of a loaded image, an `ArrayProxy`."""
    return image.dataobj


def _is_changed(image: nibabel.Nifti1Image) -> bool:
    """Whether the header, the affine or the voxels of a loaded image are no longer those of its file."""
    source, kind = _proxy(image).file_like, _kind(image.header)
    try:
        fresh = kind.from_bytes(source.getvalue()) if isinstance(source, io.BytesIO) else kind.from_filename(source)
    except Exception:  # the file is gone or was replaced; the image itself may still be read
        return True
    voxels, now = fresh.dataobj, image.dataobj
    same = fresh.header == image.header and list(fresh.header.extensions) == list(image.header.extensions)
    same = same and np.array_equal(fresh.affine, image.affine)
    return not same or any(
        getattr(voxels, name) != getattr(now, name) for name in ("shape", "dtype", "offset", "slope", "inter")
    )


def _has_own_type(image: nibabel.Nifti1Image) -> bool:
    """Whether the voxels of an image in memory are saved as they are: their type is the header's, without scaling."""
    voxels = np.asanyarray(image.dataobj)
    return voxels.dtype == image.header.get_data_dtype() and image.header.get_slope_inter() == (None, None)


def _read_voxels(image: SpatialImage, path: Path, *, scaled: bool = True) -> np.ndarray:
    """Returns the voxels of an image; UserError if they cannot be read."""
    try:
        return np.asanyarray(image.dataobj) if scaled else _proxy(image).get_unscaled()
    except Exception as error:  # nibabel and the file's own format raise many types
        raise UserError(f"{path}: its voxels cannot be read ({error}); load the image again") from error


def _saved(voxels: Any, affine: np.ndarray, header: Any, path: Path, scaling: tuple[float, float] | None = None) -> bytes:
    """Returns the content of the file that nibabel saves; UserError if it cannot be such a file.

    `scaling` is the slope and intercept of voxels that are stored values; without it nibabel chooses one.
    """
    if affine is not None and not np.array_equal((last := np.asarray(affine))[3:], [[0, 0, 0, 1]]):
        numbers = " ".join(f"{number:g}" for number in last[3:].ravel())
        raise UserError(
            f"{path}: the last row of its affine is {numbers}, expected 0 0 0 1; divide the affine by its last number"
        )
    try:
        with np.errstate(all="ignore"):
            image = _kind(header)(voxels, affine, header)
            if scaling:
                image.header.set_slope_inter(*scaling)
            return image.to_bytes()
    except (HeaderDataError, ValueError, TypeError, OverflowError) as error:
        raise UserError(f"{path}: cannot be a NIfTI image ({error}); change its shape, type or affine") from error


Image = TypeVar("Image", bound=SpatialImage)


def with_voxels(image: Image, voxels: np.ndarray) -> Image:
    """Returns an image of the same class, header and affine with other voxels of the same shape."""
    made = type(image)(voxels, image.affine, image.header, image.extra)
    if isinstance(made.header, nibabel.Nifti1Header) and isinstance(image.header, nibabel.Nifti1Header):
        # A scaling of the user's for saving, which nibabel does not copy.
        made.header.set_slope_inter(*image.header.get_slope_inter())
    return made
