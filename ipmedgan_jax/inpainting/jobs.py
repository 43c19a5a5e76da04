"""The jobs of `inpaint`: which mask belongs to which image, and where the outputs go."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from absl import logging

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.imaging import bids_names, nifti
from ipmedgan_jax.imaging.bids_dataset import BidsDataset
from ipmedgan_jax.imaging.file_kinds import is_mask, is_output
from ipmedgan_jax.imaging.input_files import list_input_files, named_folder, names_several
from ipmedgan_jax.imaging.nifti import stem
from ipmedgan_jax.inpainting import mask_names, sidecar
from ipmedgan_jax.inpainting.bids_entries import BidsEntries
from ipmedgan_jax.inpainting.mask_pairing import pair_with_masks

_SUBJECT_FOLDER = re.compile(r"sub-[a-zA-Z0-9]+")
"""Matches the name of a subject's folder in BIDS."""


UNFINISHED = "unfinished"
"""Key of a sidecar (the JSON file of an output) while the job's files are not all written."""


@dataclass(frozen=True)
class Job:
    """One image to fill.

    Attributes:
      image: a NIfTI file, or the folder of a DICOM series.
      mask: its mask file; None if the mask is found in the image.
      series: SeriesInstanceUID of the DICOM series; empty for a NIfTI file.
      output: the file or folder to write.
      mask_output: the file for the filled voxels; None for no such file.
      bids: what the JSON files of a BIDS derivative say too; None for an output elsewhere.
      report_number: the number of the scan in the report of fills; empty if it has no report.
      replaces: whether `output` is a folder that an earlier fill wrote, and that this one replaces; see `check_output`.
    """

    image: Path
    mask: Path | None
    output: Path
    mask_output: Path | None = None
    series: str = ""
    bids: BidsEntries | None = None
    report_number: str = ""
    replaces: bool = False

    @property
    def deviation(self) -> Path:
        """File for the standard deviation of several fills."""
        return self.output.with_name(stem(self.output) + "_std.nii.gz")

    @property
    def beside(self) -> Path:
        """Default file for the mask: beside the output."""
        return self.output.with_name(stem(self.output) + "_mask.nii.gz")

    @property
    def segmentation(self) -> Path:
        """File for the mask of a DICOM series that is saved as a DICOM segmentation."""
        return self.output.with_name(stem(self.output) + "_mask.dcm")

    @property
    def sidecar(self) -> Path:
        """JSON file that describes the output."""
        return self.output.with_name(stem(self.output) + ".json")

    @property
    def mask_sidecar(self) -> Path | None:
        """JSON file that describes the mask, in a BIDS derivative."""
        return self.mask_output.with_name(stem(self.mask_output) + ".json") if self.bids and self.mask_output else None

    @property
    def earlier_output(self) -> Path:
        """The output's name outside of BIDS derivatives, which is also that of earlier versions."""
        return self.output.with_name(_output_name(self.image).name)

    @property
    def begun(self) -> bool:
        """Whether an interrupted `inpaint` wrote some of the files, so that they may be replaced."""
        return bool(sidecar.read(self.sidecar).get(UNFINISHED))

    @property
    def owns_folder(self) -> bool:
        """Whether the output is the folder of a series that a fill wrote, by the sidecar, so that it may be replaced."""
        if not self.series or not self.output.is_dir() or self.output.is_symlink():
            return False
        return self.begun or sidecar.describes(sidecar.read(self.sidecar), self.output)

    @property
    def done(self) -> bool:
        """Whether all files are written; `sidecar.changed_outputs` tells whether they still are as they were written."""
        kept = self.mask_output is None or self.mask_output.exists()
        return kept and self.output.exists() and bool(sidecar.read(self.sidecar)) and not self.begun

    def outputs(self, *, deviation: bool) -> list[Path]:
        """Returns the files and folders that are written beside the sidecar, with or without that of the deviation."""
        return [path for path in (self.output, self.deviation if deviation else None, self.mask_output) if path]

    def written(self, *, deviation: bool) -> list[Path]:
        """Returns all files and folders that are written, with or without that of the deviation."""
        return [path for path in (*self.outputs(deviation=deviation), self.mask_sidecar, self.sidecar) if path]


