"""Fills the masked part of scans with what a trained run makes of the rest; every other voxel stays as it is, bit for bit.

  python -m ipmedgan_jax.inpaint --workdir=runs/mri --image=in.nii.gz --mask=hole.nii.gz --output=out.nii.gz
  python -m ipmedgan_jax.inpaint --workdir=runs/mri --image='in/**/*_FLAIR.nii.gz' --mask='in/**/*_mask.nii.gz' --output=out
  python -m ipmedgan_jax.inpaint --workdir=runs/ct --image=ct.nii.gz --mask_above_hu=3000 --dilate_mm=3 --output=out.nii.gz
  python -m ipmedgan_jax.inpaint --workdir=runs/mri --finder=runs/mri-finder --image=in.nii.gz --output=out.nii.gz

An image is a NIfTI file, or the folder of a DICOM series, and then so is the output. The output has its image's grid, type,
scaling and header. Beside it lies a JSON file: what was filled, with what, and every warning. Several images (a pattern or a
folder) go to a folder, as NAME_desc-inpainted_SUFFIX; each one's mask is the one file whose name has the same BIDS entities,
or the same name. What a --finder took for damage goes to OUTPUT_mask.nii.gz, or to --mask_output. Not for diagnosis.
"""

import contextlib
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags, logging

import ipmedgan_jax
from ipmedgan_jax.core import runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.distributed import crew, meeting

if TYPE_CHECKING:
    import numpy as np

    from ipmedgan_jax.imaging.scans import Scan
    from ipmedgan_jax.inpainting.find_damage import Finder
    from ipmedgan_jax.inpainting.jobs import Job
    from ipmedgan_jax.inpainting.model import Generator


@dataclass(frozen=True, kw_only=True)
class MaskChoice:
    """How the voxels to be filled are found: `labels` of a file (none: all that is not 0), what lies above a level, or what a
    trained network takes for damage."""

    labels: tuple[int, ...] = ()
    above_hu: float | None = None
    finder: "Finder | None" = None
    dilate_mm: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Filling:
    """How they are filled, and what is done about warnings."""

    planes: tuple[str, ...] = ("axial",)
    samples: int = 0
    strict: bool = False
    mask: MaskChoice = field(default_factory=MaskChoice)


def main() -> None:
    runtime.set_up()
    with crew.join(meeting.flags_of_all()) as everyone:
        fill_all(everyone)


def fill_all(everyone: crew.Crew) -> None:
    """All images of this command, by all processes; the first says what could not be filled. UserError then."""
    from ipmedgan_jax.imaging import nifti
    from ipmedgan_jax.imaging.grids import PLANES
    from ipmedgan_jax.inpainting.jobs import check_output, find_jobs

    given = flags.FLAGS
    if not given.planes or len(set(given.planes) & PLANES.keys()) < len(given.planes):
        raise UserError(f"--planes={','.join(given.planes)}: wanted some of {', '.join(PLANES)}, each once")
    if sum(each is not None for each in (given.mask, given.mask_above_hu, given.finder)) != 1:
        raise UserError("wanted one of --mask, --mask_above_hu and --finder")
    if given.samples == 1 or given.samples < 0:
        raise UserError(f"--samples={given.samples}: wanted 0, or at least 2 to have a deviation")
    choice = _mask_choice()
    jobs, refused = find_jobs(given.image, given.mask, Path(given.output).expanduser())
    several = len(jobs) + len(refused) > 1
    if everyone.decide(lambda: [str(job.output) for job in jobs]) != [str(job.output) for job in jobs]:
        raise UserError("this process finds other images than process 0: all must see the same files")
    if several and not given.overwrite:
        done = everyone.decide(lambda: [i for i, job in enumerate(jobs) if job.done])
        if everyone.first:
            for i in done:
                logging.info("%s: exists, left as it is", jobs[i].output)
        jobs = [job for i, job in enumerate(jobs) if i not in done]
    if given.mask_output is not None:
        if several or not given.mask_output.endswith(nifti.SUFFIXES):
            raise UserError(f"--mask_output={given.mask_output}: wanted a .nii or .nii.gz file, for one image alone")
        jobs = [replace(job, mask_output=Path(given.mask_output).expanduser()) for job in jobs]
    elif given.finder is not None:
        jobs = [replace(job, mask_output=job.beside) for job in jobs]
    mine = everyone.share(jobs)
    for job in mine:
        check_output(job, overwrite=given.overwrite, deviation=given.samples > 0)
    generator = load(given.workdir, given.model, given.checkpoint)
    if given.finder is not None:
        choice = replace(choice, finder=load_finder(given.finder, generator))
    filling = Filling(planes=tuple(given.planes), samples=given.samples, strict=given.strict, mask=choice)
    problems = []
    for job in mine:
        problems.append("")
        try:
            report = inpaint_file(generator, job, filling)
            print(f"{job.output}: {report['mask_voxels']:,} voxels of {report['slices']} slices filled")
        except UserError as error:
            if not several:
                raise
            problems[-1] = str(error)
    refused += filter(None, everyone.gather(jobs, problems, lambda job: str(job.output)))
    if not everyone.first:
        return
    for line in refused:
        logging.error("%s", line)
    if refused:
        raise UserError(f"{len(refused)} image(s) were not filled, see above")


