"""The lock of a run's folder: held while a process trains there, with the name of its holder; empty after it ended."""

import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO

from absl import logging

from ipmedgan_jax.core import json_fields, links, regular_files
from ipmedgan_jax.core.errors import UserError

LOCK_FILE = "lock"


def new_holder() -> str:
    """Returns the lock file's content for this process: a token that no other start has, host, process and time."""
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    holder = {"token": secrets.token_hex(8), "host": socket.gethostname(), "process": os.getpid(), "started": started}
    return json.dumps(holder)


@contextmanager
def lock(workdir: Path, holder: str, wait_s: float) -> Iterator[IO[str]]:
    """Locks the folder for the block, yields the file, and writes the holder to it; empties the file afterwards.

    Args:
      wait_s: seconds to wait for another holder. A file server keeps the lock of a machine that died for some time.

    Raises UserError if another process holds the lock, or if the file is a link; OSError if it cannot be written.
    """
    with links.open_own_file(workdir / LOCK_FILE) as file:
        _acquire(file, workdir, time.monotonic() + wait_s)
        file.truncate(0)
        file.write(holder)
        file.flush()
        try:
            yield file
        finally:
            _empty(file, holder)


def _empty(file: IO[str], holder: str) -> None:
    """Removes the holder from its file; where there are no locks, another process may have written its own name there."""
    with suppress(OSError, ValueError):
        file.seek(0)
        if file.read() == holder:
            file.truncate(0)


def check_place(file: IO[str], workdir: Path, saved: int | None) -> None:
    """Raises UserError unless the folder's lock is still the file that this process holds.

    Another one, or none, means that the folder was moved or deleted: what is written under its name would be another run.

    Args:
      saved: step of the last checkpoint, for the message.
    """
    held = os.fstat(file.fileno())
    with suppress(FileNotFoundError, NotADirectoryError):
        found = (workdir / LOCK_FILE).lstat()
        if (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino):
            return
    last = "nothing was saved" if saved is None else f"step {saved} is the last one saved, in the folder that was moved"
    raise UserError(f"{workdir}: was moved or deleted, or its file {LOCK_FILE} was, while it was trained; {last}")


def _acquire(file: IO[str], workdir: Path, deadline: float) -> None:
    try:
        while True:
            try:
                # Not filelock: where there are no locks it leaves a file, which outlives a killed process.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(2)
    except BlockingIOError as error:
        described = _described(file)
        raise UserError(
            f"{workdir}: another process is training there{described}; wait for it, or choose another --workdir"
        ) from error
    except OSError as error:
        logging.warning("%s: this file system has no locks (%s); start no second process there", workdir, error.strerror)


def _described(file: IO[str]) -> str:
    """Returns ` (process 7 on HOST, since TIME)`; nothing if the file does not say, as that of an older version."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        holder = json_fields.parse(file.read(4096))
        return f" (process {holder['process']} on {holder['host']}, since {holder['started']})"
    return ""


def is_held(workdir: Path) -> bool:
    """Whether a process holds the lock of a folder; False where there are no locks, or no such file."""
    with suppress(OSError, UserError), regular_files.open_file(workdir / LOCK_FILE) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
