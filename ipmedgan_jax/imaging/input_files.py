"""Listing the NIfTI files that a flag names: a file, a folder, a pattern, or a comma-separated list of these."""

import glob
import re
from collections.abc import Iterator
from pathlib import Path

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import dicom_folders, nifti

_COMMA = re.compile(r",(?![^\[\]]*\])")
"""Matches a comma outside the brackets of a pattern."""


def list_input_files(text: str) -> list[Path]:
    """Returns the NIfTI files that a flag names, sorted and without duplicates; UserError if there are none.

    Hidden files (names that begin with a dot) are skipped unless the pattern or file name begins with a dot too. A dangling
    link is listed, so that the reader of the file names it in its error.

    Args:
      text: a file; a folder, which is searched at any depth; a pattern, where `**` matches folders at any depth; or a
        comma-separated list of these. If the whole text is an existing path, it is taken literally, special characters
        included.
    """
    parts = _split_at_commas(text)
    found = set(_find_files(text)) if parts else set()
    found = found or {path for part in parts for path in _find_files(part)}
    if not found:
        dicom_folders.refuse_dicom(text)
        raise UserError(f"no NIfTI file (.nii or .nii.gz) matches {text!r}; put quotes around a pattern with **")
    return sorted(found)


def names_several(text: str) -> bool:
    """Whether a flag may name more than one file, because it is a folder, a pattern or a list."""
    path = Path(text).expanduser()
    return path.is_dir() or (not path.is_file() and (glob.has_magic(text) or len(_split_at_commas(text)) > 1))


def _split_at_commas(text: str) -> list[str]:
    return [part for part in (part.strip() for part in _COMMA.split(text)) if part]


def _find_files(text: str) -> Iterator[Path]:
    """Yields the NIfTI files that one file name, folder or pattern names."""
    path = Path(text).expanduser()
    if path.is_dir():
        pattern = f"{glob.escape(str(path))}/**/*"
    else:
        pattern = glob.escape(str(path)) if path.is_file() or path.is_symlink() else str(path)
    for match in glob.iglob(pattern, recursive=True):  # noqa: PTH207, Path.glob takes no absolute pattern
        found = Path(match)
        if found.name.endswith(nifti.SUFFIXES) and (found.is_file() or _is_dangling(found)):
            yield found


def _is_dangling(path: Path) -> bool:
    return path.is_symlink() and not path.exists()
