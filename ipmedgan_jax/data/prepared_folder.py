"""The output folder of a preparation, which several processes can fill without a connection.

It holds record files `<split>/<volume id>.arrayrecord`. Beside each lies a receipt, `<volume id>.json`, which is written
after it. A volume whose receipt names the same source (by SHA-256) is not made again. `dataset.json.partial` holds the
settings until all volumes are complete and `dataset.json` is written. All JSON files have a digest of their fields.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from absl import logging

import ipmedgan_jax
from ipmedgan_jax.core import files, json_fields
from ipmedgan_jax.core.errors import UserError, reason
from ipmedgan_jax.core.ranks import Shard
from ipmedgan_jax.core.user_paths import is_utf8
from ipmedgan_jax.data import dataset_file, records, source_checks
from ipmedgan_jax.data.dataset_file import PreparedVolume
from ipmedgan_jax.imaging.settings import ADDED_SETTINGS, PreparationSettings

PARTIAL_FILE = dataset_file.DATASET_FILE + ".partial"


@dataclass(frozen=True)
class Source:
    """One input file, with its subject, split and volume id."""

    path: Path
    subject: str
    split: str
    name: str  # volume id
    avoid: tuple[Path, ...] = ()  # masks of what holes keep clear of
    avoided: str = ""  # digest of these masks

    def record_file(self, directory: Path) -> Path:
        """Returns the volume's record file in the output folder."""
        return directory / self.split / (self.name + records.SHARD_SUFFIX)


def open_folder(settings: PreparationSettings, sources: Sequence[Source], directory: Path, shard: Shard) -> None:
    """Makes the folders and writes the settings there before any record, so that later processes can compare theirs.

    UserError if the folder holds another preparation, if another shard was given other files, or if its name is not UTF-8.
    """
    if not is_utf8(directory):
        raise UserError(f"{directory}: its name is not UTF-8, as the records' library needs; choose another --output")
    directory.mkdir(parents=True, exist_ok=True)
    _record_settings(settings, sources, directory, shard)
    for split in records.SPLITS:
        (directory / split).mkdir(exist_ok=True)


def _record_settings(settings: PreparationSettings, sources: Sequence[Source], directory: Path, shard: Shard) -> None:
    if _is_finished(settings, sources, directory):
        return
    partial = directory / PARTIAL_FILE
    # The checks are in this order because records are written after the settings, and the settings are removed after
    # `dataset.json` is written.
    if (
        any(directory.glob(f"*/*{records.SHARD_SUFFIX}"))
        and not partial.is_file()
        and not (directory / dataset_file.DATASET_FILE).is_file()
        and not _has_receipt(settings, directory)
    ):
        raise UserError(f"{directory}: holds records of unknown settings; choose another output, or delete it")
    content = json_fields.sealed(settings.recorded() | {"files": _digest(sources)})
    if files.create_json(partial, content):
        return
    earlier = _read_settings(settings, partial)
    if earlier is None:
        if not _is_finished(settings, sources, directory):  # else another process finished it meanwhile
            files.write_json(partial, content)
        return
    _check_same(settings, earlier, directory)
    if shard.count == 1:
        files.write_json(partial, content)
    elif earlier.get("files", content["files"]) != content["files"]:
        raise UserError(
            f"{directory}: is being prepared from other files than these {len(sources)}: give all shards the same --input, "
            "or prepare these without --shard"
        )


def _is_finished(settings: PreparationSettings, sources: Sequence[Source], directory: Path) -> bool:
    """Whether the folder holds a finished dataset of these settings and volumes; UserError for one of others.

    A damaged `dataset.json` is set aside, because it can be made again from the receipts.
    """
    path = directory / dataset_file.DATASET_FILE
    if not path.is_file():
        return False
    try:
        finished = dataset_file.load_dataset(directory)
    except UserError as error:
        _set_aside(settings, path, str(error).removesuffix(": prepare the data again"))
        return False
    _check_same(settings, finished.settings, directory)
    if set(finished.volumes) != {source.name for source in sources}:
        raise UserError(
            f"{directory}: holds a finished dataset of {len(finished.volumes)} volumes, not the same as the "
            f"{len(sources)} given; choose another output, or delete it"
        )
    for source in sources:
        if finished.volumes[source.name].avoided != source.avoided:
            raise UserError(
                f"{directory}: {source.name} was prepared with other masks of holes.avoid, or none; choose another output, "
                "or delete it"
            )
    return True


def _set_aside(settings: PreparationSettings, path: Path, problem: str) -> None:
    """Renames a damaged file of the output folder; UserError unless a receipt shows that the folder is of these settings."""
    directory = path.parent
    if not _has_receipt(settings, directory):
        raise UserError(f"{problem}; delete {directory} first")
    aside = path.with_name(f"{path.name}.damaged")
    with contextlib.suppress(FileNotFoundError):  # another process was first
        path.replace(aside)
    logging.warning("%s; set aside as %s, and made again", problem, aside.name)


