"""Fills the masked voxels of scans with a trained generator or a classical fill; every other voxel stays bit-identical.

  python -m ipmedgan_jax.inpaint --workdir=runs/mri --image=in.nii.gz --mask=hole.nii.gz --output=out.nii.gz
  python -m ipmedgan_jax.inpaint --workdir=runs/mri --image='in/**/*_FLAIR.nii.gz' --mask='in/**/*_mask.nii.gz' --output=out
  python -m ipmedgan_jax.inpaint --workdir=runs/ct --image=ct.nii.gz --mask_above_hu=3000 --dilate_mm=3 --output=out.nii.gz
  python -m ipmedgan_jax.inpaint --system=laplace --image=in.nii.gz --mask=hole.nii.gz --output=out.nii.gz
  python -m ipmedgan_jax.inpaint --workdir=runs/mri --finder=runs/mri-finder --image=in.nii.gz --output=out.nii.gz

An image is a NIfTI file or the folder of a DICOM series; the output is of the same kind. A mask is a NIfTI file, a DICOM
segmentation or a structure set. --series chooses among the series of a DICOM folder. The output keeps the image's grid,
type, scaling and header. A JSON file beside it records the filled voxels, the generator and every warning.

Several images (a pattern, a folder or a comma-separated list) are written to a folder as NAME_desc-inpainted_SUFFIX. The mask
of each image is the one file with its BIDS entities or its name, also with mask or lesion in place of its contrast (RAS_mask
for RAS_FLAIR in one folder), or the one that a template gives for it: --mask='{folder}/{case}-seg.nii.gz'. The
outputs for a BIDS data set are a BIDS derivative.

With --system, nothing needs to be trained: a classical fill, one of surround_mean, telea, navier_stokes, biharmonic, laplace,
rbf and shift_map, fills the scan's own slices in its own unit.

With --finder, the mask is the damage that the finder detects. It is written to OUTPUT_mask.nii.gz or to --mask_output.

Several processes can divide the images without a connection: --shard=3/8 fills the third of eight shares.
Without the flag, the tasks of SLURM, Open MPI and Kubernetes divide them. A call that names one scan always fills it.

Not for diagnosis.
"""

from typing import TYPE_CHECKING

from absl import flags

from ipmedgan_jax.core import checkpoint_choice, ranks, runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.inpainting import shipped

if TYPE_CHECKING:
    from ipmedgan_jax.inpainting.filling_options import MaskChoice


def main() -> None:
    runtime.set_up()
    fill()


def fill() -> None:
    """Fills this process's share of the images that the flags name; UserError for flags that do not fit together."""
    from ipmedgan_jax.imaging import dicom_files, nifti
    from ipmedgan_jax.inpainting.classical_filler import check_samples
    from ipmedgan_jax.inpainting.cohort import Cohort, fill_cohort
    from ipmedgan_jax.inpainting.filling_options import Filling
    from ipmedgan_jax.inpainting.load import load_filler, load_finder

    given = flags.FLAGS
    if sum(source is not None for source in (given.mask, given.mask_above_hu, given.finder)) != 1:
        raise UserError("expected one of --mask, --mask_above_hu and --finder")
    check_samples(given.system, given.samples)
    if given.mask_output is not None and not given.mask_output.endswith((*nifti.SUFFIXES, dicom_files.SUFFIX)):
        raise UserError(f"--mask_output={given.mask_output}: expected a .nii, .nii.gz or .dcm file, for a single image")
    cohort = Cohort(
        image=given.image,
        mask=given.mask,
        output=user_path(given.output),
        series=tuple(given.series),
        mask_output=user_path(given.mask_output) if given.mask_output else None,
        save_masks=given.save_masks,
        overwrite=given.overwrite,
        bids=given.bids,
        skull_stripped=given.skull_stripped,
        report=given.report,
    )
    filling = Filling(
        planes=tuple(given.planes),
        samples=given.samples,
        strict=given.strict,
        empty_mask=given.empty_mask,
        mask=_mask_choice(),
    )
    fill_cohort(
        cohort,
        filling,
        ranks.flag_shard(),
        lambda: load_filler(given.workdir, given.model, given.system, given.checkpoint),
        (lambda filler: load_finder(given.finder, filler)) if given.finder is not None else None,
    )


