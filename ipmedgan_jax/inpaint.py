"""Fills the masked part of scans with what a trained run makes of the rest; every other voxel stays as it is, bit for bit.

  python -m ipmedgan_jax.inpaint --workdir=runs/mri --image=in.nii.gz --mask=hole.nii.gz --output=out.nii.gz
  python -m ipmedgan_jax.inpaint --workdir=runs/mri --image='in/**/*_FLAIR.nii.gz' --mask='in/**/*_mask.nii.gz' --output=out
  python -m ipmedgan_jax.inpaint --workdir=runs/ct --image=ct.nii.gz --mask_above_hu=3000 --dilate_mm=3 --output=out.nii.gz
  python -m ipmedgan_jax.inpaint --workdir=runs/mri --finder=runs/mri-finder --image=in.nii.gz --output=out.nii.gz

An image is a NIfTI file, or the folder of a DICOM series, and then so is the output. The output has its image's grid, type,
scaling and header. Beside it lies a JSON file: what was filled, with what, and every warning. Several images (a pattern, a
folder, or a comma list) go to a folder, as NAME_desc-inpainted_SUFFIX; each one's mask is the one file with its BIDS entities
or its name. What a --finder took for damage goes to OUTPUT_mask.nii.gz, or to --mask_output. Not for diagnosis.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags, logging

from ipmedgan_jax.core import runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.distributed import crew, meeting

if TYPE_CHECKING:
    from ipmedgan_jax.inpainting.scan import MaskChoice


def main() -> None:
    runtime.set_up()
    with crew.join(meeting.flags_of_all()) as everyone:
        fill_all(everyone)


def fill_all(everyone: crew.Crew) -> None:
    """All images of this command, by all processes; the first says what could not be filled. UserError then."""
    from ipmedgan_jax.imaging import nifti
    from ipmedgan_jax.imaging.grids import PLANES
    from ipmedgan_jax.inpainting.jobs import check_output, find_jobs
    from ipmedgan_jax.inpainting.load import load, load_finder
    from ipmedgan_jax.inpainting.scan import Filling, inpaint_file

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


def _mask_choice() -> "MaskChoice":
    """From the flags."""
    from ipmedgan_jax.inpainting.scan import MaskChoice

    given = flags.FLAGS
    if given.mask_labels and given.mask is None:
        raise UserError("--mask_labels is for a --mask")
    if not all(label.isdecimal() and int(label) for label in given.mask_labels):
        raise UserError(f"--mask_labels={','.join(given.mask_labels)}: wanted whole numbers above 0, for example 1,4")
    if not 0 <= given.dilate_mm < math.inf:
        raise UserError(f"--dilate_mm={given.dilate_mm:g}: wanted millimetres, 0 or more")
    return MaskChoice(labels=tuple(map(int, given.mask_labels)), above_hu=given.mask_above_hu, dilate_mm=given.dilate_mm)


def define_flags() -> None:
    meeting.define_flags()
    flags.DEFINE_string("workdir", None, "the run whose generator fills")
    flags.DEFINE_string("model", None, "or the folder that ipmedgan_jax.export wrote")
    flags.DEFINE_string("image", None, "a NIfTI file; or a folder, a pattern or a list, then --output is a folder")
    flags.DEFINE_string("mask", None, "a NIfTI file, not 0 where voxels are to be filled; or a folder, a pattern or a list")
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
