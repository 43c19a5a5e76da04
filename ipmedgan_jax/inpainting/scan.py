"""Filling one scan, and writing it with a JSON file that describes the fill."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from tqdm import tqdm

import ipmedgan_jax
from ipmedgan_jax.core import files, provenance
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import without_homes
from ipmedgan_jax.imaging import dicom, dicom_files, dicom_seg_writing, mask_files, nifti, placement, scans
from ipmedgan_jax.imaging.mask_files import EmptyMaskError
from ipmedgan_jax.imaging.scans import Scan
from ipmedgan_jax.inpainting import find_damage, input_digests, mask_names, sidecar
from ipmedgan_jax.inpainting.filled_scan import FilledScan, Progress, fill_scan, ignore
from ipmedgan_jax.inpainting.filler import Filler
from ipmedgan_jax.inpainting.filling_options import Filling, MaskChoice
from ipmedgan_jax.inpainting.jobs import Job
from ipmedgan_jax.inpainting.plausibility import plausibility
from ipmedgan_jax.inpainting.unfinished_sidecar import UnfinishedSidecar


def inpaint_file(
    filler: Filler,
    job: Job,
    filling: Filling,
    *,
    progress: Progress | None = None,
    finished: Callable[[FilledScan, dict[str, Any]], object] = ignore,
    warn: Callable[[str], object] = logging.warning,
) -> dict[str, Any]:
    """Fills one scan, writes it with its JSON file, and returns that file's content. UserError if it cannot be filled.

    If the mask is empty and `filling.empty_mask` is not `error`, the content's `empty_mask` says why it is; the output is a
    copy, or nothing is written.

    Args:
      filler: what fills.
      job: the files.
      filling: the options.
      progress: see `filled_scan.Progress`; None for a bar on the terminal.
      finished: is called with the fill and the content of the JSON file once all files are written; not for an empty mask.
      warn: is called with each warning, before anything is filled.
    """
    scan = scans.read_scan(job.image, series=job.series, finite=False)
    warnings = file_warnings(scan, job.mask)
    try:
        mask, more = select_voxels(scan, job, filling.mask, filler)
    except EmptyMaskError as empty:
        return _leave_unfilled(filler, job, filling, scan, empty, warnings, warn)
    warnings += more

    def fill(progress: Progress) -> FilledScan:
        def check(found: list[str]) -> None:
            tell(job.image, filling, warnings + found, warn)

        return fill_scan(filler, scan, mask, planes=filling.planes, samples=filling.samples, check=check, progress=progress)

    result = fill(progress) if progress is not None else with_bar(fill)
    report = report_of_fill(filler, job, filling, result, warnings)
    _write(job, scan, mask, result.filled, result.deviation, report, description(filler, report))
    finished(result, report)
    return report


def with_bar(fill: Callable[[Progress], FilledScan]) -> FilledScan:
    """Returns the fill that a function makes, with a progress bar on the terminal."""
    with tqdm(unit="slice", disable=None, leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return fill(show)


def file_warnings(scan: Scan, mask: Path | None) -> list[str]:
    """Returns warnings about the position that the scan's header gives, and about the names of scan and mask."""
    warnings = []
    if not scan.file.placed:
        warnings.append(scans.UNPLACED)
    if isinstance(scan.file, nifti.NiftiFile):
        warnings.append(placement.forms_warning(scan.file))
    if mask is not None and not isinstance(scan.file, dicom.DicomSeries):  # names in a DICOM export tell nothing
        warnings += [mask_names.subject_warning(scan.file.path, mask), mask_names.kind_warning(scan.file.path, mask)]
    return [warning for warning in warnings if warning]


