"""Byte-exact NIfTI files: reading bounded by the header, and writing that changes selected voxels only.

nibabel parses the header. Everything else stays as bytes, so that a rewritten file has the same header, extensions and
stored voxels bit for bit, except for the voxels with new values.
"""

import gzip
import logging
import math
import os
import zlib
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

import nibabel
import numpy as np
from nibabel.volumeutils import apply_read_scaling

from ipmedgan_jax.core import files, memory
from ipmedgan_jax.core.errors import UserError, parser_errors, reason
from ipmedgan_jax.core.regular_files import open_file, regular_file
from ipmedgan_jax.imaging import geometry

SUFFIXES = (".nii.gz", ".nii")

HEADER_BYTES = 540
"""Length of the longer header, that of NIfTI-2."""

_TRAILING_BYTES = 2**20
"""Largest number of bytes after the voxels; some writers pad."""

_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
"""Millimetres in a metre and in a micrometre, by the code of the unit of length; any other code stands for millimetres."""

_UNIT_OF_LENGTH, _MILLIMETRE = 0b111, 2
"""The bits of `xyzt_units` with the code of the unit of length, and the code of the millimetre."""

_GZIP = b"\x1f\x8b"
"""The first bytes of a gzip file."""

_CHUNK = 2**22
"""Bytes that are read at once, so that memory is taken for what a file holds and not for what its header promises."""

_UNREADABLE = ("not a readable NIfTI file", "copy or convert it again")

_DEFLATED = 1040
"""Upper bound of the ratio of deflate; a file that would need a larger one ends too early."""

_HEADER_NOTES = logging.getLogger("ipmedgan_jax.headers")
_HEADER_NOTES.disabled = True
"""Where nibabel's notes about repaired headers go: nowhere, for `placement` and `scans` warn of what matters."""

_COMPRESSION = 4
"""gzip level of written files: half the time of the usual level 6, for files 2 % larger."""


