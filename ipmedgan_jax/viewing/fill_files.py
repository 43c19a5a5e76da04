"""The files of one fill: where they lie, what the page shows of them, and their JSON file without temporary places."""

import re
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipmedgan_jax.core import files
from ipmedgan_jax.core.user_paths import without_homes
from ipmedgan_jax.viewing.sources import Source

if TYPE_CHECKING:
    from ipmedgan_jax.inpainting.filled_scan import FilledScan
    from ipmedgan_jax.inpainting.jobs import Job
    from ipmedgan_jax.viewing.open_scan import OpenScan

PAINTED = "painted on the page of ipmedgan view"
"""What a sidecar says of the mask, whose file is a temporary one; its SHA-256 is that of the file that the page sent."""


@dataclass(frozen=True, eq=False)
class Order:
    """A fill that is asked for: of which scan, with what, and which voxels."""

    scan: "OpenScan"
    source: Source
    folder: Path
    mask: Path
    dilate_mm: float
    planes: tuple[str, ...]
    samples: int


def job_of(order: Order) -> "Job":
    """Returns the files of a fill, named as `inpaint` names those of one scan among several."""
    from ipmedgan_jax.imaging import nifti
    from ipmedgan_jax.inpainting.jobs import Job

    scan = order.scan
    if scan.series:
        job = Job(scan.image, order.mask, order.folder / f"{scan.name.replace(' ', '-')}_desc-inpainted", series=scan.series)
        return replace(job, mask_output=job.segmentation)
    stem = nifti.stem(scan.image)
    job = Job(scan.image, order.mask, order.folder / f"{stem}_desc-inpainted{scan.image.name.removeprefix(stem)}")
    return replace(job, mask_output=job.beside)


def write_views(job: "Job", filled: "FilledScan") -> dict[str, Path]:
    """Writes what the page shows and the job has not written; returns all files for the page."""
    import numpy as np

    from ipmedgan_jax.imaging import nifti, scans
    from ipmedgan_jax.viewing.page_files import for_page, write_series

    scan, folder = filled.scan, job.output.parent
    views = {"deviation": job.deviation} if filled.deviation is not None else {}
    if not job.series:
        views |= {"filled": job.output, "mask": job.beside}
        return {name: for_page(path, folder / f"view_{name}.nii.gz") for name, path in views.items()}
    write_series(folder / "view.nii.gz", scans.read_file(job.output))
    nifti.write_array(folder / "view_mask.nii.gz", scan.in_file_order(filled.mask).astype(np.uint8), scan.file.affine)
    return views | {"filled": folder / "view.nii.gz", "mask": folder / "view_mask.nii.gz"}


def for_others(report: dict[str, Any], order: Order) -> dict[str, Any]:
    """Returns a sidecar's content without the places of temporary files.

    An uploaded scan has the name that its file had, because a browser tells no more.
    """
    image = {"image": order.scan.name} if order.scan.uploaded else {}
    warnings = [without_folder(warning, order, names_only=order.scan.uploaded) for warning in report["warnings"]]
    return report | image | {"mask": PAINTED, "warnings": warnings}


def without_folder(text: str, order: Order, *, names_only: bool = True) -> str:
    """Returns a message without the paths of the session's files and of home folders.

    In the message, `~` may already stand for the home folder, in which the folder for temporary files may lie.
    """
    text = without_homes(text)
    text = text.replace(without_homes(str(order.mask)), "the painted mask")
    if names_only:
        text = text.replace(without_homes(str(order.scan.image)), order.scan.name)
    return re.sub(rf"{re.escape(without_homes(str(order.folder.parent)))}/(?:[^/\s]+/)*", "", text)


def zipped(folder: Path) -> Path:
    """Returns a zip file, not compressed further, of a folder's files."""
    path = folder.with_name(f"{folder.name}.zip")
    if not path.exists():
        with files.atomic_file(path) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
            for file in sorted(folder.iterdir()):
                archive.write(file, f"{folder.name}/{file.name}")
    return path
