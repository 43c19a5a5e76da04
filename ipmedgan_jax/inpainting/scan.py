"""One scan filled and written, with the JSON file that says what was done."""

import contextlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from absl import logging
from tqdm import tqdm

import ipmedgan_jax
from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data.holes import context_image
from ipmedgan_jax.imaging import mask_files, nifti, scans
from ipmedgan_jax.imaging.scans import Scan
from ipmedgan_jax.inpainting import checks, find_damage
from ipmedgan_jax.inpainting.fill import deviation, inpaint_volume
from ipmedgan_jax.inpainting.find_damage import LoadedFinder
from ipmedgan_jax.inpainting.jobs import UNFINISHED, Job
from ipmedgan_jax.inpainting.masked_volume import MaskedVolume
from ipmedgan_jax.inpainting.model import Generator


@dataclass(frozen=True, kw_only=True)
class MaskChoice:
    """How the voxels to be filled are found: `labels` of a file (none: all that is not 0), what lies above a level, or what a
    trained network takes for damage."""

    labels: tuple[int, ...] = ()
    above_hu: float | None = None
    finder: LoadedFinder | None = None
    dilate_mm: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Filling:
    """How they are filled, and what is done about warnings."""

    planes: tuple[str, ...] = ("axial",)
    samples: int = 0
    strict: bool = False
    mask: MaskChoice = field(default_factory=MaskChoice)


def inpaint_file(generator: Generator, job: Job, filling: Filling) -> dict[str, Any]:
    """Fills one scan and writes it with its JSON file, whose content is returned. UserError for what cannot be filled."""
    scan = scans.read_scan(job.image, finite=False)
    trained = generator.trained
    mask, warnings = _mask(scan, job, filling.mask, trained.preparation.modality)
    array, known = scan.volume.array, scan.volume.array[~mask]
    scans.check_finite(job.image, known)
    volume = replace(scan.volume, array=context_image(array, mask, float(known.min())))
    if not scan.file.placed:
        warnings.append("does not say how it lies; taken as its header's default, left and right may be exchanged")
    masked = MaskedVolume(trained, volume, mask, filling.planes)
    try:
        warnings += checks.plausibility_warnings(masked, generator.training_data)
    except UserError as error:
        raise UserError(f"{job.image}: {error}") from error
    for warning in warnings:
        if filling.strict:
            raise UserError(f"{job.image}: {warning} (--strict)")
        logging.warning("%s: %s", job.image, warning)
    with tqdm(total=masked.slice_count * (1 + filling.samples), unit="slice", disable=None, leave=False) as bar:
        filled = inpaint_volume(generator.inpaint, masked, done=bar.update)
        spread = None
        if filling.samples:
            spread = deviation(generator.inpaint, masked, samples=filling.samples, done=bar.update)
    where = scan.in_file_order(mask)
    report = _report(generator, job, filling, scan, mask) | {"slices": masked.slice_count, "warnings": warnings}
    try:
        job.output.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(job.sidecar, report | {UNFINISHED: True})
        scan.file.write_filled(job.output, where, scan.in_file_order(filled)[where], description(generator, report))
        if spread is not None:
            nifti.write_array(job.deviation, scan.in_file_order(spread), scan.file.affine)
        if job.mask_output is not None:
            nifti.write_array(job.mask_output, where.astype(np.uint8), scan.file.affine)
        files.write_json(job.sidecar, report)
    except OSError as error:
        with contextlib.suppress(OSError):
            job.sidecar.unlink(missing_ok=True)
        raise UserError(f"{job.output}: cannot be written ({error.strerror or error})") from error
    return report


def _report(generator: Generator, job: Job, filling: Filling, scan: Scan, mask: np.ndarray) -> dict[str, Any]:
    """What the JSON file says of the work."""
    voxels = int(np.count_nonzero(mask))
    return {
        "Description": "voxels of a mask filled by a neural network; not for diagnosis",
        "system": generator.name,
        "step": generator.step,
        "run": generator.source,
        "image": str(job.image.resolve()),
        "mask": str(job.mask.resolve()) if job.mask else _found_by(filling.mask),
        "mask_labels": list(filling.mask.labels),
        "dilated_mm": filling.mask.dilate_mm,
        "mask_voxels": voxels,
        "mask_ml": float(voxels * abs(np.linalg.det(scan.affine[:3, :3])) / 1000),
        "planes": list(filling.planes),
        "samples": filling.samples,
        "ipmedgan_jax": ipmedgan_jax.__version__,
    }


def _found_by(choice: MaskChoice) -> str:
    if choice.finder is not None:
        return f"found by {choice.finder.name}, step {choice.finder.step}, of {choice.finder.source}"
    return f"above {choice.above_hu:g} HU"


def description(generator: Generator, report: dict[str, Any]) -> str:
    """One line, for headers that have a place for it."""
    what = f"{report['mask_voxels']} voxels filled by {generator.name} at step {generator.step}"
    return f"{what} (ipmedgan_jax {ipmedgan_jax.__version__}); not for diagnosis"


def _mask(scan: Scan, job: Job, choice: MaskChoice, modality: str) -> tuple[np.ndarray, list[str]]:
    """The voxels to be filled, `[X, Y, Z]`, and what is to be said about them."""
    notes: list[str] = []
    if choice.finder is not None:
        scans.check_finite(job.image, scan.volume.array)
        mask = find_damage.find_in_volume(choice.finder, scan.volume)
        if not mask.any():
            raise UserError(f"{job.image}: no damage found; nothing to fill")
    elif job.mask is not None:
        mask, notes = mask_files.read_mask(job.mask, scan, choice.labels)
    elif choice.above_hu is None or modality != "ct":
        raise UserError("--mask_above_hu: this generator was trained on MRI, whose intensities are no HU; give a --mask")
    else:
        mask = mask_files.above(scan.volume, choice.above_hu)
    mask = mask_files.dilate(mask, choice.dilate_mm, scan.volume.spacing_mm)
    if mask.all():
        raise UserError(f"{job.mask or job.image}: every voxel is masked; there is nothing to go by")
    return mask, notes
