"""Decoding of the pixels of DICOM files. What a frame says of its own size is checked first, because decoders allocate it."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import geometry
from ipmedgan_jax.imaging.dicom_parsing import Values, pydicom_errors

_ADVICE = "copy or export it again"

_BITS = (1, 8, 16, 32)
"""Bits that a pixel is allocated, of the images and masks that can be read."""

_SIZE_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""Codes of the markers of JPEG and JPEG-LS before a frame's height and width (ISO/IEC 10918-1, table B.1)."""


def shape(values: Values) -> tuple[int, int, int]:
    """Returns frames, rows and columns; UserError for a size or a format of pixels that cannot be read."""
    frames, rows, columns = values.integer("NumberOfFrames", 1), values.integer("Rows"), values.integer("Columns")
    bits, stored = values.integer("BitsAllocated"), values.integer("BitsStored")
    if min(frames, rows, columns) < 1 or values.integer("SamplesPerPixel", 1) != 1:
        raise UserError(f"{values.path}: has {frames} frames of {rows} x {columns} pixels, or colours; expected grey levels")
    if bits not in _BITS or not 1 <= stored <= bits or values.integer("PixelRepresentation") not in (0, 1):
        raise UserError(
            f"{values.path}: its pixels have {stored} of {bits} bits, or a sign of their own; expected whole numbers"
        )
    if (high := values.integer("HighBit", stored - 1)) != stored - 1:
        raise UserError(
            f"{values.path}: the HighBit of its pixels is {high}; expected {stored - 1}, one less than BitsStored, as DICOM "
            "asks for; correct the attribute if the pixels are right, or export the series again"
        )
    return frames, rows, columns


def decode(dataset: Any, path: Path) -> np.ndarray:
    """Decodes the pixels of a data set `[frames, rows, columns]` or `[rows, columns]`, which keeps them.

    UserError if they are damaged or take too much memory, or if no installed package decompresses them.
    """
    values = Values(path, dataset)
    size = shape(values)
    geometry.check_memory(path, size, 1)
    content = values.content("PixelData")
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_compressed and not syntax.is_deflated:
        if not _can_decompress(syntax):
            raise UserError(
                f"{path}: no installed package decompresses its pixels ({syntax.name}); decompress the series first"
            )
        _check_frames(content, path, size)
    with pydicom_errors(path, "its pixels are damaged", _ADVICE):
        pixels = dataset.pixel_array
    if pixels.size != math.prod(size):
        raise UserError(f"{path}: its pixels are damaged ({pixels.size} of {math.prod(size)}); {_ADVICE}")
    return pixels


def _can_decompress(syntax: Any) -> bool:
    from pydicom.pixels import get_decoder

    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _check_frames(content: bytes, path: Path, size: tuple[int, int, int]) -> None:
    """UserError if a compressed frame gives itself another size than the data set does."""
    from pydicom.encaps import generate_frames

    with pydicom_errors(path, "its pixels are damaged", _ADVICE):
        for frame in generate_frames(content, number_of_frames=size[0]):
            for rows, columns in _sizes(frame):
                if (rows, columns) != size[1:]:
                    raise UserError(f"{path}: its pixels are damaged (a frame of {rows} x {columns}); {_ADVICE}")


def _sizes(frame: bytes) -> Iterator[tuple[int, int]]:
    """Yields the heights and widths that a frame of JPEG, JPEG-LS or JPEG 2000 gives itself; none of another kind."""
    siz = frame.find(b"\xff\x4f\xff\x51", 0, 1024)  # JPEG 2000: start of codestream and size (ISO/IEC 15444-1, A.5.1)
    if siz >= 0 and len(frame) >= siz + 24:
        right, bottom, left, top = (int.from_bytes(frame[siz + at : siz + at + 4]) for at in (8, 12, 16, 20))
        yield bottom - top, right - left
    at = 2
    while frame[:2] == b"\xff\xd8" and at + 9 <= len(frame) and frame[at] == 0xFF:
        if frame[at + 1] in _SIZE_OF_FRAME:
            yield int.from_bytes(frame[at + 5 : at + 7]), int.from_bytes(frame[at + 7 : at + 9])
        at += 1 if frame[at + 1] == 0xFF else 2 + int.from_bytes(frame[at + 2 : at + 4])  # 0xFF may be repeated
