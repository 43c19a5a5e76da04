"""The private temporary folder of one `view`: removed at its end, or by the next `view` if the process was killed."""

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from ipmedgan_jax.core.errors import UserError, reason

PREFIX = "ipmedgan-view-"
"""Beginning of the folders' names in the system's folder for temporary files, which the system empties now and then."""

_LOCK, _TRIES = ".lock", 10


class WorkFolder:
    """A folder that only this account can read. While the process lives, it holds a lock on a file in it."""

    def __init__(self, root: Path | None = None):
        """Creates the folder in `root`, or in the system's folder for temporary files; UserError if it cannot."""
        try:
            root = root or Path(tempfile.gettempdir())
            remove_left_behind(root)
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root)).resolve()
            self._lock = os.open(self.path / f"{_LOCK}.new", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            (self.path / f"{_LOCK}.new").rename(self.path / _LOCK)  # it has its name only when locked
        except OSError as error:
            raise UserError(
                f"no temporary folder can be created ({reason(error)}); set TMPDIR to a writable folder"
            ) from error

    def close(self) -> None:
        """Removes the folder with all that is in it."""
        for _ in range(_TRIES):  # a request that is ending may still create a file
            shutil.rmtree(self.path, ignore_errors=True)
            if not self.path.exists():
                break
            time.sleep(0.1)
        with suppress(OSError):
            os.close(self._lock)


def remove_left_behind(root: Path) -> None:
    """Removes the folders of this account whose processes ended without doing so."""
    for folder in root.glob(f"{PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            if folder.is_symlink() or status.st_uid != os.getuid():
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # OSError if its process lives
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
