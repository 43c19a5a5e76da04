"""Filling from Python: nibabel images and arrays in, the same kind out. The fill itself is that of `inpaint`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, overload

from nibabel.filebasedimages import FileBasedImage  # what `nibabel.load` returns, to mypy
from nibabel.spatialimages import SpatialImage
from numpy.typing import ArrayLike, NDArray

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.imaging import dicom_files, nifti
from ipmedgan_jax.inpainting import scan as scan_files
from ipmedgan_jax.inpainting.fill_given import Fill, check_samples, fill_given
from ipmedgan_jax.inpainting.filled_scan import Progress, ignore
from ipmedgan_jax.inpainting.filler import Filler
from ipmedgan_jax.inpainting.given_options import given_filling
from ipmedgan_jax.inpainting.jobs import Job, check_output
from ipmedgan_jax.inpainting.load import load_filler
from ipmedgan_jax.inpainting.python_messages import python_names, warn

PathLike = str | os.PathLike[str]
Match = Literal["position", "index"] | None


class FillOptions(TypedDict, total=False):
    """The options that `fill` and `fill_with_details` share; see `fill`."""

    system: str | None
    planes: str | Sequence[str]
    dilate_mm: float
    mask_labels: int | Sequence[int]
    match_mask: Match
    strict: bool
    progress: bool | Progress


@overload
def fill(
    image: FileBasedImage | PathLike,
    mask: FileBasedImage | PathLike | ArrayLike,
    model: PathLike | Filler | None = None,
    *,
    affine: None = None,
    **options: Unpack[FillOptions],
) -> SpatialImage: ...
@overload
def fill(
    image: NDArray[Any],
    mask: FileBasedImage | PathLike | ArrayLike,
    model: PathLike | Filler | None = None,
    *,
    affine: ArrayLike,
    **options: Unpack[FillOptions],
) -> NDArray[Any]: ...
def fill(
    image: Any,
    mask: Any,
    model: PathLike | Filler | None = None,
    *,
    affine: ArrayLike | None = None,
    system: str | None = None,
    planes: str | Sequence[str] = ("axial",),
    dilate_mm: float = 0.0,
    mask_labels: int | Sequence[int] = (),
    match_mask: Match = None,
    strict: bool = False,
    progress: bool | Progress = False,
) -> Any:
    """Fills the masked voxels of a 3-D scan. Every other voxel keeps its stored value, bit for bit. Not for diagnosis.

        import nibabel, ipmedgan_jax

        filled = ipmedgan_jax.fill("scan.nii.gz", "lesion.nii.gz", model="flair", dilate_mm=2)
        nibabel.save(filled, "filled.nii.gz")

    The result has the type, scaling and header of the scan, and `nibabel.save` writes the same bytes as `ipmedgan
    inpaint`.

    Args:
      image: a nibabel image, the path of a NIfTI file, or an array `[X, Y, Z]` with `affine`. Its masked voxels may hold any
        value, also NaN.
      mask: not 0 where voxels are to be filled. A nibabel image or a path of a mask on any grid (also DICOM SEG or RTSTRUCT),
        or an array on the grid of the scan, in its order of axes.
      model: the name of a model of the package, a folder that `ipmedgan export` wrote, or what `load_model` returned. To fill
        many scans, load it once.
      affine: `[4, 4]`, maps the voxel indices of an array to millimetres, RAS+ as in nibabel.
      system: instead of a model, a classical fill, for example "laplace".
      planes: any of "axial", "coronal" and "sagittal"; the fills of several are averaged.
      dilate_mm: also fill what lies within this distance of the mask, in millimetres.
      mask_labels: labels of the mask to fill; needed for a mask of several labels.
      match_mask: for a mask image with the scan's shape that lies elsewhere: "position" or "index".
      strict: whether warnings are errors.
      progress: True for a bar; or a function of the slices filled so far and of all slices.

    Returns:
      An array for an array, and otherwise a nibabel image, of the scan's class. The input is not changed.

    Raises:
      UserError: for what cannot be filled, in one line: an empty mask, a 4-D image, NaN outside the mask, an unknown model.

    What to read before the fill is trusted is a `FillWarning`.
    """
    filling = given_filling(planes, 0, strict, dilate_mm, mask_labels, match_mask)
    return fill_given(image, mask, affine, _loaded(model, system), filling, progress).image


@overload
def fill_with_details(
    image: FileBasedImage | PathLike,
    mask: FileBasedImage | PathLike | ArrayLike,
    model: PathLike | Filler | None = None,
    *,
    affine: None = None,
    samples: int = 0,
    **options: Unpack[FillOptions],
) -> Fill[SpatialImage]: ...
@overload
def fill_with_details(
    image: NDArray[Any],
    mask: FileBasedImage | PathLike | ArrayLike,
    model: PathLike | Filler | None = None,
    *,
    affine: ArrayLike,
    samples: int = 0,
    **options: Unpack[FillOptions],
) -> Fill[NDArray[Any]]: ...
def fill_with_details(
    image: Any,
    mask: Any,
    model: PathLike | Filler | None = None,
    *,
    affine: ArrayLike | None = None,
    samples: int = 0,
    system: str | None = None,
    planes: str | Sequence[str] = ("axial",),
    dilate_mm: float = 0.0,
    mask_labels: int | Sequence[int] = (),
    match_mask: Match = None,
    strict: bool = False,
    progress: bool | Progress = False,
) -> Any:
    """Fills as `fill` does; returns a `Fill`: the scan, the mask that was filled, the deviation, the warnings and a report.

        details = ipmedgan_jax.fill_with_details(scan, lesions, model="flair", samples=8)
        details.deviation.get_fdata().max()

    Args:
      image, mask, model, affine, system, planes, dilate_mm, mask_labels, match_mask, strict, progress: see `fill`.
      samples: number of varied fills for the deviation, at least 2; 0 for none. They do not change the filled scan. A
        classical fill has none.
    """
    filling = given_filling(planes, samples, strict, dilate_mm, mask_labels, match_mask)
    return fill_given(image, mask, affine, _loaded(model, system), filling, progress)


def fill_file(
    image: PathLike,
    mask: PathLike,
    output: PathLike,
    model: PathLike | Filler | None = None,
    *,
    system: str | None = None,
    series: str = "",
    mask_output: PathLike | None = None,
    overwrite: bool = False,
    samples: int = 0,
    planes: str | Sequence[str] = ("axial",),
    dilate_mm: float = 0.0,
    mask_labels: int | Sequence[int] = (),
    match_mask: Match = None,
    strict: bool = False,
    progress: bool | Progress = False,
) -> dict[str, Any]:
    """Fills a scan from file to file, as `ipmedgan inpaint` does with one scan; returns the content of the JSON file.

        ipmedgan_jax.fill_file("patient/series", "patient/seg.dcm", "filled", model=flair)

    Args:
      image: a NIfTI file, or the folder of a DICOM series.
      mask: a NIfTI file, or a DICOM SEG or RTSTRUCT.
      output: the .nii or .nii.gz file to write; for DICOM, a new folder. A JSON file is written beside it, and with `samples`
        the deviation as OUTPUT_std.nii.gz.
      series: the number, UID or description of a series, for a folder that holds several.
      mask_output: a file for the voxels that were filled, .nii.gz or, for DICOM, .dcm.
      overwrite: whether files that exist are replaced.
      model, system, samples, planes, dilate_mm, mask_labels, match_mask, strict, progress: see `fill` and
        `fill_with_details`.

    Raises:
      UserError: for what cannot be filled or written, in one line.
    """
    filling = given_filling(planes, samples, strict, dilate_mm, mask_labels, match_mask)
    filler = _loaded(model, system)
    with python_names():
        check_samples(filler, filling)
        job = _job(image, mask, output, series, mask_output)
        job = check_output(job, overwrite=overwrite, deviation=samples > 0)
        if progress is True:
            return scan_files.inpaint_file(filler, job, filling, warn=warn)
        return scan_files.inpaint_file(filler, job, filling, progress=progress or ignore, warn=warn)


def load_model(
    model: PathLike | None = None, *, workdir: PathLike | None = None, system: str | None = None, checkpoint: str = "best"
) -> Filler:
    """Loads what fills, to fill many scans: it is compiled at its first fill, and may be used in several threads.

        flair = ipmedgan_jax.load_model("flair")
        filled = [ipmedgan_jax.fill(scan, mask, flair) for scan, mask in pairs]

    Args:
      model: the name of a model of the package, or a folder that `ipmedgan export` wrote.
      workdir: instead, the folder of a run, of which `checkpoint` is taken: "best", "latest" or a step.
      system: instead, the name of a classical fill.

    Raises:
      UserError: if there is no such model, or if not exactly one of the three is given.
    """
    given = [os.fspath(path) if path is not None else None for path in (workdir, model)]
    with python_names():
        return load_filler(given[0], given[1], system, checkpoint)


def _loaded(model: PathLike | Filler | None, system: str | None) -> Filler:
    """Returns what fills; UserError unless exactly one of the two is given."""
    if model is None and system is None:
        raise UserError("model: is missing; give model='flair' for example, or system='laplace' for a classical fill")
    if model is not None and system is not None:
        raise UserError(f"system={system!r}: expected a model or a system, not both")
    if model is None or isinstance(model, str | os.PathLike):
        return load_model(model, system=system)
    if not hasattr(model, "open"):
        raise UserError(f"model: is of type {type(model).__name__}; expected a name, a folder, or what load_model returned")
    return model


def _job(image: PathLike, mask: PathLike, output: PathLike, series: str, mask_output: PathLike | None) -> Job:
    """Returns the files of one fill; UserError if their names do not fit the kind of the scan."""
    source, target = _path(image), _path(output)
    endings: tuple[str, ...] = nifti.SUFFIXES
    if source.is_dir():
        if target.name.endswith(nifti.SUFFIXES):
            raise UserError(f"--output={target}: expected the name of a folder")
        chosen = dicom_files.choose_one(source, dicom_files.list_series(source), series)
        source, series, endings = chosen.folder, chosen.uid, (*nifti.SUFFIXES, dicom_files.SUFFIX)
    elif series:
        raise UserError(f"--series={series}: is for DICOM; {source} is no folder")
    elif not target.name.endswith(nifti.SUFFIXES):
        raise UserError(f"--output={target}: expected a name that ends in .nii or .nii.gz")
    saved = _path(mask_output) if mask_output is not None else None
    if saved is not None and not saved.name.endswith(endings):
        raise UserError(f"--mask_output={saved}: expected a name that ends in {', '.join(endings)}")
    return Job(source, _path(mask), target, mask_output=saved, series=series)


def _path(given: PathLike) -> Path:
    return user_path(os.fspath(given))
