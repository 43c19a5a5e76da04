"""The folders with DICOM files that a flag names: a folder, a pattern, or a comma-separated list of these."""

from pathlib import Path

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.imaging import dicom_files, nifti, path_patterns
from ipmedgan_jax.imaging.file_kinds import is_mask, is_output
from ipmedgan_jax.imaging.path_patterns import Named


def list_dicom_folders(text: str, *, despite_nifti: bool = False) -> list[Named]:
    """Returns the folders with DICOM files that a flag names.

    There are none if the flag names a scan in NIfTI too. A folder that holds DICOM files only in its subfolders is one of
    them if these hold no such scan. UserError if the flag names a DICOM file, or if an element of a list of such folders
    matches nothing.

    Args:
      text: a folder, a pattern or a comma-separated list.
      despite_nifti: whether scans in NIfTI are passed over instead, because the user asks for DICOM series.
    """
    named, missing = path_patterns.find_in_list(text, path_patterns.match)
    if not despite_nifti and any(_is_nifti_scan(path) for path, _ in named):
        return []
    for path, _ in named:
        dicom_files.refuse_file(path)
    folders = [(path, base) for path, base in named if path.is_dir() and _is_for_dicom(path, despite_nifti)]
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


def passed_over(text: str) -> list[Path]:
    """Returns the folders that a flag names, or that its pattern matches, and that hold DICOM slices under usual names."""
    return [path for path, _ in expand(text) if path.is_dir() and dicom_files.holds_named_slices(path)]


def _is_for_dicom(folder: Path, despite_nifti: bool) -> bool:
    if dicom_files.holds_dicom(folder):
        return True
    if not despite_nifti and any(_is_nifti_scan(path) for path in dicom_files.visible_files(folder)):
        return False
    return dicom_files.holds_dicom_anywhere(folder)


def _is_nifti_scan(path: Path) -> bool:
    """Whether a file is NIfTI, and neither a mask nor an output of `inpaint`."""
    return path.name.endswith(nifti.SUFFIXES) and not is_mask(path) and not is_output(path)
