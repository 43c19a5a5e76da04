"""The table of all crafted weight files, and what they share."""

import zipfile
from collections.abc import Callable
from pathlib import Path

BOMB = 128 * 2**20
"""Bytes that a bomb unpacks to, or more."""

CRAFTED: dict[str, Callable[[Path], object]] = {}
"""A function for each file, which writes it, by name."""


def crafted(write: Callable[[Path], object]) -> Callable[[Path], object]:
    """Adds a function to `CRAFTED`."""
    CRAFTED[write.__name__] = write
    return write


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    """Writes a zip archive of these members."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
