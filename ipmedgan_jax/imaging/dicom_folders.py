"""The folders with DICOM files that a flag names: a folder, a pattern, or a comma-separated list of these."""

import glob
from pathlib import Path

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import dicom_files, nifti

Named = tuple[Path, Path]
"""A path that a flag names, and the folder that it lies in or that its pattern starts from."""


def list_dicom_folders(text: str) -> list[Named]:
    """Returns the folders with DICOM files that a flag names.

    A folder that holds DICOM files only in its subfolders is one of them if these hold no NIfTI file. UserError if the flag
    names a DICOM file.
    """
    named = expand(text)
    for path, _ in named:
        dicom_files.refuse_file(path)
    return [(path, base) for path, base in named if path.is_dir() and _is_for_dicom(path)]


def expand(text: str) -> list[Named]:
    """Returns the existing paths that a text names; the folder that a pattern starts from is taken literally."""
    return _match(text) or [named for part in text.split(",") for named in _match(part)]


def is_one_path(text: str) -> bool:
    """Whether a text is an existing path, not a pattern or a list."""
    return [path for path, _ in expand(text)] == [Path(text).expanduser()]


def refuse_dicom(text: str) -> None:
    """UserError if a text that should name NIfTI files names DICOM files, or folders of them."""
    if any(dicom_files.is_dicom(path) or dicom_files.holds_dicom_anywhere(path) for path, _ in expand(text)):
        raise UserError(f"{text!r} names DICOM files; expected .nii or .nii.gz: convert them, for example by dcm2niix")


def _match(text: str) -> list[Named]:
    path = Path(text.strip()).expanduser()
    try:
        if not text.strip() or path.exists():
            return [(path, path.parent)] if text.strip() else []
    except OSError:  # a list that is longer than a file name
        return []
    start = next(folder for folder in (*path.parents, Path()) if folder.is_dir())
    pattern = str(Path(glob.escape(str(start)), path.relative_to(start)))
    return [(Path(match), start) for match in sorted(glob.iglob(pattern, recursive=True))]  # noqa: PTH207


def _is_for_dicom(folder: Path) -> bool:
    if dicom_files.holds_dicom(folder):
        return True
    paths = dicom_files.visible_files(folder)
    return not any(path.name.endswith(nifti.SUFFIXES) for path in paths) and dicom_files.holds_dicom_anywhere(folder)