@dataclass(frozen=True, eq=False)
class NiftiFile:
    """A single-file NIfTI-1 or NIfTI-2 in either byte order, with one number per voxel."""

    path: Path
    header: nibabel.Nifti1Header  # its lengths are in millimetres, whatever unit the file has
    content: bytearray  # the whole file, uncompressed, as it came

    @property
    def stored(self) -> np.ndarray:
        """The unscaled voxels `[X, Y, Z, ...]` in the file's axis order; a read-only view."""
        voxels = _voxels(self.content, self.header)
        voxels.flags.writeable = False
        return voxels

    @property
    def scaling(self) -> tuple[float, float]:
        """Slope and intercept: value = stored * slope + intercept."""
        slope, intercept = self.header.get_slope_inter()
        return (1.0, 0.0) if slope is None else (float(slope), float(intercept))

    def values(self) -> np.ndarray:
        """Returns the voxels in the image's unit and the stored shape, as float32, or as float64 if their type needs it.

        Values beyond the type's range become infinite. UserError if the header's scaling goes beyond every type.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            slope, intercept = (np.float32(value) for value in self.scaling)
            try:
                scaled = apply_read_scaling(self.stored, slope, intercept)
            except ValueError as error:
                raise UserError(f"{self.path}: its scaling makes its values too large ({error}); rescale them") from error
            return scaled.astype(np.promote_types(scaled.dtype, np.float32))

    @property
    def affine(self) -> np.ndarray:
        """Maps voxel indices to millimetres; a guess if the file is not `placed`."""
        with np.errstate(all="ignore"):
            return self.header.get_best_affine()

    @property
    def placed(self) -> bool:
        """Whether the header gives the position of the voxels, by a qform or an sform."""
        return bool(self.header["qform_code"] > 0 or self.header["sform_code"] > 0)

    @property
    def modality(self) -> str:
        """Empty: a NIfTI header does not say how a scan was made."""
        return ""

    def write_filled(
        self, output: Path, where: np.ndarray, values: np.ndarray, description: str, *, replace: bool = False
    ) -> None:
        """Writes `filled_content` atomically; a file that exists is always replaced.

        `description` is not used, because the header stays as it is.
        """
        write(output, self.filled_content(where, values))

    def filled_content(self, where: np.ndarray, values: np.ndarray) -> bytearray:
        """Returns the file's content with new values at some voxels. UserError if a value is not finite.

        Args:
          where: the voxels that change, bool, of the stored shape.
          values: their new values `[where.sum()]` in the image's unit, in C order of `where`; an integer type rounds and
            clips them to its range.
        """
        if not np.isfinite(values).all():
            raise UserError(f"{self.path}: its intensities are too small or too large to be filled; rescale them first")
        content = self.content.copy()
        voxels = _voxels(content, self.header)
        slope, intercept = self.scaling
        new = (np.asarray(values, np.float64) - intercept) / slope
        if voxels.dtype.kind in "iu":
            limits = np.iinfo(voxels.dtype)
            new = np.clip(np.rint(new), float(limits.min), float(limits.max))
        voxels[where] = new.astype(voxels.dtype)
        return content


def _voxels(content: bytearray, header: nibabel.Nifti1Header) -> np.ndarray:
    shape = header.get_data_shape()
    return np.ndarray(shape, header.get_data_dtype(), content, int(header["vox_offset"]), order="F")


def stem(path: Path) -> str:
    """Returns the file name without .nii or .nii.gz."""
    return next((path.name.removesuffix(suffix) for suffix in SUFFIXES if path.name.endswith(suffix)), path.name)


def read(path: Path | str) -> NiftiFile:
    """Reads a file; UserError names the fault of an unusable one, before its content can fill the memory."""
    path = Path(path)
    if path.is_symlink() and not path.exists():
        raise UserError(f"{path}: a link to {path.readlink()}, which is not there; fetch the file, or leave the link out")
    if not regular_file(path).exists():
        raise UserError(f"{path}: not found; give a NIfTI file (.nii or .nii.gz)")
    try:
        with open_file(path) as stream:
            header, content = _read(path, stream)
    except (OSError, EOFError, zlib.error, ValueError) as error:  # of a damaged gzip stream, or of the header
        raise UserError(f"{path}: not a readable NIfTI file ({reason(error)}); copy or convert it again") from error
    return NiftiFile(path, header, content)


def parse(path: Path, content: bytes) -> NiftiFile:
    """Returns the file with a content, uncompressed; UserError if it is unusable. `path` names it in messages."""
    try:
        header = _read_header(path, content[:HEADER_BYTES])
        if len(content) < (expected := _expected_bytes(path, header)):
            raise ValueError(f"it ends after {len(content)} bytes, its header promises {expected}")
    except ValueError as error:
        raise UserError(f"{path}: not a readable NIfTI image ({reason(error)}); make it again") from error
    return NiftiFile(path, header, bytearray(content))


def _read(path: Path, file: BufferedReader) -> tuple[nibabel.Nifti1Header, bytearray]:
    """Returns the header and the uncompressed content of an open file; ValueError if it ends early, or has no header."""
    packed = file.peek(2)[:2] == _GZIP
    stream = gzip.GzipFile(fileobj=file) if packed else file
    content = bytearray(stream.read(HEADER_BYTES))
    header = _read_header(path, bytes(content))
    expected = _expected_bytes(path, header)
    available = os.fstat(file.fileno()).st_size * (_DEFLATED if packed else 1)
    if expected > available:
        raise ValueError(f"its header promises {expected} bytes, more than the file can hold")
    while len(content) <= expected + _TRAILING_BYTES and (chunk := stream.read(_CHUNK)):
        content += chunk
    if len(content) < expected:
        raise ValueError(f"it ends after {len(content)} bytes, its header promises {expected}")
    if len(content) > expected + _TRAILING_BYTES:
        raise UserError(f"{path}: holds more than the {expected} bytes that its header gives; convert it again")
    return header, content


def is_packed(path: Path) -> bool:
    """Whether a file is compressed by gzip, by its first bytes."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def unpacked(path: Path) -> IO[bytes]:
    """Opens a file's content, uncompressed; to be closed."""
    return cast("IO[bytes]", gzip.open(path)) if is_packed(path) else path.open("rb")


def stored_header(path: Path) -> nibabel.Nifti1Header:
    """Returns the header at the beginning of a file as it is stored, unchecked; ValueError if it has none."""
    with unpacked(path) as stream:
        start = stream.read(HEADER_BYTES)
    kind = header_kind(start)
    return kind(start[: kind.sizeof_hdr], check=False)


