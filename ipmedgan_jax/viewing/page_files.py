"""NIfTI files as the viewer of the page can read them: one gzip member, a type that it knows, and a position."""

import gzip
import shutil
import zlib
from pathlib import Path

import numpy as np

from ipmedgan_jax.core import files
from ipmedgan_jax.imaging import nifti
from ipmedgan_jax.imaging.scans import ScanFile
from ipmedgan_jax.viewing.connection import PIECE

_SHOWN = ("u1", "i1", "i2", "u2", "f4", "f8")
"""Types of voxels that NiiVue 0.69 reads; of 32-bit integers it reads the last voxel as 0."""

_LEVEL = 1


def for_page(image: Path, path: Path) -> Path:
    """Returns a NIfTI file for the page: `path`, a link to the image itself wherever the page can read that.

    Otherwise `path` is a copy, compressed as one gzip member. The copy has other bytes for a type that the viewer does not
    read, and for a header without sform and qform, for which the viewer would take another affine than nibabel. Shape,
    scaling and affine stay.
    """
    if path.exists():
        return path
    if not _is_readable(image):
        _write_copy(image, path)
    elif _is_one_member(image):
        path.unlink(missing_ok=True)  # a link to a file that is gone
        path.symlink_to(image.absolute())  # a link is relative to its own folder
    else:
        with (
            nifti.unpacked(image) as source,
            files.atomic_file(path) as unfinished,
            gzip.open(unfinished, "wb", _LEVEL) as file,
        ):
            shutil.copyfileobj(source, file, PIECE)
    return path


def write_series(path: Path, file: ScanFile) -> None:
    """Writes a DICOM series as NIfTI, in the order of its file; as 16-bit integers if nothing is lost."""
    nifti.write_array(path, _small(file.values(), np.float32), file.affine)


def _small(values: np.ndarray, otherwise: type[np.floating]) -> np.ndarray:
    """Returns values as 16-bit integers if nothing is lost, else as another type."""
    small = values.astype(np.int16)
    return small if np.array_equal(small, values) else values.astype(otherwise)


def _is_readable(image: Path) -> bool:
    """Whether the viewer reads a file's type of voxels, and takes its position from the header."""
    header = nifti.stored_header(image)
    placed = header["qform_code"] > 0 or header["sform_code"] > 0
    return bool(placed and header.get_data_dtype().str[1:] in _SHOWN)


def _is_one_member(image: Path) -> bool:
    """Whether a file is one gzip member and nothing more, as a browser's decompression needs it."""
    if not nifti.is_packed(image):
        return False
    member = zlib.decompressobj(zlib.MAX_WBITS | 16)
    with image.open("rb") as file:
        while piece := member.unconsumed_tail or file.read(PIECE):
            member.decompress(piece, PIECE)
            if member.eof:
                return not member.unused_data and not file.read(1)
    return False


def _write_copy(image: Path, path: Path) -> None:
    """Writes a copy of a type that the viewer reads, with the affine that this package uses in its sform."""
    file = nifti.read(image)
    header, voxels = file.header.copy(), file.stored
    if voxels.dtype.str[1:] not in _SHOWN:
        voxels = _small(voxels, np.float64)
        header.set_data_dtype(voxels.dtype.newbyteorder(header.endianness))
    if not file.placed:
        header.set_sform(file.affine, "scanner")
    header["vox_offset"] = header.single_vox_offset
    start = header.structarr.tobytes()
    content = start + bytes(header.single_vox_offset - len(start))
    content += voxels.astype(header.get_data_dtype(), copy=False).tobytes(order="F")
    with files.atomic_file(path) as unfinished:
        unfinished.write_bytes(gzip.compress(content, _LEVEL, mtime=0))
