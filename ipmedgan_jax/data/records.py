"""Prepared data on disk: one record per slice, and one ArrayRecord shard per volume. `dataset_file` describes them.

A record is the length of its header (uint32), the header (JSON), the slice's codes (uint16, row by row, little-endian), and
its masks, one bit a pixel, in the order in which the header names them. Records of format 1 have no masks.

Each record names the digest of all records of its volume, so that a record of another preparation is noticed when it is read.
"""

import hashlib
import json
import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python import array_record_module

from ipmedgan_jax.core import files, json_fields
from ipmedgan_jax.core.errors import UserError, reason

SPLITS = ("train", "validation", "test")
SHARD_SUFFIX = ".arrayrecord"

_MASKS = ("head", "avoid")
"""The masks that a record may have: pixels that are head, and pixels that holes keep clear of."""

_LENGTH = struct.Struct("<I")
LAST_CODE = 65535
"""Largest code of a pixel; codes have 16 bits."""
_SHARD_OPTIONS = "group_size:1,zstd:1"  # slices are read at random; zstd's default level is 6 times slower


@dataclass(frozen=True, eq=False)
class SliceRecord:
    """One axial slice `[H, W]`; `codes * scale + offset` are its intensities in the source's unit."""

    subject: str
    volume: str
    index: int  # of the axial slice in the prepared volume, from the lowest
    window: tuple[float, float]  # intensities shown as -1 and 1
    scale: float
    offset: float
    codes: np.ndarray  # uint16
    head: np.ndarray | None = None  # bool [H, W], true where a pixel is foreground; None in older data
    avoid: np.ndarray | None = None  # bool [H, W], true where holes keep clear; None: nowhere
    records_sha256: str = ""  # digest of all records of the volume, see `digest`; empty in older data

    def intensities(self) -> np.ndarray:
        """`[H, W]` float32 in the source's unit: exact for integers, otherwise within half of `scale`."""
        return (self.codes * self.scale + self.offset).astype(np.float32)

    def image(self) -> np.ndarray:
        """`[H, W]` float32 in [-1, 1]: the slice clipped and scaled by its intensity window."""
        low, high = self.window
        gain = 2 / (high - low)
        image = self.codes.astype(np.float32)
        image *= np.float32(self.scale * gain)
        image += np.float32((self.offset - low) * gain - 1)
        return np.clip(image, -1, 1, out=image)


def quantise(array: np.ndarray, *, integer: bool) -> tuple[np.ndarray, float, float]:
    """Quantises intensities; returns codes (uint16), scale and offset.

    The scale is 1 if the source is `integer`; its values are rounded, because they may have been interpolated. Otherwise, and
    for a range wider than 65535, the scale is 1/65535 of the range.
    """
    low, high = float(array.min()), float(array.max())
    if integer and np.rint(high) - np.rint(low) <= LAST_CODE:
        scale, offset = 1.0, float(np.rint(low))
        return (np.rint(array) - offset).astype(np.uint16), scale, offset
    scale = (high - low) / LAST_CODE or 1.0
    return np.clip(np.rint((array - low) / scale), 0, LAST_CODE).astype(np.uint16), scale, low


@dataclass(frozen=True)
class _Header:
    """The header of a record: a slice's fields but its arrays, the shape of these, and the names of its masks."""

    subject: str
    volume: str
    index: int
    window: tuple[float, float]
    scale: float
    offset: float
    shape: tuple[int, int]
    masks: tuple[str, ...] = ()
    records_sha256: str = ""


def encode(record: SliceRecord) -> bytes:
    """Returns the record as bytes; `decode` is the inverse."""
    header: dict[str, Any] = {
        "subject": record.subject,
        "volume": record.volume,
        "index": record.index,
        "window": record.window,
        "scale": record.scale,
        "offset": record.offset,
        "shape": record.codes.shape,
    }
    masks = {name: mask for name in _MASKS if (mask := getattr(record, name)) is not None}
    header |= {"masks": list(masks)} if masks else {}
    header |= {"records_sha256": record.records_sha256} if record.records_sha256 else {}
    text = json.dumps(header, separators=(",", ":")).encode()
    packed = [np.packbits(mask).tobytes() for mask in masks.values()]
    return b"".join((_LENGTH.pack(len(text)), text, record.codes.astype("<u2").tobytes(), *packed))


def decode(data: bytes) -> SliceRecord:
    """Returns the record that `encode` made bytes of, with codes that are a read-only view. ValueError for other bytes."""
    try:
        end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
        header = vars(json_fields.build(_Header, json_fields.parse(data[_LENGTH.size : end])))
        shape, names = header.pop("shape"), header.pop("masks")
        count = math.prod(shape)
        if min(shape) < 0 or len(set(names) & set(_MASKS)) < len(names):
            raise ValueError(f"shape {shape}, masks {names}")
        codes = np.frombuffer(data, "<u2", count, end).reshape(shape)
        packed = np.frombuffer(data, np.uint8, offset=end + codes.nbytes).reshape(len(names), -(-count // 8))
        masks: dict[str, Any] = {
            name: np.unpackbits(bits, count=count).view(bool).reshape(shape) for name, bits in zip(names, packed, strict=True)
        }
        return SliceRecord(**header, codes=codes, **masks)
    except (struct.error, ValueError, OverflowError) as error:
        raise ValueError(f"not a record: {reason(error)}") from error


def digest(records: Iterable[SliceRecord]) -> str:
    """Returns the SHA-256 of records in order, each as `encode` writes it without a digest."""
    found = hashlib.sha256()
    for record in records:
        found.update(encode(replace(record, records_sha256="")))
    return found.hexdigest()


def with_digest(records: Iterable[SliceRecord]) -> list[SliceRecord]:
    """Returns the records of a volume, each with the digest of them all."""
    kept = list(records)
    found = digest(kept)
    return [replace(record, records_sha256=found) for record in kept]


def write_shard(path: Path, records: Iterable[SliceRecord]) -> None:
    """Writes the records in order; the shard appears under its name only when it is complete."""
    try:
        with files.atomic_file(path) as unfinished:
            writer = array_record_module.ArrayRecordWriter(str(unfinished), _SHARD_OPTIONS)
            for record in records:
                writer.write(encode(record))
            writer.close()  # a missing folder or a full disk may show only here
    except RuntimeError as error:
        raise UserError(f"{path}: cannot be written ({error}); free space or choose another output") from error


def read_shard(path: Path) -> Iterator[SliceRecord]:
    """Yields the records of one shard, in order. UserError if the shard is missing or damaged."""
    try:
        reader = array_record_module.ArrayRecordReader(str(path), "readahead_buffer_size:0")
        for index in range(reader.num_records()):
            yield decode(reader.read([index])[0])
        reader.close()  # raises if opening or reading failed
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path}: missing or damaged shard ({error}): prepare the data again") from error


def shard_paths(directory: Path | str, split: str) -> list[Path]:
    """The shards of a split, sorted. UserError if there are none, ValueError for an unknown split."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
    paths = sorted((Path(directory) / split).glob(f"*{SHARD_SUFFIX}"))
    if not paths:
        raise UserError(f"{Path(directory) / split}: holds no {SHARD_SUFFIX} files: prepare the data again")
    return paths
