"""Listing the NIfTI files that a flag names: a file, a folder, a pattern, or a comma-separated list of these."""

import glob
import os
from pathlib import Path

from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.imaging import bids_names, dicom_folders, nifti, path_patterns
from ipmedgan_jax.imaging.path_patterns import Named


def list_input_files(text: str) -> list[Path]:
    """Returns the NIfTI files that a flag names, sorted and without duplicates; UserError if there are none.

    Hidden files (names that begin with a dot) are skipped unless the pattern or file name begins with a dot too. A dangling
    link to a file, or to the folder of a subject or session, is listed, so that the reader of the file names it in its error.
    UserError too if an element of a list matches no file.

    Args:
      text: a file; a folder, which is searched at any depth; a pattern, where `**` matches folders at any depth; or a
        comma-separated list of these. Brackets and commas may be part of a name: see `path_patterns`.
    """
    return sorted({path for path, _ in _find_all(text)})


def named_folder(text: str) -> Path:
    """Returns the folder that a flag names, in full: one above all files of `list_input_files`, however many match.

    A folder names itself, a pattern the folders before its first wildcard, a file the folder it lies in, and a list the
    folder that holds those of all its parts. UserError as `list_input_files`.
    """
    return Path(os.path.commonpath([folder.absolute() for _, folder in _find_all(text)]))


def _find_all(text: str) -> list[Named]:
    """Returns the NIfTI files that a flag names; UserError if there are none, or if an element of a list matches none."""
    found, missing = path_patterns.find_in_list(text, _find_files)
    if missing or not found:
        dicom_folders.refuse_dicom(missing[0] if missing else text)
        raise path_patterns.no_match(missing[0] if missing else text)
    return found


def names_several(text: str) -> bool:
    """Whether a flag may name more than one file, because it is a folder, a pattern or a list."""
    path = user_path(text)
    return path_patterns.is_folder(path) or (not path_patterns.exists(path) and path_patterns.is_pattern_or_list(text))


def _find_files(text: str) -> list[Named]:
    """Returns the NIfTI files that one file name, folder or pattern names."""
    named = path_patterns.match(text)
    if text.strip() and path_patterns.is_folder(folder := user_path(text.strip())):
        names = glob.iglob(f"{glob.escape(str(folder))}/**/*", recursive=True)  # noqa: PTH207, as match
        named = [(Path(name), folder) for name in names]
    return [(path, folder) for path, folder in named if _is_listed(path)]


def _is_listed(path: Path) -> bool:
    is_nifti = path.name.endswith(nifti.SUFFIXES)
    if path.is_symlink() and not path.exists():
        return is_nifti or bool(bids_names.FOLDER.fullmatch(path.name))
    return is_nifti and path.is_file()
