"""The output folder of a preparation, which several processes can fill without a connection.

It holds record files `<split>/<volume id>.arrayrecord`. Beside each lies a receipt, `<volume id>.json`, which is written
after it. A volume whose receipt names the same source (by SHA-256) is not made again. `dataset.json.partial` holds the
settings until all volumes are complete and `dataset.json` is written.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ipmedgan_jax
from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.ranks import Shard
from ipmedgan_jax.core.user_paths import is_utf8
from ipmedgan_jax.data import records, source_checks
from ipmedgan_jax.imaging.settings import ADDED_SETTINGS, PreparationSettings

PARTIAL_FILE = records.DATASET_FILE + ".partial"


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
    if _is_finished(directory):
        _check_finished(settings, sources, directory)
        return
    partial = directory / PARTIAL_FILE
    # The checks are in this order because records are written after the settings, and the settings are removed after
    # `dataset.json` is written.
    if any(directory.glob(f"*/*{records.SHARD_SUFFIX}")) and not partial.is_file() and not _is_finished(directory):
        raise UserError(f"{directory}: holds records of unknown settings; choose another output, or delete it")
    content = settings.recorded() | {"files": _digest(sources)}
    if files.create_json(partial, content):
        return
    earlier = _read_json(partial)
    if not earlier and _is_finished(directory):  # another process finished it meanwhile
        _check_finished(settings, sources, directory)
        return
    _check_same(settings, earlier, directory)
    if shard.count == 1:
        files.write_json(partial, content)
    elif earlier.get("files", content["files"]) != content["files"]:
        raise UserError(
            f"{directory}: is being prepared from other files than these {len(sources)}: give all shards the same --input, "
            "or prepare these without --shard"
        )


def _is_finished(directory: Path) -> bool:
    return (directory / records.DATASET_FILE).is_file()


def _check_finished(settings: PreparationSettings, sources: Sequence[Source], directory: Path) -> None:
    """UserError unless the finished dataset has these settings and volumes."""
    try:
        finished = records.load_dataset(directory)
    except UserError as error:
        raise UserError(f"{error}; delete {directory} first") from error
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


def read_receipt(source: Source, directory: Path) -> records.PreparedVolume | None:
    """Reads what the receipt says of a source's volume; None if the receipt or the record file is missing or unusable."""
    path = source.record_file(directory)
    try:
        volume = records.PreparedVolume.from_json(_read_json(path.with_suffix(".json")))
    except TypeError:
        return None
    return volume if volume.subject == source.subject and path.is_file() == (volume.slices > 0) else None


def _read_json(path: Path) -> dict:
    """Reads a JSON object; returns an empty one if the file is missing or damaged."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def finish(
    settings: PreparationSettings,
    sources: Sequence[Source],
    volumes: Mapping[str, records.PreparedVolume],
    directory: Path,
) -> None:
    """Writes `dataset.json` for `volumes`, by volume id; two processes that do so at once write the same volumes."""
    dataset = records.Dataset(
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
    records.save_dataset(dataset)
    (directory / PARTIAL_FILE).unlink(missing_ok=True)


def _remove_strays(sources: Sequence[Source], directory: Path) -> None:
    """Removes records left by an interrupted preparation of other files, whose subjects may now be in other splits."""
    expected = {source.record_file(directory) for source in sources}
    for split in records.SPLITS:
        for path in (directory / split).glob(f"*{records.SHARD_SUFFIX}"):
            if path not in expected:
                path.unlink(missing_ok=True)
                path.with_suffix(".json").unlink(missing_ok=True)


def _check_slices(dataset: records.Dataset) -> None:
    for split, count in dataset.slices.items():
        if not count:
            raise UserError(
                f"{dataset.directory}: no slice of the {split} split has data.min_foreground "
                f"({dataset.settings['min_foreground']:g}) of foreground; lower it, or data.foreground_level"
            )
