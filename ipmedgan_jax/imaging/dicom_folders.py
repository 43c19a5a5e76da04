"""The folders with DICOM files that a flag names: a folder, a pattern, or a comma-separated list of these."""

from pathlib import Path

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.imaging import dicom_files, nifti, path_patterns
from ipmedgan_jax.imaging.path_patterns import Named


def list_dicom_folders(text: str) -> list[Named]:
    """Returns the folders with DICOM files that a flag names.

    There are none if the flag names a NIfTI file too. A folder that holds DICOM files only in its subfolders is one of them
    if these hold no NIfTI file. UserError if the flag names a DICOM file, or if an element of a list of such folders matches
    nothing.
    """
    named, missing = path_patterns.find_in_list(text, path_patterns.match)
    if any(path.name.endswith(nifti.SUFFIXES) for path, _ in named):
        return []
    for path, _ in named:
        dicom_files.refuse_file(path)
    folders = [(path, base) for path, base in named if path.is_dir() and _is_for_dicom(path)]
    if folders and missing:
        raise UserError(f"{missing[0]!r} matches no folder with DICOM files; correct it, or take it out of the list")
    return folders


def expand(text: str) -> list[Named]:
    """Returns the existing paths that a text names."""
    return path_patterns.find_in_list(text, path_patterns.match)[0]


def is_one_path(text: str) -> bool:
    """Whether a text is an existing path, not a pattern or a list."""
    return [path for path, _ in expand(text)] == [user_path(text)]


def refuse_dicom(text: str) -> None:
    """UserError if a text that should name NIfTI files names DICOM files, or folders of them."""
    if any(dicom_files.is_dicom(path) or dicom_files.holds_dicom_anywhere(path) for path, _ in expand(text)):
        raise UserError(f"{text!r} names DICOM files; expected .nii or .nii.gz: convert them, for example by dcm2niix")


def _is_for_dicom(folder: Path) -> bool:
    if dicom_files.holds_dicom(folder):
        return True
    paths = dicom_files.visible_files(folder)
    return not any(path.name.endswith(nifti.SUFFIXES) for path in paths) and dicom_files.holds_dicom_anywhere(folder)