def _mask_choice() -> MaskChoice:
    """From the flags."""
    given = flags.FLAGS
    if given.mask_labels and given.mask is None:
        raise UserError("--mask_labels is for a --mask")
    if not all(label.isdecimal() and int(label) for label in given.mask_labels):
        raise UserError(f"--mask_labels={','.join(given.mask_labels)}: wanted whole numbers above 0, for example 1,4")
    if not 0 <= given.dilate_mm < math.inf:
        raise UserError(f"--dilate_mm={given.dilate_mm:g}: wanted millimetres, 0 or more")
    return MaskChoice(labels=tuple(map(int, given.mask_labels)), above_hu=given.mask_above_hu, dilate_mm=given.dilate_mm)


def load(workdir: str | None, model: str | None, checkpoint: str) -> "Generator":
    """The generator of a run, or of a folder that `ipmedgan_jax.export` wrote, for which no training code is imported."""
    if (workdir is None) == (model is None):
        raise UserError("wanted either --workdir or --model")
    if model is not None:
        from ipmedgan_jax.inpainting import exported

        return exported.read(Path(model).expanduser())
    from ipmedgan_jax.inpainting import load_run

    return load_run.load(Path(str(workdir)).expanduser(), checkpoint)


def load_finder(workdir: str, generator: "Generator") -> "Finder":
    """The network of a run that finds damage, on scans like the generator's."""
    from ipmedgan_jax.inpainting import load_run

    finder = load_run.load_finder(Path(workdir).expanduser(), "best")
    modalities = finder.preparation.modality, generator.trained.preparation.modality
    if len(set(modalities)) > 1:
        raise UserError(f"--finder={workdir}: was trained on {modalities[0]}, what fills on {modalities[1]}")
    return finder


