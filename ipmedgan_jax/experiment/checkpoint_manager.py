"""Orbax's manager of a folder of checkpoints, opened so that damage in it stops nothing and each write reaches the disk."""

import asyncio
import contextlib
import datetime
import logging as python_logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from orbax.checkpoint import checkpoint_managers as policies

from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import UserError

WRITE_TIMEOUT_S = 600
"""Seconds that writing a checkpoint may take. If one of several processes cannot write, the others wait no longer."""

WILDCARDS = frozenset("*?[]\\")
"""Characters for which Orbax takes the path of a checkpoint for a pattern of paths, and then misses or mixes up its parts."""


class SyncedPath(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """Orbax's unfinished folder, whose files are on the disk before it is renamed, and whose new name is before it counts.

    TensorStore syncs the arrays, but nothing syncs the other files and the folders.
    """

    async def finalize(self) -> None:
        unfinished, final = Path(self.get()), Path(self.get_final())
        if ocp.path.atomicity.TMP_DIR_SUFFIX in final.parent.name:  # an item; it is synced with its checkpoint
            await super().finalize()
            return
        await asyncio.to_thread(files.sync_tree, unfinished)
        await super().finalize()  # writes small files that name the time of the commit, and renames
        for path in (*filter(Path.is_file, final.iterdir()), final, final.parent):
            await asyncio.to_thread(files.sync, path)


class _StepPath(ocp.path.step.Metadata):
    """A step's folder. Its time is that of the folder: Orbax's own file with the time may be damaged."""

    @property
    def commit_timestamp(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.path.stat().mtime, tz=datetime.UTC)


class StepNames(ocp.path.step.NameFormat):
    """Finds the folders whose names are whole numbers, whatever they hold, except the steps in `hidden`."""

    def __init__(self) -> None:
        self.hidden: set[int] = set()

    def build_name(self, step: int) -> str:
        return str(step)

    def find_all(self, base_path: epath.PathLike) -> Iterator[_StepPath]:
        for path in epath.Path(base_path).iterdir():
            if re.fullmatch("0|[1-9][0-9]*", path.name) and int(path.name) not in self.hidden and path.is_dir():
                yield _StepPath(int(path.name), path)

    def find_step(self, base_path: epath.PathLike, step: int) -> _StepPath:
        path = epath.Path(base_path) / self.build_name(step)
        if not path.is_dir():
            raise ValueError(f"{path}: not found")
        return _StepPath(step, path)


class Keep:
    """Preserves the steps for which `keep` is true."""

    def __init__(self, keep: Callable[[int], bool]):
        self._keep = keep

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: policies.preservation_policy.PreservationContext
    ) -> Sequence[bool]:
        return [self._keep(checkpoint.step) for checkpoint in checkpoints]


class Manager(ocp.CheckpointManager):
    """Orbax's manager, which asks `read_scores` for a step's scores instead of reading them itself."""

    def __init__(self, directory: Path, options: Any, read_scores: Callable[[int], Mapping[str, float] | None]):
        self._read_scores = read_scores
        super().__init__(directory, options=options)

    def metrics(self, step: int) -> Mapping[str, float] | None:
        return self._read_scores(step)


@contextlib.contextmanager
def plain_path(directory: Path) -> Iterator[Path]:
    """Yields a path of the folder without `WILDCARDS`: its own, or that of a temporary link to it."""
    if not WILDCARDS & set(str(directory)):
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="ipmedgan-") as folder:
        if WILDCARDS & set(folder):
            raise UserError(f"{directory}: its name and that of TMPDIR have one of * ? [ ] \\ in them; rename one of them")
        link = Path(folder) / "checkpoints"
        link.symlink_to(directory)
        yield link


@contextlib.contextmanager
def without_orbax_tracebacks() -> Iterator[None]:
    """Keeps Orbax from printing the exceptions of a write; it raises them too, and they are reported once."""

    def is_other(record: python_logging.LogRecord) -> bool:
        return not (record.exc_info and f"{os.sep}orbax{os.sep}" in record.pathname)

    logger = logging.get_absl_logger()
    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


@contextlib.contextmanager
def watch_for_unmerged() -> Iterator[list[str]]:
    """Yields a list that receives Orbax's warnings that it wrote a checkpoint without the index of its arrays."""
    found: list[str] = []

    class Watch(python_logging.Handler):
        def emit(self, record: python_logging.LogRecord) -> None:
            if "Skipping merge" in str(record.msg):
                found.append(" ".join(record.getMessage().split()))

    watch = Watch(python_logging.WARNING)
    logging.get_absl_logger().addHandler(watch)
    try:
        yield found
    finally:
        logging.get_absl_logger().removeHandler(watch)
