"""Listing the NIfTI files that a flag names: a file, a folder, a pattern, or a comma-separated list of these."""

import glob
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.imaging import dicom_folders, nifti

_COMMA = re.compile(r",(?![^\[\]]*\])")
"""Matches a comma outside the brackets of a pattern."""


_BIDS_FOLDER = re.compile(r"(sub|ses)-[a-zA-Z0-9]+")
"""Matches the name of a subject's or a session's folder."""


def list_input_files(text: str) -> list[Path]:
    """Returns the NIfTI files that a flag names, sorted and without duplicates; UserError if there are none.

    Hidden files (names that begin with a dot) are skipped unless the pattern or file name begins with a dot too. A dangling
    link to a file, or to the folder of a subject or session, is listed, so that the reader of the file names it in its error.

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


def list_named_folders(text: str) -> list[Path]:
    """Returns the folders that a flag names, at least one above each file of `list_input_files`.

    A folder names itself, a pattern the folders before its first wildcard, and a file the folder it lies in.
    """
    parts = [text] if user_path(text).exists() else [text, *_split_at_commas(text)]
    return [_named_folder(part) for part in parts]


def _named_folder(text: str) -> Path:
    path = user_path(text)
    if path.is_dir():
        return path
    if path.is_file() or path.is_symlink():
        return path.parent
    plain = list(itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
    return Path(*plain[: len(path.parts) - 1])


def names_several(text: str) -> bool:
    """Whether a flag may name more than one file, because it is a folder, a pattern or a list."""
    path = user_path(text)
    return path.is_dir() or (not path.is_file() and (glob.has_magic(text) or len(_split_at_commas(text)) > 1))


def _split_at_commas(text: str) -> list[str]:
    return [part for part in (part.strip() for part in _COMMA.split(text)) if part]


def _find_files(text: str) -> Iterator[Path]:
    """Yields the NIfTI files that one file name, folder or pattern names."""
    path = user_path(text)
    if path.is_dir():
        pattern = f"{glob.escape(str(path))}/**/*"
    else:
        pattern = glob.escape(str(path)) if path.is_file() or path.is_symlink() else str(path)
    for match in glob.iglob(pattern, recursive=True):  # noqa: PTH207, Path.glob takes no absolute pattern
        found = Path(match)
        is_nifti = found.name.endswith(nifti.SUFFIXES)
        if (is_nifti and found.is_file()) or (_is_dangling(found) and (is_nifti or _BIDS_FOLDER.fullmatch(found.name))):
            yield found


def _is_dangling(path: Path) -> bool:
    return path.is_symlink() and not path.exists()
