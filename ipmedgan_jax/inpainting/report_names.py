"""Names of scans in the report of fills: they tell scans apart without folders, which may be named after patients."""

import hashlib
import re
from pathlib import Path

from ipmedgan_jax.imaging import bids_names
from ipmedgan_jax.imaging.nifti import stem
from ipmedgan_jax.inpainting.jobs import Job

_DATA_TYPES = frozenset({"anat", "ct", "dwi", "fmap", "func", "perf", "pet"})
"""Names of folders that BIDS gives to kinds of data."""

_LETTERS = "abcdefghijklmnop"


def place(job: Job, outputs: Path) -> Path:
    """Returns the path of a job's output below the folder of all outputs; its bare name if it lies elsewhere."""
    return job.output.relative_to(outputs) if job.output.is_relative_to(outputs) else Path(job.output.name)


def scan_number(job: Job, outputs: Path) -> str:
    """Returns the number of a scan in the report: 8 characters from a digest of its output's place.

    The first one is a letter, so that spreadsheets do not take a number such as 12345e67 for one to compute with.
    """
    digest = hashlib.sha256(place(job, outputs).as_posix().encode(errors="surrogateescape")).hexdigest()
    return _LETTERS[int(digest[0], 16)] + digest[1:8]


def title(job: Job, outputs: Path) -> str:
    """Returns the name of a scan in the report: of its file, and its number where the file alone does not tell it.

    Folders of subjects and sessions in BIDS are shown, other folders not.
    """
    if job.series:
        return f"DICOM series {scan_number(job, outputs)}"
    name = stem(job.image)
    folders = [folder for folder in place(job, outputs).parent.parts if folder not in _DATA_TYPES]
    bids = [folder for folder in folders if bids_names.FOLDER.fullmatch(folder)]
    shown = "/".join([*(folder for folder in bids if folder not in name.split("_")), name])
    return shown if len(bids) == len(folders) else f"{shown} {scan_number(job, outputs)}"


def key(job: Job, outputs: Path) -> str:
    """Returns the name of the folder of a scan's pictures."""
    name = "series" if job.series else re.sub(r"[^A-Za-z0-9_-]", "", stem(job.image))[:60].lstrip("-") or "scan"
    return f"{name}-{scan_number(job, outputs)}"
