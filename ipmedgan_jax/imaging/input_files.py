"""Which NIfTI files a command's flag names: a file, a folder, a pattern, or several of these separated by commas."""

import glob
import re
from collections.abc import Iterator
from pathlib import Path

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import nifti

_COMMA = re.compile(r",(?![^\[\]]*\])")
"""A comma that is not in the brackets of a pattern."""


def list_input_files(text: str) -> list[Path]:
    """The NIfTI files that a flag names, sorted, each once; UserError where there are none.

    Args:
      text: a file; a folder, which is searched at any depth; a pattern, with `**` for folders at any depth; or several of
        these separated by commas. What exists under the whole text is taken as it is, whatever characters it has.

    Names that begin with a dot are passed over, but where a pattern or a file's name begins so. Links to files that are not
    there are listed: whoever reads the file names them.
    """
    parts = _parts(text)
    found = set(_matches(text)) if parts else set()
    found = found or {path for part in parts for path in _matches(part)}
    if not found:
        raise UserError(f"no NIfTI file (.nii or .nii.gz) matches {text!r}; put quotes around a pattern with **")
    return sorted(found)


def names_several(text: str) -> bool:
    """Whether a flag may name more than one file: it is a folder or a pattern, or has several parts."""
    path = Path(text).expanduser()
    return path.is_dir() or (not path.is_file() and (glob.has_magic(text) or len(_parts(text)) > 1))


def _parts(text: str) -> list[str]:
    return [part for part in (part.strip() for part in _COMMA.split(text)) if part]


def _matches(text: str) -> Iterator[Path]:
    """The NIfTI files that a text names which is no list."""
    path = Path(text).expanduser()
    if path.is_dir():
        pattern = f"{glob.escape(str(path))}/**/*"
    else:
        pattern = glob.escape(str(path)) if path.is_file() or path.is_symlink() else str(path)
    for match in glob.iglob(pattern, recursive=True):  # noqa: PTH207, Path.glob takes no absolute one
        found = Path(match)
        if found.name.endswith(nifti.SUFFIXES) and (found.is_file() or _is_dangling(found)):
            yield found


def _is_dangling(path: Path) -> bool:
    return path.is_symlink() and not path.exists()
