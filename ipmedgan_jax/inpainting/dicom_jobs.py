"""The jobs of `inpaint` on DICOM: which series of which folders are filled, their masks, and where the outputs go."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.imaging import dicom_files, dicom_masks, nifti
from ipmedgan_jax.imaging.dicom_files import ALL, SeriesFiles
from ipmedgan_jax.imaging.dicom_folders import expand, is_one_path, list_dicom_folders
from ipmedgan_jax.imaging.dicom_masks import MaskReference
from ipmedgan_jax.inpainting.jobs import Job, Unpaired


def find_series_jobs(image: str, series: Sequence[str], mask: str | None, output: Path) -> tuple[list[Job], list[Unpaired]]:
    """Returns the jobs for the DICOM series that flags name, and each series without a unique mask.

    One folder and at most one `series` name one job, whose output is `output` itself. Otherwise each series gets a folder of
    its own in `output`, in the tree that it comes from.

    UserError if `image` names no DICOM, if a folder holds several series and `series` does not choose, or if `output` is
    inside a folder of `image`.

    Args:
      image: a folder, a pattern or a comma-separated list.
      series: numbers, UIDs or descriptions of series, or `ALL`; empty for the only one.
      mask: a mask file; for several series, files or folders with segmentations and structure sets that refer to them;
        None if masks are found in the images.
      output: a folder.
    """
    folders = list_dicom_folders(image, despite_nifti=bool(series))
    if not folders:
        raise UserError(f"--series={','.join(series)}: is for DICOM; --image={image} names no folder with DICOM files")
    if output.name.endswith(nifti.SUFFIXES):
        raise UserError(f"--output={output}: expected the name of a folder")
    for folder, _ in folders:
        if folder.resolve() in output.resolve().parents:
            raise UserError(f"--output={output}: is inside {folder}, the folder of the series; choose another folder")
    if is_one_path(image) and len(series) <= 1 and not any(name == ALL or "*" in name for name in series):
        (folder, _) = folders[0]
        chosen = dicom_files.choose_one(folder, dicom_files.list_series(folder), series[0] if series else "")
        return [Job(chosen.folder, user_path(mask) if mask else None, output, series=chosen.uid)], []
    return _several_jobs(folders, series, _list_masks(mask) if mask else None, output)


def _several_jobs(
    folders: Sequence[tuple[Path, Path]], names: Sequence[str], masks: list[MaskReference] | None, output: Path
) -> tuple[list[Job], list[Unpaired]]:
    jobs: dict[str, Job] = {}
    refused = []
    for folder, base in folders:
        listed = dicom_files.list_series(folder)
        for series in dicom_files.choose_series(folder, listed, names):
            if series.uid in jobs:  # a pattern may match a folder and its parent
                continue
            job = Job(series.folder, None, output / _output_name(series, listed, base), series=series.uid)
            try:
                mask = dicom_masks.choose_mask(masks, series.uid, series.frame_of_reference) if masks is not None else None
                jobs[series.uid] = replace(job, mask=mask)
            except UserError as error:
                refused.append(Unpaired(job, f"{series.folder}: {error}"))
    if len({job.output for job in jobs.values()}) < len(jobs):
        raise UserError(f"--series={','.join(names)}: several of these series have one number; choose by their UIDs")
    return list(jobs.values()), refused


def _list_masks(mask: str) -> list[MaskReference]:
    """Returns the segmentations and structure sets that a flag names; UserError if there are none."""
    paths = [path for path, _ in expand(mask)]
    masks = [found for path in paths if path.is_dir() or dicom_files.is_dicom(path) for found in dicom_masks.list_masks(path)]
    if not masks:
        raise UserError(f"--mask={mask}: names no DICOM segmentation or structure set, which several series need")
    return masks


def _output_name(series: SeriesFiles, listed: Sequence[SeriesFiles], base: Path) -> Path:
    """Returns the name of a series' output: that of its folder if it is alone there, or else its number in that folder."""
    folder = series.folder.relative_to(base)
    alone = not any(other is not series and series.folder in (other.folder, *other.folder.parents) for other in listed)
    if alone and folder.name:
        return folder.with_name(f"{folder.name}_desc-inpainted")
    return folder / f"series-{series.series_number or series.uid}_desc-inpainted"
