"""Parsing of DICOM files by pydicom: its errors become one line, and the memory that it takes is bounded.

pydicom raises almost any exception for a damaged file, some of them only when a value is asked for, and it allocates what a
file asks for: lengths, sequences of many empty items, deflated content. `Values` gives the values of elements that have the
type and number that the caller expects.
"""

import logging
import math
import os
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from ipmedgan_jax.core import memory
from ipmedgan_jax.core.errors import UserError, parser_errors
from ipmedgan_jax.core.regular_files import open_file

ADVICE = "copy the series again, or take the file out"

_BYTES_PER_READ, _BYTES_PER_BYTE, _BYTES_PER_ITEM = 512, 40, 700
"""Memory that pydicom takes for each element or item that it reads, for each byte of many small elements, and for each item
of a sequence that it parses later; measured."""

_ITEMS = b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00"
"""The tag of an item of a sequence, in both byte orders."""

_LONGEST = 2**16
"""Bytes of an element that is expected to hold a few values."""

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@contextmanager
def pydicom_errors(path: Path | str, problem: str = "not a readable DICOM file", advice: str = ADVICE) -> Iterator[None]:
    """Turns every error of pydicom in this block into a UserError, and silences its warnings; see `parser_errors`."""
    with quiet(), parser_errors(path, problem, advice):
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Silences pydicom's warnings, of which a file can cause hundreds; what matters in a value is checked."""
    log = logging.getLogger("pydicom")  # it logs what it warns of
    if log.level != logging.ERROR:  # to set a level takes long
        log.setLevel(logging.ERROR)
    with warnings.catch_warnings(category=UserWarning, action="ignore"):
        yield


def read_header(path: Path, tags: Sequence[str] = ()) -> Any:
    """Reads a DICOM file up to its pixels, or only some tags of it; UserError if that is not possible."""
    return _parse(path, stop_before_pixels=True, specific_tags=list(tags) or None)


def read_dataset(path: Path) -> Any:
    """Reads a DICOM file, and gives a file without a meta header the transfer syntax that it was read with."""
    dataset = _parse(path)
    from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    meta = dataset.file_meta
    known = Values(path, meta).text("TransferSyntaxUID")
    if not known:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        known = ImplicitVRLittleEndian if implicit else explicit
    with pydicom_errors(path, "its transfer syntax is not known"):
        syntax = UID(known)
        _ = syntax.is_compressed  # an error for a UID that is none of a transfer syntax
        meta.pop("TransferSyntaxUID", None)  # with the value representation that the file gives it
        meta.TransferSyntaxUID = syntax
    return dataset


def _parse(path: Path, **options: Any) -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise UserError(f"{path}: reading DICOM needs pydicom: pip install 'ipmedgan-jax[dicom]'") from error
    with pydicom_errors(path), _File(path) as file:
        file.check_size()
        dataset = pydicom.dcmread(file, force=True, **options)  # force: files without preamble
        pixels = sum(len(dataset.get_item(name).value or b"") for name in _PIXELS if name in dataset)
        file.check_sequences(pixels)
    return dataset


