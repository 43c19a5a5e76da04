"""Locks for moments in which one process reads a file, changes its content and writes it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from absl import logging

from ipmedgan_jax.core import links


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits until no other process holds the lock of a file's name, and holds it meanwhile.

    The lock is a hidden file beside `path`, which is removed at the end. That of a killed process locks nothing. On a file
    system without locks a warning says so. OSError if the lock file cannot be created; UserError if its name is that of a
    link.
    """
    lock = path.with_name(f".{path.name}.lock")
    while True:
        with links.open_own_file(lock) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                logging.warning(
                    "%s: this file system has no locks (%s); start no second process that writes there",
                    *(path, error.strerror),
                )
            if not _has_name(file, lock):  # the process before removed it
                continue
            try:
                yield
            finally:
                with suppress(OSError):
                    lock.unlink(missing_ok=True)
            return


def _has_name(file: IO[str], path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    return False