@dataclass(frozen=True)
class Unpaired:
    """An image without a unique mask: the job that it would be, and the error message."""

    job: Job
    reason: str


def find_jobs(
    image: str, mask: str | None, output: Path, dataset: BidsDataset | None = None
) -> tuple[list[Job], list[Unpaired]]:
    """Returns the jobs for all images that a flag names, and each image without a unique mask.

    Masks and earlier outputs among the images are skipped. UserError if no image matches, if two outputs would have the same
    name, or if `output` does not fit the number of images.

    Args:
      image: a file, a folder, a pattern or a comma-separated list of NIfTI files.
      mask: a file, a folder, a pattern, a list or a template; None if masks are found in the images.
      output: a file or, for several images, a folder.
      dataset: the BIDS data set of several images, whose outputs get names of a BIDS derivative; None for other names.
    """
    if not names_several(image):
        path = user_path(image)
        if not path.exists() and not path.is_symlink() and not path.name.endswith(nifti.SUFFIXES):
            raise UserError(f"--image={image}: not found")
        if not output.name.endswith(nifti.SUFFIXES):
            raise UserError(f"--output={output}: expected a name that ends in .nii or .nii.gz")
        return [Job(path, _mask_of_one(path, mask) if mask else None, output)], []
    if output.name.endswith(nifti.SUFFIXES):
        raise UserError(f"--output={output}: expected the name of a folder for the outputs of several images")
    named = named_folder(image)
    images = _scans_of(list_input_files(image), dataset, named)
    pairs, refused = pair_with_masks(images, mask, named)
    if not pairs and not refused:
        raise UserError(f"--image={image}: only masks and earlier outputs match")
    place = {path: output / _place_in_tree(path, named) for path in images}
    found = [_job_of(path, own_mask, place[path], dataset) for path, own_mask in pairs]
    check_outputs_differ(found)
    return found, [Unpaired(_job_of(path, None, place[path], dataset), reason) for path, reason in refused.items()]


def _scans_of(paths: Sequence[Path], dataset: BidsDataset | None, named: Path) -> list[Path]:
    """Returns the scans among files: not masks, outputs, or what a BIDS data set keeps apart from its own scans."""
    scans = [path for path in paths if not is_mask(path) and not is_output(path)]
    if dataset is None:
        return scans
    own = dataset.own_files(scans, named)
    if len(own) < len(scans):
        logging.info("%d images in derivatives, sourcedata and code of %s left out", len(scans) - len(own), dataset.root)
    return own


def _job_of(image: Path, mask: Path | None, place: Path, dataset: BidsDataset | None) -> Job:
    """Returns the job of one of several images.

    Args:
      image: the image.
      mask: its mask, if it has one.
      place: where a file with the image's own name would be written.
      dataset: the image's BIDS data set, or None.
    """
    name, ending = bids_names.parse(image), image.name.removeprefix(stem(image))
    if dataset is None or name is None:
        return Job(image, mask, _output_name(place))
    own_mask = bids_names.mask_name(name, with_suffix=bids_names.has_other_contrasts(image))
    filled = place.with_name(bids_names.filled_name(name).text + ending)
    return Job(image, mask, filled, mask_output=place.with_name(f"{own_mask.text}.nii.gz"))


def _mask_of_one(image: Path, mask: str) -> Path:
    """Returns the mask of a single image; UserError if the flag may name several."""
    if mask_names.is_template(mask):
        return mask_names.mask_by_template(mask, image)
    if names_several(mask):
        raise UserError(
            f"--mask={mask}: a folder, a pattern or a list, but --image names one scan; name its mask, or give --image as a "
            "folder, a pattern or a list too"
        )
    return user_path(mask)


