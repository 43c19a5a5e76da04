"""Which image is filled by which mask, and where the result goes."""

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ipmedgan_jax.data import dicom, nifti
from ipmedgan_jax.errors import UserError

_ENTITY = re.compile(r"(?:^|_)([a-zA-Z0-9]+)-([a-zA-Z0-9]+)(?=_|$)")
_OF_DERIVATIVES = frozenset({"desc", "label", "space", "res", "den"})
"""BIDS entities that a mask may have and its image not, or with another value."""


@dataclass(frozen=True)
class Job:
    """One image, its mask (None: found in the image itself), and the file to be written."""

    image: Path
    mask: Path | None
    output: Path

    @property
    def deviation(self) -> Path:
        return self.output.with_name(stem(self.output) + "_std.nii.gz")

    @property
    def sidecar(self) -> Path:
        return self.output.with_name(stem(self.output) + ".json")


def stem(path: Path) -> str:
    """The name without .nii or .nii.gz."""
    return next((path.name.removesuffix(suffix) for suffix in nifti.SUFFIXES if path.name.endswith(suffix)), path.name)


def jobs(image: str, mask: str | None, output: Path) -> list[Job]:
    """What is to be done: one image, or all that a folder or a pattern names.

    UserError where nothing matches, an image has no mask of its own or several, or two outputs would have one name.
    """
    one = Path(image).expanduser()
    if dicom.is_series(one):
        return [Job(one, Path(mask).expanduser() if mask else None, output)]
    if not one.is_dir() and not glob.has_magic(image):
        if not output.name.endswith(nifti.SUFFIXES):
            raise UserError(f"--output={output}: wanted a name that ends in .nii or .nii.gz")
        return [Job(one, Path(mask).expanduser() if mask else None, output)]
    images = _files(image)
    masks = _files(mask) if mask else []
    shared = Path(os.path.commonpath([each.parent for each in images]))
    found = [Job(each, _mask_of(each, masks) if mask else None, output / _named(each.relative_to(shared))) for each in images]
    if len({job.output for job in found}) < len(found):
        raise UserError(f"--image={image}: several of these images would be written under one name")
    return found


def check_output(job: Job, *, overwrite: bool) -> None:
    """UserError, before any work, where the output would replace its input or another file, or cannot be written."""
    for path in (job.image, job.mask):
        if path and job.output.resolve() == path.resolve():
            raise UserError(f"--output={job.output}: is its own input; choose another name")
    if job.output.exists() and (job.output.is_dir() or not overwrite):
        raise UserError(f"{job.output}: exists; choose another name{'' if job.output.is_dir() else ', or give --overwrite'}")
    try:
        job.output.parent.mkdir(parents=True, exist_ok=True)
        probe = job.output.with_name(f".{job.output.name}.probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"{job.output}: cannot be written ({error.strerror or error})") from error


def _files(pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    if path.is_dir():
        found = [each for each in path.rglob("*") if each.name.endswith(nifti.SUFFIXES)]
    else:
        found = [Path(each) for each in glob.glob(str(path), recursive=True)]  # noqa: PTH207, Path.glob takes no absolute one
        found = [each for each in found if each.name.endswith(nifti.SUFFIXES)]
    if not found:
        raise UserError(f"no NIfTI file (.nii or .nii.gz) matches {pattern!r}; put quotes around a pattern with **")
    return sorted(found)


def _mask_of(image: Path, masks: list[Path]) -> Path:
    """The one mask with the image's BIDS entities, or with its name, or its name and `_mask`."""
    entities = _entities(image)
    if entities:
        fitting = [mask for mask in masks if _entities(mask) == entities]
    else:
        fitting = [mask for mask in masks if stem(mask) in (stem(image), f"{stem(image)}_mask")]
    fitting = [mask for mask in fitting if mask.resolve() != image.resolve()]
    if len(fitting) != 1:
        what = "none of the masks fits" if not fitting else f"several masks fit ({', '.join(map(str, fitting[:3]))})"
        raise UserError(f"{image}: {what}; wanted one, with the same BIDS entities or the same name")
    return fitting[0]


def _entities(path: Path) -> dict[str, str]:
    """`{"sub": "01", "ses": "2"}` of sub-01_ses-2_desc-x_mask.nii.gz; empty for a name that is not BIDS's."""
    found = dict(_ENTITY.findall(stem(path)))
    return {key: value for key, value in found.items() if key not in _OF_DERIVATIVES} if "sub" in found else {}


def _named(image: Path) -> Path:
    """sub-01_FLAIR.nii.gz -> sub-01_desc-inpainted_FLAIR.nii.gz; other names get the entity at their end."""
    name, ending = stem(image), image.name.removeprefix(stem(image))
    entities, separator, suffix = name.rpartition("_")
    if not separator or "-" in suffix:
        entities, suffix = name, ""
    return image.with_name("_".join(filter(None, [entities, "desc-inpainted", suffix])) + ending)
