"""Where a benchmark writes: the path of --output, made before the work begins, so that none is lost to a wrong path."""

import os
from pathlib import Path

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path


def folder(text: str) -> Path:
    """Returns the folder that --output names, and makes it. UserError if that cannot be done."""
    return _made(user_path(text), text)


def file(text: str) -> Path:
    """Returns the file that --output names, and makes the folder above it. UserError if that cannot be done."""
    path = user_path(text)
    if path.is_dir():
        raise UserError(f"--output={text}: a folder; expected a file")
    _made(path.parent, text)
    return path


def _made(path: Path, text: str) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output={text}: cannot be made ({error.strerror or error})") from error
    if not os.access(path, os.W_OK):
        raise UserError(f"--output={text}: may not be written to")
    return path