def _leave_unfilled(
    filler: Filler,
    job: Job,
    filling: Filling,
    scan: Scan,
    empty: EmptyMaskError,
    warnings: list[str],
    warn: Callable[[str], object],
) -> dict[str, Any]:
    """Copies or skips a scan whose mask is empty; returns its report."""
    if filling.empty_mask == "error":
        raise UserError(f"{empty} (--empty_mask=copy or --empty_mask=skip goes on)") from empty
    warnings = [*warnings, *empty.warnings]
    tell(job.image, filling, warnings, warn)
    nothing = np.zeros(scan.volume.array.shape, bool)
    report = _report_of(filler, job, filling, scan, nothing)
    report |= {"slices": 0, "empty_mask": without_homes(str(empty)), "warnings": _portable(warnings)}
    if filling.empty_mask == "copy":
        spread = np.zeros(nothing.shape, np.float32) if filling.samples else None
        _write(job, scan, nothing, scan.volume.array, spread, report, description(filler, report))
    return report


def tell(image: Path, filling: Filling, warnings: list[str], warn: Callable[[str], object]) -> None:
    """Calls `warn` with each warning about an image; UserError for the first if the fill is strict."""
    for warning in warnings:
        if filling.strict:
            raise UserError(f"{image}: {warning} (--strict)")
        warn(f"{image}: {warning}")


def _write(
    job: Job,
    scan: Scan,
    mask: np.ndarray,
    filled: np.ndarray,
    spread: np.ndarray | None,
    report: dict[str, Any],
    description: str,
) -> None:
    """Writes a job's files, and adds their digests to `report`. UserError if one cannot be written.

    `mask`, `filled` and `spread` are canonical `[X, Y, Z]`.
    """
    where = scan.in_file_order(mask)
    unfinished = UnfinishedSidecar(job)
    try:
        job.output.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write(report)
        scan.file.write_filled(job.output, where, scan.in_file_order(filled)[where], description, replace=job.replaces)
        if spread is not None:
            nifti.write_array(job.deviation, scan.in_file_order(spread), scan.file.affine)
        if job.mask_output is not None:
            job.mask_output.parent.mkdir(parents=True, exist_ok=True)  # which may be the folder of the series just written
            _write_mask(job.mask_output, scan, where, description)
        if job.bids is not None and job.mask_sidecar is not None:
            files.write_json(job.mask_sidecar, job.bids.of_mask())
        report |= sidecar.digests_of_outputs(job.outputs(deviation=spread is not None))
        files.write_json(job.sidecar, report)
    except (OSError, UserError) as error:
        unfinished.withdraw()
        if isinstance(error, UserError):
            raise
        raise UserError(f"{job.output}: cannot be written ({error.strerror or error})") from error


def _write_mask(path: Path, scan: Scan, where: np.ndarray, text: str) -> None:
    """Writes the filled voxels, in the order of the scan's file, as NIfTI or, by the name, as a DICOM segmentation."""
    if path.suffix == dicom_files.SUFFIX and isinstance(scan.file, dicom.DicomSeries):
        dicom_seg_writing.write(path, scan.file.datasets, where, text)
    else:
        nifti.write_array(path, where.astype(np.uint8), scan.file.affine)


def requested(filler: Filler, job: Job | None, filling: Filling) -> dict[str, Any]:
    """Returns the first entries of the sidecar: all that determines the output. UserError if an input cannot be read.

    Outputs with equal entries need not be made again; see `sidecar.differences`. Without a job, for a scan in memory, the
    entries of image and mask are null.
    """
    try:
        image = input_digests.of_scan(job.image, job.series) if job else None
        mask = input_digests.of_mask(job.mask, job.image, job.series) if job and job.mask else None
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror or error})") from error
    choice = filling.mask
    return {
        "Description": f"voxels of a mask filled by {filler.kind}; not for diagnosis",
        "system": filler.name,
        "step": filler.step,
        "run": without_homes(filler.source) if filler.source is not None else None,
        "weights_sha256": filler.weights_sha256,
        "image": sidecar.portable(job.image) if job else None,
        "image_sha256": image,
        "series": job.series if job else "",
        "mask": sidecar.portable(job.mask) if job and job.mask else _describe_choice(choice),
        "mask_sha256": mask,
        "mask_labels": list(choice.labels),
        "match_mask": choice.match,
        "mask_above_hu": choice.above_hu,
        "finder_sha256": choice.finder.weights_sha256 if choice.finder else None,
        "dilated_mm": choice.dilate_mm,
        "planes": list(filling.planes),
        "samples": filling.samples,
        "ipmedgan_jax": ipmedgan_jax.__version__,
    }


