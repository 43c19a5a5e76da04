"""Filling all scans of one call of `inpaint`."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from absl import logging

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.lines import print_line
from ipmedgan_jax.core.ranks import Shard, scheduled_shard
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.imaging import bids_dataset, dicom_files, dicom_folders
from ipmedgan_jax.imaging.dicom_folders import list_dicom_folders
from ipmedgan_jax.imaging.input_files import named_folder, names_several
from ipmedgan_jax.inpainting import bids_derivative, fill_report, input_digests, mask_names, report_names, sidecar
from ipmedgan_jax.inpainting.bids_derivative import Derivative
from ipmedgan_jax.inpainting.dicom_jobs import find_series_jobs
from ipmedgan_jax.inpainting.fill_report import FillReport, ReportPaths
from ipmedgan_jax.inpainting.filler import Filler
from ipmedgan_jax.inpainting.filling_options import Filling
from ipmedgan_jax.inpainting.find_damage import LoadedFinder
from ipmedgan_jax.inpainting.jobs import Job, Unpaired, check_output, check_outputs_differ, find_jobs
from ipmedgan_jax.inpainting.scan import inpaint_file, requested


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """The images, masks and outputs of one call.

    Attributes:
      image: a file, a folder, a pattern or a list.
      series: which DICOM series of the folders are filled: numbers, UIDs or descriptions; empty if each holds one.
      mask: likewise; None if the masks are found in the images.
      output: the file to write, or the folder for several images.
      mask_output: the file for the filled voxels of a single image; None for the default.
      save_masks: whether the filled voxels of each image are written beside its output.
      overwrite: whether existing outputs are replaced.
      bids: whether the outputs for several images of a BIDS data set are a BIDS derivative.
      skull_stripped: what that derivative says of its scans; None if they have to tell.
      report: whether a page shows the fills; None for a page of several images only.
    """

    image: str
    mask: str | None
    output: Path
    series: tuple[str, ...] = ()
    mask_output: Path | None = None
    save_masks: bool = False
    overwrite: bool = False
    bids: bool = True
    skull_stripped: bool | None = None
    report: bool | None = None


def fill_cohort(
    cohort: Cohort,
    filling: Filling,
    shard: Shard | None,
    load: Callable[[], Filler],
    load_finder: Callable[[Filler], LoadedFinder] | None = None,
) -> None:
    """Fills this shard's images; in an output folder, finished ones are skipped unless `overwrite` is set.

    Without a shard, the scheduler's tasks divide several images; a call that names one scan fills it.
    `load_finder` is given if the masks are found in the images.

    UserError, before any work, if an output that exists was made from other inputs, by other weights or with other settings:
    one folder must not hold the fills of two settings.

    UserError if an image of this shard cannot be filled; all others are filled first. An image without a mask is reported
    by the first shard.
    """
    jobs, unpaired, derivative = _find(cohort)
    names_one = not unpaired and all(job.output == cohort.output for job in jobs)
    shard = shard or (Shard() if names_one else scheduled_shard())
    several = len(jobs) + len(unpaired) > 1
    if several and cohort.mask_output is not None:
        raise UserError(
            f"--mask_output={cohort.mask_output}: expected one image, found {len(jobs) + len(unpaired)}; give --save_masks"
        )
    as_segmentation = cohort.mask_output is not None and cohort.mask_output.suffix == dicom_files.SUFFIX
    if as_segmentation and not all(job.series for job in jobs):
        raise UserError(f"--mask_output={cohort.mask_output}: a DICOM segmentation needs a DICOM series as --image")
    report_paths = _report_paths(cohort, jobs, several=several)
    if report_paths is not None:
        jobs = [replace(job, report_number=report_names.scan_number(job, report_paths.outputs)) for job in jobs]
    all_jobs: Sequence[Job] = [_with_mask_output(job, cohort, finding=load_finder is not None) for job in jobs]
    check_outputs_differ(all_jobs, deviation=filling.samples > 0)
    problems, jobs = [], list(shard.share(all_jobs))
    if len(jobs) < len(all_jobs):
        remedy = "" if shard.origin == "--shard" else "; --shard=1/1 takes all"
        print_line(f"{shard}: {len(jobs)} of {counted(len(all_jobs), 'scan')}{remedy}")
    done = [job for job in jobs if job.output != cohort.output and not cohort.overwrite and job.done]
    to_fill = [job for job in jobs if job not in done]
    to_fill = [
        check_output(job, overwrite=cohort.overwrite, deviation=filling.samples > 0, several=job.output != cohort.output)
        for job in to_fill
    ]
    if jobs:
        filler = load()
        if load_finder is not None:
            filling = replace(filling, mask=replace(filling.mask, finder=load_finder(filler)))
        report = FillReport(report_paths, filler, filling)
        damaged = _check_done(filler, done, filling, report)
        if derivative is not None and to_fill:
            derivative.write(all_jobs)
        report.start(all_jobs, unpaired)
        for image in unpaired if shard.index == 0 else []:
            report.add_unpaired(image)
            problems.append(f"{image.reason}{report.name_of(image.job)}")
        try:
            problems += [*damaged.values(), *_fill_all(filler, to_fill, filling, report, several=several)]
            _add_finished(report, done, damaged)
        finally:
            report.write()
    elif shard.index == 0:
        problems = [image.reason for image in unpaired]
    for problem in problems:
        logging.error("%s", problem)
    if problems:
        raise UserError(f"{counted(len(problems), 'image')} not filled; see the errors above")


def _find(cohort: Cohort) -> tuple[list[Job], list[Unpaired], Derivative | None]:
    """Returns all jobs, each image without a unique mask, and the BIDS derivative that the outputs belong to."""
    if cohort.series or list_dicom_folders(cohort.image):
        jobs, unpaired = find_series_jobs(cohort.image, cohort.series, cohort.mask, cohort.output)
        dataset = None
    else:
        dataset = bids_dataset.find(named_folder(cohort.image)) if cohort.bids and names_several(cohort.image) else None
        jobs, unpaired = find_jobs(cohort.image, cohort.mask, cohort.output, dataset)
    if dataset is None:
        _tell_of_dicom(cohort, jobs)
        if cohort.skull_stripped is not None:
            raise UserError(f"--skull_stripped: is for the scans of a BIDS data set; --image={cohort.image} names none")
        return jobs, unpaired, None
    by_template = cohort.mask is None or mask_names.is_template(cohort.mask)
    masks = None if by_template else named_folder(str(cohort.mask))
    derivative, jobs = bids_derivative.prepare(jobs, dataset, masks, cohort.output, cohort.skull_stripped)
    return jobs, unpaired, derivative


def _tell_of_dicom(cohort: Cohort, jobs: Sequence[Job]) -> None:
    """Warns if NIfTI files are filled from folders that hold DICOM series too."""
    folders = [] if any(job.series for job in jobs) else dicom_folders.passed_over(cohort.image)
    if folders:
        logging.warning(
            "%s: holds DICOM series, which are passed over, because there are NIfTI scans too; --series=all takes the series",
            folders[0],
        )


def _report_paths(cohort: Cohort, jobs: Sequence[Job], *, several: bool) -> ReportPaths | None:
    """Returns where the page of the fills is written; None for no page."""
    in_folder = several or any(job.output != cohort.output for job in jobs)
    if not (in_folder if cohort.report is None else cohort.report):
        return None
    return fill_report.paths_in(cohort.output) if in_folder else fill_report.paths_beside(cohort.output)


def _add_finished(report: FillReport, done: Sequence[Job], damaged: Mapping[Path, str]) -> None:
    """Adds outputs that were there before to the page, and those that cannot be used any more with their errors."""
    for job in done:
        if job.output in damaged:
            report.add_unfilled(job, damaged[job.output], failed=True)
        else:
            report.add_finished(job)


def _check_done(filler: Filler, jobs: Sequence[Job], filling: Filling, report: FillReport) -> dict[Path, str]:
    """Compares finished outputs with what is asked, and with their own digests.

    Returns an error for each output that is damaged, or whose input cannot be read any more, or that carries a warning while
    the fill is strict. UserError if some were made otherwise.
    """
    problems: dict[Path, str] = {}
    made_otherwise = []
    for job in jobs:
        try:
            saved = sidecar.read(job.sidecar)
            asked = input_digests.accept_whole_folders(requested(filler, job, filling), saved, job.image, job.mask)
            lines = sidecar.differences(saved, asked)
        except UserError as error:
            problems[job.output] = f"{error}; its output {job.output} exists"
            continue
        if lines:
            made_otherwise.append(job)
            logging.error("%s: made otherwise: %s", job.output, "; ".join(lines))
        elif changed := sidecar.changed_outputs(saved, job.outputs(deviation=filling.samples > 0)):
            problems[job.output] = (
                f"{changed[0]}: not as it was written, by its SHA-256 in {job.sidecar.name}; move all files of this output "
                "away to fill it again"
            )
        elif filling.strict and isinstance(warnings := saved.get("warnings"), list) and warnings:
            problems[job.output] = f"{job.image}: {warnings[0]} (--strict); its output {job.output} exists"
        else:
            logging.info("%s: exists, skipped%s", job.output, report.name_of(job))
    if made_otherwise:
        raise UserError(
            f"{len(made_otherwise)} of {len(jobs)} outputs that exist were made otherwise than is asked now, see the errors "
            "above; give --overwrite to fill them anew, or another --output"
        )
    return problems


def _with_mask_output(job: Job, cohort: Cohort, *, finding: bool) -> Job:
    """Sets where the mask is written: to the given file, or beside the output."""
    beside = job.segmentation if job.series and cohort.save_masks else job.beside
    own = cohort.mask_output or job.mask_output
    return replace(job, mask_output=own or (beside if finding or cohort.save_masks else None))


def _fill_all(filler: Filler, jobs: list[Job], filling: Filling, report: FillReport, *, several: bool) -> list[str]:
    """Fills each job and adds it to the page; returns the errors of jobs that failed. UserError for a single image."""
    problems = []
    for job in jobs:
        try:
            content = inpaint_file(filler, job, filling, finished=functools.partial(report.add, job))
            print_line(f"{_outcome(job, filling, content)}{report.name_of(job)}")
            if "empty_mask" in content:
                report.add_unfilled(job, content["empty_mask"], failed=False, warnings=content["warnings"])
        except UserError as error:
            report.add_unfilled(job, str(error), failed=True)
            if not several:
                raise
            problems.append(f"{error}{report.name_of(job)}")
    return problems


def _outcome(job: Job, filling: Filling, report: dict[str, Any]) -> str:
    """Returns the line that is printed for a job that did not fail."""
    if report["mask_voxels"]:
        return f"{job.output}: {counted(report['mask_voxels'], 'voxel')} of {counted(report['slices'], 'slice')} filled"
    if filling.empty_mask == "copy":
        return f"{job.output}: an unchanged copy of {job.image}; {report['empty_mask']}"
    stays = ", an earlier output stays" if job.output.exists() else ""
    return f"{job.output}: not written{stays}; {report['empty_mask']}"
