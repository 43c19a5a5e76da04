"""Checks prepared data in full: every record is read, and compared with the digest that `prepare` wrote.

Training checks less, because this takes as long as reading all data once; see `slice_source.py`.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ipmedgan_jax.core.errors import UserError, reason
from ipmedgan_jax.data import dataset_file, prepared_folder, records
from ipmedgan_jax.data.dataset_file import PreparedVolume


@dataclass(frozen=True)
class Verification:
    """What a check found: the volumes and slices that were read, how many have digests, and a line for each damaged file."""

    volumes: int
    slices: int
    with_digests: int
    problems: tuple[str, ...]


def verify(directory: Path) -> Verification:
    """Reads every record of prepared data, and every receipt that is there. UserError if `dataset.json` cannot be read."""
    dataset = dataset_file.load_dataset(directory)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(lambda item: _problems_of_volume(directory, *item), dataset.volumes.items()))
    known = {_shard_of(directory, name, volume) for name, volume in dataset.volumes.items()}
    strays = [
        f"{path}: belongs to no volume of {dataset_file.DATASET_FILE}; delete this file"
        for split in records.SPLITS
        for path in sorted((directory / split).glob(f"*{records.SHARD_SUFFIX}"))
        if path not in known
    ]
    return Verification(
        volumes=len(dataset.volumes),
        slices=sum(dataset.slices.values()),
        with_digests=sum(bool(volume.settings_sha256) for volume in dataset.volumes.values()),
        problems=(*(line for lines in found for line in lines), *strays),
    )


def _problems_of_volume(directory: Path, name: str, volume: PreparedVolume) -> list[str]:
    shard = _shard_of(directory, name, volume)
    found = [f"{shard}: {problem}" for problem in [shard_problem(shard, name, volume)] if problem]
    receipt = prepared_folder.receipt_of(shard)
    try:
        if prepared_folder.parse_receipt(receipt) != volume:
            found.append(f"{receipt}: says otherwise than {dataset_file.DATASET_FILE}")
    except FileNotFoundError:
        pass  # it serves an interrupted preparation alone
    except (OSError, ValueError, UserError) as error:  # UserError: no regular file
        problem = reason(error).removeprefix(f"{receipt}: ")
        found.append(f"{receipt}: damaged ({problem})")
    return found


def _shard_of(directory: Path, name: str, volume: PreparedVolume) -> Path:
    return directory / volume.split / f"{name}{records.SHARD_SUFFIX}"


def shard_problem(shard: Path, name: str, volume: PreparedVolume) -> str:
    """Returns what is wrong with a volume's record file; empty if nothing is. A volume without slices must have no file."""
    if not volume.slices:
        return "is not expected, its volume has no slices" if shard.exists() else ""
    if not shard.is_file():
        return "is no file" if shard.exists() else "missing"
    seen: list[tuple[str, str]] = []

    def noted() -> Iterator[records.SliceRecord]:
        for record in records.read_shard(shard):
            seen.append((record.volume, record.records_sha256))
            yield record

    try:
        digest = records.digest(noted())
    except UserError as error:
        return str(error).removeprefix(f"{shard}: ").removesuffix(": prepare the data again")
    if len(seen) != volume.slices:
        return f"has {len(seen)} of {volume.slices} slices"
    if found := [other for other, _ in seen if other != name]:
        return f"holds slices of {found[0]}"
    if any(named != volume.records_sha256 for _, named in seen):
        return "is of another preparation"
    if volume.records_sha256 and digest != volume.records_sha256:
        return "its records are not those that were written"
    return ""
