"""The user's cache folder, for fetched files and compiled programs."""

import functools
import os
import stat
import tempfile
from pathlib import Path

import platformdirs
from absl import logging

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import own_home


def folder() -> Path:
    """Returns `ipmedgan_jax` in $XDG_CACHE_HOME or in the system's cache folder (~/.cache on Linux); it may not exist yet.

    An account without a home folder, as in containers, has a folder of its own in the folder for temporary files.
    """
    if os.path.isabs(os.environ.get("XDG_CACHE_HOME", "")) or own_home() is not None:  # noqa: PTH117, no Path of ""
        return platformdirs.user_cache_path("ipmedgan_jax")
    return _temporary_folder()


@functools.cache
def _temporary_folder() -> Path:
    """Makes a cache folder that only this account can write. UserError if another account has taken its name."""
    path = Path(tempfile.gettempdir()) / f"ipmedgan_jax-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise UserError(f"{path}: cannot be made ({error.strerror}); set XDG_CACHE_HOME to a folder for caches") from error
    # Compiled programs are run from here, so nobody else may write to it.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise UserError(f"{path}: belongs to another account; set XDG_CACHE_HOME to a folder for caches")
    logging.warning("this account has no home folder: caches go to %s; set XDG_CACHE_HOME for another folder", path)
    return path