def _mask_choice() -> "MaskChoice":
    """Returns the selection of voxels that the flags name; UserError for a bad value."""
    from ipmedgan_jax.inpainting.filling_options import MaskChoice

    given = flags.FLAGS
    for name in ("mask_labels", "match_mask"):
        if given[name].value and given.mask is None:
            raise UserError(f"--{name} needs a --mask")
    if not all(label.isdecimal() and int(label) for label in given.mask_labels):
        raise UserError(f"--mask_labels={','.join(given.mask_labels)}: expected whole numbers above 0, for example 1,4")
    return MaskChoice(
        labels=tuple(map(int, given.mask_labels)),
        match=given.match_mask,
        above_hu=given.mask_above_hu,
        dilate_mm=given.dilate_mm,
    )


def define_flags() -> None:
    ranks.define_shard_flag()
    flags.DEFINE_string("workdir", None, "folder of the run whose generator fills")
    flags.DEFINE_string(
        "model", None, f"instead of --workdir: {shipped.flag_text()} that python -m ipmedgan_jax.export wrote"
    )
    flags.DEFINE_string("system", None, "instead of --workdir: classical fill, for example laplace; the list is above")
    flags.DEFINE_string(
        "image", None, "a NIfTI file or the folder of a DICOM series; or several: a folder, a pattern or a list"
    )
    flags.DEFINE_list(
        "series",
        [],
        "series of a DICOM folder that holds several: numbers, UIDs or descriptions, where * matches any characters; or all",
    )
    flags.DEFINE_string(
        "mask",
        None,
        "a NIfTI file, not 0 where voxels are to be filled, a DICOM SEG or RTSTRUCT; for several images a folder, a pattern, "
        "a list, or a template, "
        "where {folder} is the image's folder, {parent} that folder's name, {stem} the image's name without .nii.gz, and "
        "{case} the stem without its last part after _ or -",
    )
    flags.DEFINE_string("output", None, "file to write, .nii or .nii.gz; for several images or a DICOM series, a folder")
    flags.DEFINE_list("mask_labels", [], "labels of the mask to fill, for example 1,4; needed for a mask of several labels")
    flags.DEFINE_enum(
        "match_mask",
        None,
        ["position", "index"],
        "for a mask that has the scan's shape but lies elsewhere: fill by position in millimetres, or by voxel index",
    )
    flags.DEFINE_enum(
        "empty_mask",
        "error",
        ["error", "copy", "skip"],
        "for a scan with nothing to fill: report an error, write an unchanged copy, or write nothing",
    )
    flags.DEFINE_float(
        "mask_above_hu", None, "instead of --mask: fill voxels of a CT above this value, for example 3000 for metal"
    )
    flags.DEFINE_string(
        "finder", None, "instead of --mask: folder of a run of the system `finder`; fill the damage it detects"
    )
    flags.DEFINE_string(
        "mask_output",
        None,
        "NIfTI file for the filled voxels of one image, or .dcm for a DICOM segmentation; with --finder, OUTPUT_mask.nii.gz",
    )
    flags.DEFINE_boolean("save_masks", False, "also write the filled voxels of each image, to OUTPUT_mask.nii.gz or .dcm")
    flags.DEFINE_float("dilate_mm", 0.0, "also fill voxels within this distance of the mask")
    flags.DEFINE_list("planes", ["axial"], "any of axial, coronal, sagittal; the fills of several planes are averaged")
    flags.DEFINE_integer(
        "samples", 0, "number of varied fills, 0 or at least 2; their standard deviation goes to OUTPUT_std.nii.gz"
    )
    checkpoint_choice.define_flag()
    flags.DEFINE_boolean(
        "bids", True, "write a BIDS derivative for images of a BIDS data set; --nobids keeps the names of other folders"
    )
    flags.DEFINE_boolean(
        "skull_stripped", None, "what the BIDS derivative says of its scans; by default found from their JSON files or voxels"
    )
    flags.DEFINE_boolean("strict", False, "treat warnings as errors")
    flags.DEFINE_boolean("overwrite", False, "replace existing outputs")
    flags.DEFINE_boolean(
        "report",
        None,
        "write a page that shows each fill, report.html, or OUTPUT_report.html for one image; by default for several images",
    )


if __name__ == "__main__":
    run_command(main, define_flags, required=["image", "output"])
