"""`dataset.json` of prepared data: the volumes, the settings they were made with, and digests that show a change.

Formats 1 and 2 have no digests. Since format 3 each volume has a digest of its records and one of its settings, and the file
has one of its fields (`json_fields.sealed`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ipmedgan_jax.core import files, json_fields, provenance
from ipmedgan_jax.core.errors import UserError, reason
from ipmedgan_jax.core.user_paths import is_utf8
from ipmedgan_jax.data.records import SPLITS
from ipmedgan_jax.imaging.contrasts import contrasts_of
from ipmedgan_jax.imaging.settings import ADDED_SETTINGS, PreparationSettings

FORMAT_VERSION = 3
DATASET_FILE = "dataset.json"

_FIRST_SEALED = 3
"""The first format that has digests."""


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
    records_sha256: str = ""  # digest of its records, see `records.digest`; empty in older preparations, and without slices
    settings_sha256: str = ""  # digest of the settings; empty in older preparations

    @classmethod
    def from_json(cls, fields: Any, where: str = "") -> "PreparedVolume":
        """Makes a volume from the object that JSON holds; ValueError if a field is missing, unknown or cannot be true."""
        volume = json_fields.build(cls, fields, where)
        if volume.split not in SPLITS:
            raise ValueError(f"{where}split: expected one of {', '.join(SPLITS)}, found {volume.split}")
        if volume.slices < 0 or volume.left_out < 0:
            raise ValueError(f"{where}slices: a number below 0")
        if not volume.window[0] < volume.window[1]:
            raise ValueError(f"{where}window: expected two rising numbers, found {volume.window}")
        return volume


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

    @property
    def fold(self) -> str:
        """The fold of a cross-validation that is the test split, such as `2 of 5`; empty for another split."""
        return self.settings.get("fold", "")

    @property
    def division(self) -> str:
        """A digest that all folds of one cross-validation share: of the files, their subjects and the other settings.

        Empty without folds.
        """
        if not self.fold:
            return ""
        settings = {name: value for name, value in self.settings.items() if name != "fold"}
        volumes = sorted((name, volume.subject, volume.sha256, volume.avoided) for name, volume in self.volumes.items())
        return hashlib.sha256(json.dumps([settings, volumes], sort_keys=True).encode()).hexdigest()[:16]

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


def digest_of_settings(settings: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of settings as they are recorded."""
    return json_fields.digest_of_fields(settings)


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
    files.write_json(dataset.directory / DATASET_FILE, json_fields.sealed(content))


@dataclass(frozen=True)
class _Content:
    """The fields of `dataset.json`."""

    format_version: int
    package_version: str
    modality: str
    image_size: int
    subjects: dict[str, tuple[str, ...]]
    slices: dict[str, int]
    settings: dict[str, Any]
    volumes: dict[str, Any]
    provenance: dict[str, Any] = field(default_factory=dict)
    fields_sha256: str = ""


def load_dataset(directory: Path | str) -> Dataset:
    """Reads `dataset.json`. UserError if it is missing, damaged or changed, or has another format."""
    path = Path(directory) / DATASET_FILE
    if not is_utf8(path):
        raise UserError(f"{directory}: its name is not UTF-8, as the records' library needs; rename the folder")
    if not path.is_file():
        raise UserError(f"{path}: not found; data.dir must name a folder that python -m ipmedgan_jax.prepare finished")
    try:
        fields = json_fields.read(path)
        version = fields.get("format_version")
        if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
            advice = "prepare the data again"
            if type(version) is int and version > FORMAT_VERSION:
                advice = "written by a newer version; update the package"
            raise UserError(f"{path}: expected a format of 1 to {FORMAT_VERSION}, got {version!r}: {advice}")
        json_fields.check_seal(fields, required=version >= _FIRST_SEALED)
        return _dataset(Path(directory), json_fields.build(_Content, fields))
    except (OSError, ValueError, UserError) as error:
        if isinstance(error, UserError) and str(error).startswith(str(path)):
            raise
        raise UserError(f"{path}: damaged ({reason(error)}): prepare the data again") from error


def _dataset(directory: Path, content: _Content) -> Dataset:
    """Returns the dataset; ValueError or UserError if a value is out of range or contradicts another."""
    settings = json_fields.build(PreparationSettings, ADDED_SETTINGS | content.settings, "settings.")
    if (settings.modality, settings.image_size) != (content.modality, content.image_size):
        raise ValueError("modality and image_size differ from those of the settings")
    volumes = {name: PreparedVolume.from_json(fields, f"volumes.{name}.") for name, fields in sorted(content.volumes.items())}
    prepared_with = digest_of_settings(content.settings)
    for name, volume in volumes.items():
        if volume.settings_sha256 not in ("", prepared_with):
            raise ValueError(f"volume {name} was prepared with other settings")
    return Dataset(directory, content.modality, content.image_size, volumes, content.settings, content.package_version)