class _File(BufferedReader):
    """A file as pydicom reads it; UserError before a read takes more memory than `memory.limit`."""

    def __init__(self, path: Path):
        super().__init__(open_file(path).detach())
        self._size = os.fstat(self.fileno()).st_size
        self._path = path
        self._reads = 0
        self._most_reads = memory.limit() // _BYTES_PER_READ

    def check_size(self) -> None:
        """UserError if the file itself is larger than `memory.limit`."""
        memory.check(self._path, self._size, "the file")

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads as a file does. Reads of all that is left are those of deflated content."""
        self._reads += 1
        if self._reads > self._most_reads:
            memory.check(self._path, self._reads * _BYTES_PER_READ, f"its more than {self._reads:,} elements")
        if size is None or size < 0:
            content = super().read()
            memory.check(self._path, _inflated(content) * _BYTES_PER_BYTE, "its deflated content")
            return content
        return super().read(max(0, min(size, self._size - self.tell())))  # a file may promise gigabytes

    def check_sequences(self, pixels: int) -> None:
        """UserError if what was read, but for bytes of pixels, takes more memory than `memory.limit` once it is parsed."""
        end = min(self.tell(), self._size)  # pydicom may have gone beyond the end
        if (length := end - pixels) > _LONGEST:
            self.seek(0)
            content = super().read(end)
            items = sum(map(content.count, _ITEMS))
            memory.check(self._path, length * _BYTES_PER_BYTE + items * _BYTES_PER_ITEM, f"its {items:,} items of sequences")


def _inflated(content: bytes) -> int:
    """Returns the length of deflated content, at most `memory.limit`; 0 if it is damaged, which pydicom reports."""
    most, length, rest = memory.limit(), 0, content
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        while rest and not inflater.eof and length <= most:
            length += len(inflater.decompress(rest, 2**20))
            rest = inflater.unconsumed_tail
    except zlib.error:
        return 0
    return length


@dataclass(frozen=True)
class Values:
    """The values of a data set's elements; UserError, with the file's path, for one that is not of the expected kind."""

    path: Path
    dataset: Any

    def text(self, name: str) -> str:
        """Returns a value as text; empty if there is none."""
        value = self._value(name)
        with pydicom_errors(self.path):
            from pydicom.sequence import Sequence as Items

            if not isinstance(value, Items):
                return "" if value is None else str(value)
        raise self._unusable(name)

    def uid(self, name: str) -> str:
        """Returns a UID; empty if there is none."""
        value = self._value(name)
        if value is not None and not isinstance(value, str):
            raise self._unusable(name)
        return value or ""

    def content(self, name: str) -> bytes:
        """Returns the bytes of an element, however many; none if it is missing."""
        with pydicom_errors(self.path):
            value = self.dataset.get(name)
        if value is not None and not isinstance(value, bytes):
            raise self._unusable(name)
        return value or b""

    def scalar(self, name: str, default: float | None = None) -> float:
        """Returns a finite number; the default, if there is one, for an element that is missing or empty."""
        value = self._value(name)
        if default is not None and (value is None or _is_empty(value)):
            return default
        return float(self.numbers(name, 1)[0])

    def integer(self, name: str, default: int | None = None) -> int:
        """Returns a whole number; the default, if there is one, for an element that is missing or empty."""
        value = self.scalar(name, default)
        if value != int(value) or abs(value) > 2**53:
            raise self._unusable(name)
        return int(value)

    def numbers(self, name: str, count: int) -> np.ndarray:
        """Returns finite numbers `[count]`."""
        value = self._value(name)
        values = [value] if isinstance(value, int | float) else value
        if isinstance(values, str | bytes) or not isinstance(values, Sequence) or len(values) != count:
            raise self._unusable(name)
        if not all(isinstance(number, int | float) and _is_finite(number) for number in values):
            raise self._unusable(name)
        return np.array([float(number) for number in values])

    def items(self, name: str) -> list["Values"]:
        """Returns the items of a sequence; none if it is missing or empty."""
        with pydicom_errors(self.path):
            from pydicom.sequence import Sequence as Items

            found = self.dataset.get(name)
        if found is None or _is_empty(found):
            return []
        if not isinstance(found, Items):
            raise self._unusable(name)
        return [Values(self.path, item) for item in found]

    def contour(self, name: str) -> np.ndarray:
        """Returns the finite numbers of an element that may hold very many, parsed without pydicom, which takes long."""
        with pydicom_errors(self.path):
            element = self.dataset.get_item(name)
        stored = None if element is None else element.value
        try:
            if isinstance(stored, bytes):
                values = np.array([float(text) for text in stored.strip(b" \0").split(b"\\") if stored.strip(b" \0")])
            else:
                values = np.array([] if stored is None or stored == "" else stored, float).reshape(-1)
        except (ValueError, TypeError, OverflowError):
            raise self._unusable(name) from None
        if not np.isfinite(values).all():
            raise self._unusable(name)
        return values

    def _value(self, name: str) -> Any:
        with pydicom_errors(self.path):
            element = self.dataset.get_item(name)
            if isinstance(element and element.value, bytes) and len(element.value) > _LONGEST:
                raise self._unusable(name)
            return self.dataset.get(name)

    def _unusable(self, name: str) -> UserError:
        return UserError(f"{self.path}: has no usable {name}; {ADVICE}")


def _is_empty(value: Any) -> bool:
    return isinstance(value, str | bytes | Sequence) and len(value) == 0


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number beyond float64
        return False
