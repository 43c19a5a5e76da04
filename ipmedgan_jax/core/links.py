"""Symbolic links in folders that the package writes to: none is followed to another place.

A file that is replaced atomically (`files.atomic_file`) needs no check, because a rename replaces the link itself.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from ipmedgan_jax.core.errors import UserError


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Raises UserError if one of these files or folders in `folder` is a link; the folder itself may be one."""
    for name in names:
        if (folder / name).is_symlink():
            raise UserError(_refusal(folder / name))


def open_own_file(path: Path) -> IO[str]:
    """Opens a text file for reading and writing; creates it if it is missing, keeps its content if it is not.

    Raises UserError if the name is that of a link, a pipe or anything else but a file; OSError if it cannot be opened.
    """
    if path.is_symlink():
        raise UserError(_refusal(path))
    # O_NOFOLLOW: a link may appear after the check above. O_NONBLOCK: a pipe must not block.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path}: not a file; move it away")
    return os.fdopen(descriptor, "r+", encoding="utf-8", errors="replace")


def _refusal(path: Path) -> str:
    return f"{path}: a link to {path.readlink()}, where nothing may be written; replace it by what it links to, or remove it"
