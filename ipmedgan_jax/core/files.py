"""Atomic writes: a file or a folder appears under its name only when complete."""

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
        unfinished.replace(path)
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
        unfinished.replace(path)
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
        os.link(unfinished, path)  # unlike a rename, this fails if the file exists
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if path.exists():
            return False
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return True


def write_text(path: Path, text: str) -> None:
    """Writes text as UTF-8 atomically; bytes of file names that are not UTF-8 are written as `\\udce9`."""
    with atomic_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")
