"""Atomic writes: a file or a folder appears under its name only when complete and on the disk.

The content is synced to the disk before the rename, and the folder that holds the name after it. So a name that was there
before a power failure has its content afterwards, as far as the disk tells the truth about what it has written.
"""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


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
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields an empty temporary folder beside `path`; on exit it is renamed to `path`, unless an exception was raised.

    `path` must not exist. The unfinished folder of a killed process is removed first.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        yield unfinished
        sync_tree(unfinished)
        unfinished.replace(path)
        sync(path.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


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
