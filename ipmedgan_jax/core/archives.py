"""Zip and .npz archives of others, read with bounds: sizes are checked before data are, and every error is a ValueError.

A zip of a megabyte can hold a gigabyte, and the header of an array can ask for any shape. So a member is read only if the
archive says its size beforehand, and only so far. Pickled arrays are refused.
"""

import contextlib
import io
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal

import numpy as np

from ipmedgan_jax.core import memory, regular_files
from ipmedgan_jax.core.errors import reason

HEADER_BYTES = 2**14
"""Bytes of an array's file that are read to find its header; NumPy takes headers of at most 10,000."""

_KINDS = "?biufU"
"""Kinds of NumPy's types that are read: logical, whole numbers, floats and text."""

_LARGEST_RANK = 16

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

_ENCRYPTED = 0x1


@contextlib.contextmanager
def reading_errors() -> Iterator[None]:
    """Turns every exception that zipfile, zlib and NumPy raise for a damaged or hostile archive into a ValueError."""
    try:
        yield
    except ValueError:
        raise
    except (
        *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, MemoryError),
        *(ArithmeticError, LookupError, TypeError, SyntaxError, tokenize.TokenError),
    ) as error:
        raise ValueError(reason(error)) from error


@contextlib.contextmanager
def open_zip(stream: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """Opens a zip archive; ValueError if it is none, repeats a name, or has encrypted or unusually compressed members."""
    with reading_errors(), zipfile.ZipFile(stream) as archive:
        names = set()
        for member in archive.infolist():
            if member.filename in names:
                raise ValueError(f"has two members {member.filename[:80]}")
            names.add(member.filename)
            if member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
                raise ValueError(f"{member.filename[:80]}: is encrypted, or compressed in another way than by deflate")
        yield archive


def read_member(archive: zipfile.ZipFile, name: str, largest: int) -> bytes:
    """Returns the content of a member of at most `largest` bytes; ValueError if it is missing, larger or damaged."""
    with reading_errors():
        if archive.getinfo(name).file_size > largest:
            size = archive.getinfo(name).file_size
            raise ValueError(f"{name[:80]}: expected at most {largest:,} bytes, found {size:,}")
        with archive.open(name) as member:
            content = member.read(largest + 1)  # the size that the archive states may be wrong
        if len(content) != archive.getinfo(name).file_size:
            raise ValueError(f"{name[:80]}: has another size than the archive states")
        return content


class Arrays:
    """An open .npz file, a context manager; its headers are read at once, its arrays on demand.

    Raises ValueError for a file that is no .npz of plain arrays, OSError if it cannot be opened, and UserError if it is no
    regular file.

    Attributes:
      shapes: the shape of each array, by name.
      dtypes: the type of each array, by name.
    """

    def __init__(self, path: Path):
        self._path = path
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, np.dtype] = {}
        self._starts: dict[str, int] = {}
        self._orders: dict[str, Literal["C", "F"]] = {}
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(regular_files.open_file(path))
            self._zip = stack.enter_context(open_zip(file))
            with reading_errors():
                for member in self._zip.infolist():
                    self._read_header(member)
            self._stack = stack.pop_all()

    def __enter__(self) -> "Arrays":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, traceback)

    def _read_header(self, member: zipfile.ZipInfo) -> None:
        """Reads shape and type of one array; ValueError unless the member is as large as they say."""
        name = member.filename.removesuffix(".npy")
        if name == member.filename:
            raise ValueError(f"{name[:80]}: is no array")
        with self._zip.open(member) as stream:
            head = io.BytesIO(stream.read(HEADER_BYTES))
        version = np.lib.format.read_magic(head)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"{name[:80]}: has version {version} of .npy, expected 1.0 or 2.0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files of Python 2
            shape, column_major, dtype = readers[version](head)
        if dtype.kind not in _KINDS or dtype.hasobject or not dtype.itemsize:
            raise ValueError(f"{name[:80]}: holds {str(dtype)[:40]}, not numbers or text")
        if len(shape) > _LARGEST_RANK or min(shape, default=0) < 0:
            raise ValueError(f"{name[:80]}: has no usual shape")
        if head.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
            raise ValueError(f"{name[:80]}: has not the bytes of its shape {shape}")
        self.shapes[name], self.dtypes[name] = shape, dtype
        self._starts[name], self._orders[name] = head.tell(), "F" if column_major else "C"

    def check_memory(self) -> None:
        """UserError if all arrays together are larger than `memory.limit`."""
        sizes = (math.prod(shape) * self.dtypes[name].itemsize for name, shape in self.shapes.items())
        memory.check(self._path, sum(sizes), "its arrays")

    def __getitem__(self, name: str) -> np.ndarray:
        """Reads an array; ValueError if it is missing or damaged, UserError if it is larger than `memory.limit`."""
        if name not in self.shapes:
            raise ValueError(f"has no array {name}")
        size = math.prod(self.shapes[name]) * self.dtypes[name].itemsize
        memory.check(self._path, size, f"{name[:80]} of shape {self.shapes[name]}")
        with reading_errors(), self._zip.open(f"{name}.npy") as stream:
            stream.read(self._starts[name])
            content, filled = bytearray(size), 0
            while filled < size and (piece := stream.read(min(size - filled, 2**20))):
                content[filled : filled + len(piece)] = piece
                filled += len(piece)
            if filled != size or stream.read(1):  # reading to the end compares the checksum
                raise ValueError(f"{name[:80]}: is cut short")
        array = np.frombuffer(content, self.dtypes[name]).reshape(self.shapes[name], order=self._orders[name])
        if array.dtype.kind == "U":
            _check_characters(array)
        return array


def _check_characters(array: np.ndarray) -> None:
    """ValueError unless an array of texts holds characters; Python fails in several ways on numbers that are none."""
    codes = array.ravel().view(array.dtype.str.replace(f"U{array.dtype.itemsize // 4}", "u4"))
    if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF))).any():
        raise ValueError("holds a text with numbers that are no characters")