def report_of_fill(
    filler: Filler, job: Job | None, filling: Filling, result: FilledScan, warnings: list[str]
) -> dict[str, Any]:
    """Returns the content of the JSON file of a fill; `warnings` are those about the files."""
    return _report_of(filler, job, filling, result.scan, result.mask) | {
        "slices": result.slices,
        "warnings": _portable(warnings + result.warnings),
        "plausibility": plausibility(result.filled, result.mask, result.scan.volume.spacing_mm).for_json(),
    }


def _portable(warnings: list[str]) -> list[str]:
    """Returns warnings for the JSON file, without home folders: they name files by their paths."""
    return [without_homes(warning) for warning in warnings]


def _report_of(filler: Filler, job: Job | None, filling: Filling, scan: Scan, mask: np.ndarray) -> dict[str, Any]:
    """Returns the content of the JSON file, but for slices and warnings."""
    voxels = int(np.count_nonzero(mask))
    voxel_ml = abs(np.linalg.det(scan.affine[:3, :3])) / 1000
    of_bids = job.bids.of_scan(scan.volume.array, voxel_ml) if job is not None and job.bids is not None else {}
    return (
        requested(filler, job, filling)
        | of_bids
        | {
            "mask_voxels": voxels,
            "mask_ml": float(voxels * voxel_ml),
            **({"report_number": job.report_number} if job is not None and job.report_number else {}),
            "training": filler.training(),
            provenance.KEY: provenance.provenance(jax.devices()),
        }
    )


def _describe_choice(choice: MaskChoice) -> str | None:
    if choice.finder is not None:
        return f"found by {choice.finder.name}, step {choice.finder.step}, of {without_homes(choice.finder.source)}"
    return f"above {choice.above_hu:g} HU" if choice.above_hu is not None else None


def description(filler: Filler, report: dict[str, Any]) -> str:
    """Returns one line about the fill, for image headers with a text field."""
    version = f"ipmedgan_jax {ipmedgan_jax.__version__}"
    return f"{report['mask_voxels']} voxels filled by {filler.label} ({version}); not for diagnosis"


def select_voxels(scan: Scan, job: Job, choice: MaskChoice, filler: Filler) -> tuple[np.ndarray, list[str]]:
    """Returns the voxels to be filled, `[X, Y, Z]`, and warnings; EmptyMaskError if there are none, UserError if all are."""
    warnings: list[str] = []
    if choice.finder is not None:
        scans.check_finite(job.image, scan.volume.array)
        mask = find_damage.find_in_volume(choice.finder, scan.volume)
        if filler.modality is None:
            warnings += filter(None, [scans.modality_warning(scan.volume, choice.finder.preparation.modality)])
        if not mask.any():
            raise EmptyMaskError(f"{job.image}: no damage found; nothing to fill")
    elif job.mask is not None:
        mask, warnings = mask_files.read_mask(job.mask, scan, choice.labels, choice.match)
    elif choice.above_hu is not None:
        warnings = filler.check_hu(scan)
        mask = mask_files.above(scan.volume, choice.above_hu)
    else:
        raise UserError(f"{job.image}: expected one of --mask, --mask_above_hu and --finder")
    return dilated(mask, choice, scan, job.mask or job.image), warnings


def dilated(mask: np.ndarray, choice: MaskChoice, scan: Scan, name: Path) -> np.ndarray:
    """Returns the mask of a scan with what lies within `choice.dilate_mm`; UserError if every voxel is masked."""
    mask = mask_files.dilate(mask, choice.dilate_mm, scan.volume.spacing_mm)
    if mask.all():
        raise UserError(f"{name}: every voxel is masked; there is nothing to fill from")
    return mask