def _place_in_tree(image: Path, named: Path) -> Path:
    """Returns an image's path below the output folder; it depends on this image and the flag, not on the other images.

    The path begins with the folder `sub-...` nearest to the file. Without one, it is relative to the folder that the flag
    names, `named_folder`.
    """
    for folder in image.absolute().parents:
        if _SUBJECT_FOLDER.fullmatch(folder.name):
            return image.absolute().relative_to(folder.parent)
    return image.absolute().relative_to(named)


def check_outputs_differ(jobs: Sequence[Job], *, deviation: bool = False) -> None:
    """UserError if two jobs would write the same file; `deviation` is whether files of standard deviations are written."""
    first: dict[Path, Job] = {}
    written = [(path, job) for job in jobs for path in job.written(deviation=deviation)]
    for path, job in written:
        other = first.setdefault(path, job)
        if other is not job:
            raise UserError(
                f"{other.image} and {job.image} would both be written to {job.output} or beside it; "
                "fill them in two calls, with another --output each"
            )


def check_output(job: Job, *, overwrite: bool, deviation: bool = False, several: bool = False) -> Job:
    """Checks a job's outputs before any work; returns the job, with whether it replaces a folder.

    UserError if an output would replace an input, another output or file, or a folder that is not as an earlier fill of a
    series wrote it, or if it cannot be written.

    Args:
      job: the job.
      overwrite: whether existing outputs may be replaced.
      deviation: whether the file of standard deviations is written too.
      several: whether the job is one of several, whose finished outputs are skipped.
    """
    inputs = {path.resolve() for path in (job.image, job.mask) if path}
    written = job.written(deviation=deviation)
    twice = next((path for i, path in enumerate(written) if path.resolve() in {one.resolve() for one in written[:i]}), None)
    if twice is not None:
        raise UserError(f"--mask_output={job.mask_output}: {twice} would be written twice; choose another name for the mask")
    for path in written:
        if path.resolve() in inputs:
            raise UserError(f"--output={job.output}: would overwrite an input, {path}; choose another name")
        if job.image.is_dir() and job.image.resolve() in path.resolve().parents:
            raise UserError(f"--output={job.output}: is inside the folder of the series; choose another folder")
        own = not path.is_dir() or (path == job.output and job.owns_folder)
        if path.exists() and not own:
            told = f", and {job.sidecar.name} does not describe it as it is; move it away, or" if job.series else ";"
            raise UserError(f"{path}: exists{told} choose another name")
        if path.exists() and not (overwrite or job.begun):
            if several:
                raise _incomplete(job)
            raise UserError(f"{path}: exists; choose another name, or give --overwrite")
    for path in written:
        folder = next(parent for parent in path.resolve().parents if parent.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(f"{path}: cannot be written, {folder} is not a writable folder")
    return replace(job, replaces=job.output.is_dir())


def _incomplete(job: Job) -> UserError:
    """Returns the error for a job of several, of whose outputs some exist, but not all as one fill wrote them."""
    if not job.sidecar.exists():
        problem = f"{job.output}: exists without {job.sidecar.name}, which would say how it was made"
    elif not sidecar.read(job.sidecar):
        problem = f"{job.sidecar}: damaged, so that nothing says how {job.output.name} was made"
    else:
        missing = next((path for path in job.outputs(deviation=False) if not path.exists()), job.output)
        problem = f"{job.sidecar}: exists, but {missing.name} does not"
    return UserError(f"{problem}; move all files of this output away to fill it again, or give --overwrite to fill all again")


def _output_name(image: Path) -> Path:
    """Turns sub-01_FLAIR.nii.gz into sub-01_desc-inpainted_FLAIR.nii.gz; other names get the entity at their end."""
    name, ending = stem(image), image.name.removeprefix(stem(image))
    name = re.sub(r"_desc-[a-zA-Z0-9]+", "", name)  # BIDS allows an entity only once
    entities, separator, suffix = name.rpartition("_")
    if not separator or "-" in suffix:
        entities, suffix = name, ""
    return image.with_name("_".join(filter(None, [entities, "desc-inpainted", suffix])) + ending)