def header_kind(start: bytes) -> type[nibabel.Nifti1Header]:
    """Returns nibabel's class of the header in a file's first bytes; ValueError if it has none."""
    kinds = (nibabel.Nifti1Header, nibabel.Nifti2Header)
    if (kind := next((kind for kind in kinds if kind.may_contain_header(start)), None)) is None:
        raise ValueError("it has no NIfTI header")
    return kind


def write(path: Path, content: bytes | bytearray) -> None:
    """Writes a file's content atomically, compressed if its name ends in .gz."""
    if path.name.endswith(".gz"):
        content = gzip.compress(content, _COMPRESSION, mtime=0)
    with files.atomic_file(path) as unfinished:
        unfinished.write_bytes(content)


def write_array(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Writes an array and its affine, in millimetres, as a new NIfTI-1 image of the array's type."""
    write(path, content_of_array(array, affine))


def content_of_array(array: np.ndarray, affine: np.ndarray) -> bytes:
    """Returns the content of the file that `write_array` writes."""
    image = nibabel.Nifti1Image(array, affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    return image.to_bytes()


def _read_header(path: Path, start: bytes) -> nibabel.Nifti1Header:
    """Returns the header in a file's first bytes, with its lengths in millimetres; UserError or ValueError if unusable."""
    kind = header_kind(start)
    block = start[: kind.sizeof_hdr]
    with parser_errors(path, *_UNREADABLE), np.errstate(all="ignore"):
        stored = kind(block, check=False)
        if stored["magic"].tobytes()[:3] not in (b"n+1", b"n+2"):
            raise ValueError("it is one half of a pair, or of another format")
        header = kind(block, check=False)
    _check_fields(path, stored)
    with parser_errors(path, *_UNREADABLE), np.errstate(all="ignore"):
        header.check_fix(_HEADER_NOTES)
        _convert_to_millimetres(header)
        header.get_slope_inter(), header.get_best_affine(), header.get_data_shape()  # they raise errors if unusable
        voxel = header.get_data_dtype()
    if int(header["vox_offset"]) < header.single_vox_offset:
        raise ValueError(f"its voxels begin at byte {int(header['vox_offset'])}, inside its header")
    if voxel.kind not in "iuf":
        raise UserError(f"{path}: its voxels are of type {voxel}, not one number each; convert it to a scalar image")
    return header


def _convert_to_millimetres(header: nibabel.Nifti1Header) -> None:
    """Converts the lengths of a header from its unit, in place; a header without a unit is in millimetres."""
    code = int(header["xyzt_units"])
    if factor := _MM_PER_UNIT.get(code & _UNIT_OF_LENGTH):
        header["pixdim"][1:4] *= factor
        for name in ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"):
            header[name] = header[name] * factor
        header["xyzt_units"] = code & ~_UNIT_OF_LENGTH | _MILLIMETRE


def _check_fields(path: Path, header: nibabel.Nifti1Header) -> None:
    """Checks fields as stored, because nibabel silently replaces zero and negative spacings, and fails at other numbers."""
    offset = float(header["vox_offset"])
    if not math.isfinite(offset):
        raise ValueError(f"its voxels begin at byte {offset:g}")
    if np.isinf(header["scl_slope"]):  # NaN and 0 stand for none
        raise ValueError("its scl_slope is infinite")
    dimensions = int(header["dim"][0])
    if not 1 <= dimensions <= 7:
        raise ValueError(f"its header gives {dimensions} dimensions")
    spacing = [float(value) for value in header["pixdim"][1 : min(dimensions, 3) + 1]]
    if not all(np.isfinite(value) and value > 0 for value in spacing):
        raise UserError(f"{path}: the spacing in its header is {spacing}; set pixdim to positive numbers")


def _expected_bytes(path: Path, header: nibabel.Nifti1Header) -> int:
    """Returns the length in bytes, by the header, of the file up to its last voxel; UserError if reading takes too much."""
    shape = header.get_data_shape()
    if not shape or min(shape) < 0:
        raise ValueError(f"its header gives the shape {shape}")
    voxels = math.prod(shape)
    size = header.get_data_dtype().itemsize
    geometry.check_memory(path, shape, size)
    expected = int(header["vox_offset"]) + voxels * size
    memory.check(path, expected, f"its header, which puts its voxels at byte {int(header['vox_offset'])},")
    return expected