def _has_receipt(settings: PreparationSettings, directory: Path) -> bool:
    """Whether some volume in the folder was prepared with these settings."""
    digest = dataset_file.digest_of_settings(settings.recorded())
    paths = (path for split in records.SPLITS for path in (directory / split).glob("*.json"))
    return any((receipt := _volume_of(path)) is not None and receipt.settings_sha256 == digest for path in paths)


def _read_settings(settings: PreparationSettings, partial: Path) -> dict[str, Any] | None:
    """Returns the settings of an unfinished folder; None if the file is gone, or was damaged and is set aside."""
    try:
        earlier = json_fields.read(partial)
        json_fields.check_seal(earlier)
        recorded = {name: value for name, value in earlier.items() if name not in (json_fields.SEAL, "files")}
        json_fields.build(PreparationSettings, ADDED_SETTINGS | recorded)
        return earlier
    except FileNotFoundError:
        return None
    except (ValueError, UserError) as error:  # UserError: no regular file
        problem = reason(error).removeprefix(f"{partial}: ")
        _set_aside(settings, partial, f"{partial}: damaged ({problem})")
        return None


def _check_same(settings: PreparationSettings, earlier: dict, directory: Path) -> None:
    before, now = (ADDED_SETTINGS | recorded for recorded in (earlier, settings.recorded()))
    for name, value in now.items():
        if before.get(name) != value:
            raise UserError(
                f"{directory}: was prepared with {name} {before.get(name)!r}, now it is {value!r}; "
                "choose another output, or delete it"
            )


def _digest(sources: Sequence[Source]) -> str:
    """Returns a digest of volume ids, splits, subjects and masks; it does not depend on the folders of the files."""
    names = sorted(
        (source.name, source.split, source.subject, *([source.avoided] if source.avoided else [])) for source in sources
    )
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]


def write_receipt(volume: PreparedVolume, shard: Path) -> None:
    """Writes the receipt of a volume beside its record file."""
    files.write_json(receipt_of(shard), json_fields.sealed(asdict(volume)))


def receipt_of(shard: Path) -> Path:
    """Returns the receipt that belongs to a record file."""
    return shard.with_suffix(".json")


def read_receipt(settings: PreparationSettings, source: Source, directory: Path) -> PreparedVolume | None:
    """Returns what the receipt says of a source's volume.

    None if the receipt or the record file is missing or unusable, or of other settings, another subject, another split,
    or other masks to avoid.
    """
    path = source.record_file(directory)
    volume = _volume_of(receipt_of(path))
    belongs_to = (source.subject, source.split, source.avoided)
    if volume is None or (volume.subject, volume.split, volume.avoided) != belongs_to:
        return None
    if volume.settings_sha256 not in ("", dataset_file.digest_of_settings(settings.recorded())):
        return None
    return volume if path.is_file() == (volume.slices > 0) else None


def _volume_of(path: Path) -> PreparedVolume | None:
    """Returns the content of a receipt; None if it is missing or damaged."""
    try:
        return parse_receipt(path)
    except (FileNotFoundError, ValueError, UserError):
        return None


def parse_receipt(path: Path) -> PreparedVolume:
    """Reads a receipt; ValueError if it is damaged, UserError if it is no file. Those of earlier versions have no digests."""
    fields = json_fields.read(path)
    json_fields.check_seal(fields, required="records_sha256" in fields)
    fields.pop(json_fields.SEAL, None)
    return PreparedVolume.from_json(fields)


def finish(
    settings: PreparationSettings,
    sources: Sequence[Source],
    volumes: Mapping[str, PreparedVolume],
    directory: Path,
) -> None:
    """Writes `dataset.json` for `volumes`, by volume id; two processes that do so at once write the same volumes."""
    dataset = dataset_file.Dataset(
        directory=directory,
        modality=settings.modality,
        image_size=settings.image_size,
        volumes=dict(volumes),
        settings=settings.recorded(),
        package_version=ipmedgan_jax.__version__,
    )
    _check_slices(dataset)
    source_checks.warn_of_copies(dataset.volumes.values())
    _remove_strays(sources, directory)
    dataset_file.save_dataset(dataset)
    (directory / PARTIAL_FILE).unlink(missing_ok=True)


def _remove_strays(sources: Sequence[Source], directory: Path) -> None:
    """Removes records left by an interrupted preparation of other files, whose subjects may now be in other splits."""
    expected = {source.record_file(directory) for source in sources}
    for split in records.SPLITS:
        for path in (directory / split).glob(f"*{records.SHARD_SUFFIX}"):
            if path not in expected:
                path.unlink(missing_ok=True)
                receipt_of(path).unlink(missing_ok=True)


def _check_slices(dataset: dataset_file.Dataset) -> None:
    for split, count in dataset.slices.items():
        if not count:
            raise UserError(
                f"{dataset.directory}: no slice of the {split} split has data.min_foreground "
                f"({dataset.settings['min_foreground']:g}) of foreground; lower it, or data.foreground_level"
            )
