"""Files and folders that appear under their names when they are whole, or not at all."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; what is written there takes the place of `path`, unless something is raised."""
    unfinished = _beside(path)
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """The same for a folder, which is made, empty; `path` must not exist. What a killed process left behind goes."""
    unfinished = _beside(path)
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        yield unfinished
        unfinished.replace(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.unfinished")


def write_json(path: Path, content: Any) -> None:
    """Writes JSON so that the file is either the old or the new one, never a part."""
    with atomic_file(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes beside `path` and moves into place, so that no reader meets half a file."""
    with atomic_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
