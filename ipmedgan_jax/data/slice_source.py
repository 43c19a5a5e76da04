"""Random access to the prepared slices of a split, across its shards."""

import bisect
import itertools
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grain

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import dataset_file, records


class SliceSource:
    """A random-access source (Grain) of a split's slices, across its shards.

    At the start the number of records of each shard is checked, and that its first record is of this preparation. Each record
    is checked when it is read. `verification.py` reads all of them.

    Raises:
      UserError: a shard or a record is missing, damaged or of another preparation.
    """

    def __init__(self, directory: Path | str, split: str):
        dataset = dataset_file.load_dataset(directory)
        volumes = dataset.volumes
        self._paths = records.shard_paths(directory, split)
        counts = [volumes[path.stem].slices if path.stem in volumes else 0 for path in self._paths]
        self._digests = [volumes[path.stem].records_sha256 if path.stem in volumes else "" for path in self._paths]
        self._ends = list(itertools.accumulate(counts))
        expected = dataset.slices[split]
        _allow_open_files(len(self._paths))
        self._source = _open(self._paths)
        found = 0 if self._source is None else len(self._source)
        if found != expected or self._ends[-1] != expected:
            raise UserError(
                f"{self._first_damaged() or Path(directory) / split}: missing or damaged shard, {found} of {expected} slices "
                "found: prepare the data again"
            )
        for start, end in itertools.pairwise([0, *self._ends]):
            if end > start:
                self[start]

    def _first_damaged(self) -> Path | None:
        """The first shard that cannot be opened, or whose number of records differs from `dataset.json`."""
        starts = [0, *self._ends]
        for path, start, end in zip(self._paths, starts, self._ends, strict=False):
            source = _open([path])
            if source is None or len(source) != end - start:
                return path
        return None

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> records.SliceRecord:
        shard = bisect.bisect_right(self._ends, int(index))
        path = self._paths[shard]
        try:
            record = records.decode(self._source[int(index)])
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{path}: damaged ({error}): prepare the data again") from error
        _check_belongs(record, path, self._digests[shard])
        return record


def _check_belongs(record: records.SliceRecord, path: Path, digest: str) -> None:
    """UserError unless a record of the shard is of the volume that its name says, and of the records with this digest."""
    if record.volume != path.stem:
        raise UserError(f"{path}: holds slices of {record.volume}: prepare the data again")
    if record.records_sha256 != digest:
        raise UserError(f"{path}: is of another preparation than {dataset_file.DATASET_FILE}: prepare the data again")


def _open(paths: Sequence[Path]) -> Any:
    """The records of the shards in order; None if a shard cannot be opened."""
    try:
        source = grain.sources.ArrayRecordDataSource([str(path) for path in paths])
        len(source)  # opens them
        return source
    except RuntimeError:  # the library raises it for a truncated file
        return None


def _allow_open_files(count: int) -> None:
    """Raises this process's limit of open files, within the system's limit, because every shard stays open."""
    needed = count + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < needed:
            raise UserError(f"{count} shards to keep open, {hard} files allowed: raise the limit with ulimit -Hn")