def inpaint_file(generator: "Generator", job: "Job", filling: Filling) -> dict[str, Any]:
    """Fills one scan and writes it with its JSON file, whose content is returned. UserError for what cannot be filled."""
    import numpy as np
    from tqdm import tqdm

    from ipmedgan_jax.core import files
    from ipmedgan_jax.imaging import nifti, scans
    from ipmedgan_jax.inpainting import checks
    from ipmedgan_jax.inpainting.fill import deviation, inpaint_volume, slices_to_fill
    from ipmedgan_jax.inpainting.jobs import UNFINISHED

    scan = scans.read_scan(job.image, finite=False)
    trained = generator.trained
    mask, warnings = _mask(scan, job, filling.mask, trained.preparation.modality)
    scans.check_finite(job.image, scan.volume.array[~mask])
    volume = replace(scan.volume, array=np.where(mask, scan.volume.array[~mask].min(), scan.volume.array))
    if not scan.file.placed:
        warnings.append("does not say how it lies; taken as its header's default, left and right may be exchanged")
    try:
        warnings += checks.cautions(trained, generator.seen, volume, mask, filling.planes)
    except UserError as error:
        raise UserError(f"{job.image}: {error}") from error
    for warning in warnings:
        if filling.strict:
            raise UserError(f"{job.image}: {warning} (--strict)")
        logging.warning("%s: %s", job.image, warning)
    slices = slices_to_fill(mask, filling.planes)
    with tqdm(total=slices, unit="slice", disable=None, leave=False) as bar:
        filled = inpaint_volume(generator.inpaint, trained, volume, mask, planes=filling.planes, done=bar.update)
        spread = None
        if filling.samples:
            bar.total += slices * filling.samples
            spread = deviation(
                generator.inpaint, trained, volume, mask, samples=filling.samples, planes=filling.planes, done=bar.update
            )
    where = scan.in_file_order(mask)
    report = _report(generator, job, filling, scan, mask) | {"slices": slices, "warnings": warnings}
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


def _report(generator: "Generator", job: "Job", filling: Filling, scan: "Scan", mask: "np.ndarray") -> dict[str, Any]:
    """What the JSON file says of the work."""
    import numpy as np

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


def description(generator: "Generator", report: dict[str, Any]) -> str:
    """One line, for headers that have a place for it."""
    what = f"{report['mask_voxels']} voxels filled by {generator.name} at step {generator.step}"
    return f"{what} (ipmedgan_jax {ipmedgan_jax.__version__}); not for diagnosis"


def _mask(scan: "Scan", job: "Job", choice: MaskChoice, modality: str) -> "tuple[np.ndarray, list[str]]":
    """The voxels to be filled, `[X, Y, Z]`, and what is to be said about them."""
    from ipmedgan_jax.imaging import mask_files, scans

    notes: list[str] = []
    if choice.finder is not None:
        from ipmedgan_jax.inpainting import find_damage

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


def define_flags() -> None:
    meeting.define_flags()
    flags.DEFINE_string("workdir", None, "the run whose generator fills")
    flags.DEFINE_string("model", None, "or the folder that ipmedgan_jax.export wrote")
    flags.DEFINE_string("image", None, "a NIfTI file; or a folder or a pattern, then --output is a folder")
    flags.DEFINE_string("mask", None, "a NIfTI file, not 0 where voxels are to be filled; or a folder or a pattern")
    flags.DEFINE_string("output", None, "the file to write, .nii or .nii.gz; or a folder")
    flags.DEFINE_list("mask_labels", [], "of a mask with several labels: those to be filled, for example 1,4")
    flags.DEFINE_float("mask_above_hu", None, "instead of --mask: fill what is brighter than this, in a CT")
    flags.DEFINE_string("finder", None, "instead of --mask: a run of the system `finder`; fill what it takes for damage")
    flags.DEFINE_string("mask_output", None, "a NIfTI file for what was filled; with --finder OUTPUT_mask.nii.gz otherwise")
    flags.DEFINE_float("dilate_mm", 0.0, "fill what lies so near to the mask, too")
    flags.DEFINE_list("planes", ["axial"], "axial, coronal, sagittal: several give the mean of their fills")
    flags.DEFINE_integer("samples", 0, "so many more fills, whose standard deviation goes to OUTPUT_std.nii.gz; at least 2")
    flags.DEFINE_enum("checkpoint", "best", ["best", "latest"], "which of the run's checkpoints")
    flags.DEFINE_boolean("strict", False, "warnings are errors")
    flags.DEFINE_boolean("overwrite", False, "replace outputs that exist")


if __name__ == "__main__":
    run_command(main, define_flags, required=["image", "output"])
