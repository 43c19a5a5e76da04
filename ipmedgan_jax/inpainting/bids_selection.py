"""Which scans and masks of a BIDS data set a call of the BIDS App takes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from absl import logging

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.spelling import counted, suggestion
from ipmedgan_jax.imaging import bids_dataset, nifti
from ipmedgan_jax.imaging.file_kinds import is_mask, is_named_mask, is_output
from ipmedgan_jax.inpainting.derivative_place import check_place

_VALIDATORS = ("bids-validator-deno", "bids-validator")
"""Commands of the BIDS validator, as its packages for Python and for Node.js install them."""


def select_scans(root: Path, output: Path, participants: Sequence[str], sessions: Sequence[str], suffix: str) -> list[Path]:
    """Returns the scans to fill, in order. UserError for a label that is not there, or if there is no scan.

    Args:
      root: the data set's folder.
      output: the folder of the derivative, another one.
      participants: labels of subjects, with or without `sub-`; empty for all.
      sessions: labels of sessions, with or without `ses-`; empty for all.
      suffix: the suffix of the scans, for example FLAIR.
    """
    if not (root / bids_dataset.DESCRIPTION).exists():
        raise UserError(f"{root}: not a BIDS data set, it has no {bids_dataset.DESCRIPTION}")
    check_place(output, root)
    subjects = _chosen(root.glob("sub-*"), "sub", participants, f"{root} has no such participant")
    folders = [folder for subject in subjects for folder in (subject, *sorted(subject.glob("ses-*"))) if folder.is_dir()]
    chosen_sessions = ""
    if sessions:
        chosen_sessions = " of " + ", ".join(f"ses-{label.removeprefix('ses-')}" for label in sessions)
        found = (folder for folder in folders if folder.name.startswith("ses-"))
        folders = _chosen(found, "ses", sessions, "the chosen participants have no such session")
    scans = {folder: _scans_in(folder, suffix) for folder in folders}
    paths = [path for found in scans.values() for path in found]
    if not paths:
        raise _no_scan(root, folders, suffix)
    for subject in subjects:
        if not any(subject in path.parents for path in paths):
            logging.warning("%s: no scan%s is named _%s", subject.name, chosen_sessions, suffix)
    return paths


def _no_scan(root: Path, folders: Sequence[Path], suffix: str) -> UserError:
    """Returns the error for folders of subjects and sessions in which there is no scan to fill."""
    if passed_over := [path for folder in folders for path in _named(folder, suffix)]:
        return UserError(
            f"{root}: only masks and outputs of inpaint among {counted(len(passed_over), 'file')} of the chosen participants "
            f"and sessions that are named _{suffix}, for example {passed_over[0].name}; give the data set of the scans"
        )
    return UserError(f"{root}: no scan of the chosen participants and sessions is named _{suffix}; give --suffix")


def _chosen(folders: Iterable[Path], entity: str, labels: Sequence[str], problem: str) -> list[Path]:
    """Returns the folders `ENTITY-LABEL` that labels choose, sorted; all without labels. UserError for an unknown label."""
    found: dict[str, list[Path]] = {}
    for folder in sorted(folders):
        found.setdefault(folder.name.removeprefix(f"{entity}-"), []).append(folder)
    wanted = list(dict.fromkeys(label.removeprefix(f"{entity}-") for label in labels)) or list(found)
    for label in wanted:
        if label not in found:
            raise UserError(f"{entity}-{label}: {problem}{suggestion(label, found, f'{entity}-')}")
    return [folder for label in wanted for folder in found[label]]


def _scans_in(folder: Path, suffix: str) -> list[Path]:
    """Returns the scans of one subject or session with a suffix."""
    return [path for path in _named(folder, suffix) if not is_mask(path) and not is_output(path)]


def _named(folder: Path, suffix: str) -> list[Path]:
    """Returns the NIfTI files of one subject or session with a suffix, in order."""
    named = sorted(path for path in folder.glob("*/*.nii*") if nifti.stem(path).endswith(f"_{suffix}"))
    return [path for path in named if path.name.endswith(nifti.SUFFIXES) and not path.parent.name.startswith("ses-")]


def find_masks(root: Path, output: Path) -> list[Path]:
    """Returns the lesion masks of a data set: files of subjects and of `derivatives` whose names call them lesion masks.

    UserError if there is none, or if some lie in the output's folder, which is for outputs alone.
    """
    top = [*root.glob("sub-*"), root / "derivatives"]
    paths = (path for folder in top for path in folder.rglob("*.nii*") if path.name.endswith(nifti.SUFFIXES))
    masks = [path for path in paths if is_named_mask(path) and "lesion" in nifti.stem(path).lower()]
    masks = sorted(path for path in masks if not is_output(path))
    inside = [path for path in masks if output.resolve() in path.resolve().parents]
    if inside and output.resolve() not in root.resolve().parents:
        raise UserError(
            f"--output={output}: holds lesion masks, such as {inside[0]}; give the derivative a folder of its own, for "
            f"example {root / bids_dataset.DERIVATIVES / 'inpainted'}"
        )
    if not masks:
        raise UserError(
            f"{root}: holds no lesion mask, in its subjects or in derivatives; expected names such as "
            "sub-01_label-lesion_mask.nii.gz, or give --mask-dir"
        )
    return masks


def as_list(paths: Sequence[Path]) -> str:
    """Returns a comma-separated list that names several files, even if it holds one."""
    return ",".join([*map(str, paths), ""])


def validator() -> str | None:
    """Returns the command of the BIDS validator, in the search path or beside this Python; None if it is not installed."""
    folders = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}{Path(sys.executable).parent}"
    return next(filter(None, (shutil.which(name, path=folders) for name in _VALIDATORS)), None)


def validate(root: Path) -> None:
    """Runs the BIDS validator, if it is installed. UserError if it finds an error."""
    command = validator()
    if command is None:
        logging.info("%s: not validated, because %s is not installed", root, _VALIDATORS[0])
        return
    ended = subprocess.run([command, str(root), "--json", "--ignoreWarnings"], capture_output=True, text=True, check=False)
    try:
        issues = json.loads(ended.stdout)["issues"]["issues"]
        errors = [issue for issue in issues if issue.get("severity") == "error"]
    except (ValueError, KeyError, TypeError, AttributeError):
        logging.warning("%s: not validated, because %s did not run", root, command)
        return
    if errors:
        first = errors[0]
        raise UserError(
            f"{root}: the BIDS validator finds {counted(len(errors), 'error')}, first {first.get('code')} in "
            f"{first.get('location')}; mend the data set, or give --skip-bids-validation"
        )
