"""Prepared data on disk: one record per slice, one ArrayRecord shard per volume, and `dataset.json`, which describes them.

A record is the length of its header (uint32), the header (JSON), the slice's codes (uint16, row by row, little-endian), and
its masks, one bit a pixel, in the order in which the header names them. Records of format 1 have no masks.
"""

import hashlib
import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python import array_record_module

from ipmedgan_jax.core import files, provenance
from ipmedgan_jax.core.errors import UserError, reason
from ipmedgan_jax.core.user_paths import is_utf8
from ipmedgan_jax.imaging.contrasts import contrasts_of

SPLITS = ("train", "validation", "test")
FORMAT_VERSION = 2
DATASET_FILE = "dataset.json"
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


def encode(record: SliceRecord) -> bytes:
    """Returns the record as bytes; `decode` is the inverse."""
    header = {
        "subject": record.subject,
        "volume": record.volume,
        "index": record.index,
        "window": record.window,
        "scale": record.scale,
        "offset": record.offset,
        "shape": record.codes.shape,
    }
    masks = {name: mask for name in _MASKS if (mask := getattr(record, name)) is not None}
    text = json.dumps(header | ({"masks": list(masks)} if masks else {}), separators=(",", ":")).encode()
    packed = [np.packbits(mask).tobytes() for mask in masks.values()]
    return b"".join((_LENGTH.pack(len(text)), text, record.codes.astype("<u2").tobytes(), *packed))


def decode(data: bytes) -> SliceRecord:
    """Returns the record that `encode` made bytes of, with codes that are a read-only view. ValueError for other bytes."""
    try:
        end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
        header = json.loads(data[_LENGTH.size : end])
        shape, names = header.pop("shape"), header.pop("masks", [])
        count = math.prod(shape)
        codes = np.frombuffer(data, "<u2", count, end).reshape(shape)
        packed = np.frombuffer(data, np.uint8, offset=end + codes.nbytes).reshape(len(names), -(-count // 8))
        masks: dict[str, Any] = {
            name: np.unpackbits(bits, count=count).view(bool).reshape(shape) for name, bits in zip(names, packed, strict=True)
        }
        return SliceRecord(**header | {"window": tuple(header["window"])}, codes=codes, **masks)
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"not a record: {error}") from error


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
    reader = array_record_module.ArrayRecordReader(str(path), "readahead_buffer_size:0")
    try:
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


@dataclass(frozen=True)
class PreparedVolume:
    """One source file, and the records made from it."""

    subject: str
    split: str
    source: str
    sha256: str
    orientation: str  # of the source
    source_spacing_mm: tuple[float, float, float]  # along X, Y, Z
    spacing_mm: tuple[float, float, float]  # of the slices: columns, rows, slices
    window: tuple[float, float]  # intensities shown as -1 and 1
    slices: int  # number of slices kept as records
    left_out: int  # number of slices left out because they have too little foreground
    voxels_sha256: str = ""  # digest of the source's voxels, whatever their file; empty in older preparations
    avoided: str = ""  # digest of the masks that holes keep clear of; empty without masks

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "PreparedVolume":
        """Makes a volume from the fields as JSON holds them, with lists for tuples."""
        values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
        return cls(**values)


@dataclass(frozen=True)
class Dataset:
    """The content of `dataset.json`."""

    directory: Path
    modality: str
    image_size: int
    volumes: dict[str, PreparedVolume]  # by volume id, the name of its shard
    settings: dict[str, Any]  # of the preparation
    package_version: str

    @property
    def subjects(self) -> dict[str, tuple[str, ...]]:
        """Subjects per split, sorted."""
        return {
            split: tuple(sorted({volume.subject for volume in self.volumes.values() if volume.split == split}))
            for split in SPLITS
        }

    @property
    def slices(self) -> dict[str, int]:
        """Slices per split."""
        return {split: sum(volume.slices for volume in self.volumes.values() if volume.split == split) for split in SPLITS}

    @property
    def keeps_whole_slices(self) -> bool:
        """Whether slices have their own shapes, for networks that see windows of `image_size` pixels."""
        return self.settings.get("fit") == "window"

    @property
    def has_avoided(self) -> bool:
        """Whether some records have pixels that holes keep clear of."""
        return any(volume.avoided for volume in self.volumes.values())

    def training_data(self) -> dict[str, Any]:
        """Describes the scans of the training split, so that a scan to fill can be compared with them."""
        volumes = [volume for volume in self.volumes.values() if volume.split == "train" and volume.slices]
        return {
            "modality": self.modality,
            "subjects": len(self.subjects["train"]),
            "volumes": len(volumes),
            "slices": self.slices["train"],
            "contrasts": contrasts_of(Path(volume.source) for volume in volumes),
            "lowest_spacing_mm": np.min([volume.source_spacing_mm for volume in volumes], axis=0).tolist(),
            "highest_spacing_mm": np.max([volume.source_spacing_mm for volume in volumes], axis=0).tolist(),
            "preparation": self.settings,
            "fingerprint": self.fingerprint,
        }

    @property
    def fingerprint(self) -> str:
        """A digest of the source files, their masks, their splits and the settings; independent of the folder's path."""
        volumes = sorted(
            (name, volume.split, volume.sha256, *([volume.avoided] if volume.avoided else []))
            for name, volume in self.volumes.items()
        )
        return hashlib.sha256(json.dumps([self.settings, volumes], sort_keys=True).encode()).hexdigest()[:16]


def save_dataset(dataset: Dataset) -> None:
    """Writes `dataset.json` atomically. Its subjects and slices per split are for readers; loading counts them again."""
    content = {
        "format_version": FORMAT_VERSION,
        "package_version": dataset.package_version,
        provenance.KEY: provenance.provenance(),
        "modality": dataset.modality,
        "image_size": dataset.image_size,
        "subjects": dataset.subjects,
        "slices": dataset.slices,
        "settings": dataset.settings,
        "volumes": {name: asdict(volume) for name, volume in sorted(dataset.volumes.items())},
    }
    files.write_json(dataset.directory / DATASET_FILE, content)


def load_dataset(directory: Path | str) -> Dataset:
    """Reads `dataset.json`. UserError if it is missing, damaged or has another format."""
    path = Path(directory) / DATASET_FILE
    if not is_utf8(path):
        raise UserError(f"{directory}: its name is not UTF-8, as the records' library needs; rename the folder")
    if not path.is_file():
        raise UserError(f"{path}: not found; data.dir must name a folder that python -m ipmedgan_jax.prepare finished")
    try:
        content = json.loads(path.read_text())
        version = content["format_version"]
        if version not in range(1, FORMAT_VERSION + 1):
            raise UserError(f"{path}: expected a format of 1 to {FORMAT_VERSION}, got {version!r}: prepare the data again")
        return Dataset(
            directory=Path(directory),
            modality=content["modality"],
            image_size=content["image_size"],
            volumes={name: PreparedVolume.from_json(fields) for name, fields in content["volumes"].items()},
            settings=content["settings"],
            package_version=content["package_version"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged ({reason(error)}): prepare the data again") from error
