"""Atomic writes: a file or a folder appears under its name only when complete and on the disk.

The content is synced to the disk before the rename, and the folder that holds the name after it. So a name that was there
before a power failure has its content afterwards, as far as the disk tells the truth about what it has written.
"""

import errno
import fcntl
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ipmedgan_jax.core.errors import UserError


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on exit the file written there replaces `path`, unless an exception was raised.

    The temporary name is unique to the process. If several processes write one file at once, the last complete one stays.
    """
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.unfinished")
    try:
        yield unfinished
        sync(unfinished)
        unfinished.replace(path)
        sync(path.parent)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yields an empty temporary folder; on exit it is renamed to `path`, unless an exception was raised.

    Several processes may write one folder at once: each has a temporary folder of its own. What a killed process left behind
    is removed by the next one that writes this folder.

    Args:
      path: the folder to write.
      replace: whether a folder that exists by then is replaced. Otherwise it stays, and the error is a UserError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_behind(path)
    with _own_place(path) as place:
        unfinished = place / "content"
        unfinished.mkdir()
        yield unfinished
        sync_tree(unfinished)
        _move(unfinished, path, place if replace else None)
        sync(path.parent)


_LOCK, _TRIES = "lock", 10


@contextmanager
def _own_place(path: Path) -> Iterator[Path]:
    """Yields a new folder beside `path`, in which this process holds a lock; removes it afterwards."""
    place = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.unfinished")
    place.mkdir()
    try:
        with (place / f"{_LOCK}.new").open("x") as lock:
            with suppress(OSError):  # a file system without locks: nobody can tell a killed process from a living one
                fcntl.flock(lock, fcntl.LOCK_EX)
                Path(lock.name).rename(place / _LOCK)  # it has its name only when locked
            yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _remove_left_behind(path: Path) -> None:
    """Removes the temporary folders of `path` whose processes were killed, so that they hold their locks no more."""
    own = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.unfinished")
    for place in path.parent.iterdir():
        if own.fullmatch(place.name):
            with suppress(OSError):
                with (place / _LOCK).open("r+") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(place, ignore_errors=True)


def _move(folder: Path, path: Path, aside: Path | None) -> None:
    """Gives a folder its name. What has it goes into the folder `aside`; without one, that is a UserError."""
    for attempt in range(_TRIES if aside else 1):  # another process may take the name in between
        if aside:
            with suppress(FileNotFoundError):
                path.replace(aside / f"replaced-{attempt}")
        try:
            folder.replace(path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
    raise UserError(
        f"{path}: exists by now, written by another process; it stays, and this one's work is dropped; choose another name"
    )


def write_json(path: Path, content: Any) -> None:
    """Writes JSON atomically."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def create_json(path: Path, content: Any) -> bool:
    """Writes JSON atomically if the file does not exist; returns whether it did. One of several processes succeeds."""
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.unfinished")
    try:
        unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        sync(unfinished)
        try:
            os.link(unfinished, path)  # unlike a rename, this fails if the file exists
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            if path.exists():
                return False
            unfinished.replace(path)
        sync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)
    return True


def write_text(path: Path, text: str) -> None:
    """Writes text as UTF-8 atomically; bytes of file names that are not UTF-8 are written as `\\udce9`."""
    with atomic_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")


_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EROFS, errno.EACCES)
"""Errors where a file or a folder cannot be opened for syncing, or synced; it is as safe as its file system makes it."""


def sync(path: Path) -> None:
    """Waits until a file's content, or the names in a folder, are on the disk. OSError if the disk reports an error."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def sync_tree(folder: Path) -> None:
    """Waits until all files and folders in a folder, and itself, are on the disk. OSError as `sync` raises it."""
    for parent, _, names in os.walk(folder):
        for name in names:
            if not (path := Path(parent, name)).is_symlink():
                sync(path)
        sync(Path(parent))
