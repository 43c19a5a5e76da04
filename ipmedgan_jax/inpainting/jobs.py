"""Which image is filled by which mask, and where the result goes."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import dicom, nifti
from ipmedgan_jax.imaging.input_files import list_input_files, names_several

_ENTITY = re.compile(r"(?:^|_)([a-zA-Z0-9]+)-([a-zA-Z0-9]+)(?=_|$)")
_DERIVATIVE_ENTITIES = frozenset({"desc", "label", "space", "res", "den"})
"""BIDS entities that a mask may have and its image not, or with another value."""


UNFINISHED = "unfinished"
"""In a sidecar: not all of the files beside it are written yet."""


@dataclass(frozen=True)
class Job:
    """One image, its mask (None: found in the image itself), the file to be written, and that for the voxels filled."""

    image: Path
    mask: Path | None
    output: Path
    mask_output: Path | None = None

    @property
    def deviation(self) -> Path:
        return self.output.with_name(stem(self.output) + "_std.nii.gz")

    @property
    def beside(self) -> Path:
        """Where the mask goes if no other place is given."""
        return self.output.with_name(stem(self.output) + "_mask.nii.gz")

    @property
    def sidecar(self) -> Path:
        return self.output.with_name(stem(self.output) + ".json")

    @property
    def begun(self) -> bool:
        """Whether an `inpaint` that was interrupted has written some of its files: they may be written anew."""
        try:
            return bool(json.loads(self.sidecar.read_text()).get(UNFINISHED))
        except (OSError, ValueError, AttributeError):
            return False

    @property
    def done(self) -> bool:
        return self.output.exists() and self.sidecar.exists() and not self.begun


def stem(path: Path) -> str:
    """The name without .nii or .nii.gz."""
    return next((path.name.removesuffix(suffix) for suffix in nifti.SUFFIXES if path.name.endswith(suffix)), path.name)


def find_jobs(image: str, mask: str | None, output: Path) -> tuple[list[Job], list[str]]:
    """What is to be done, one image or all that a folder, a pattern or a list names; and why some of several cannot be done.

    Masks and earlier outputs among the images are passed over. UserError where nothing matches, or two outputs would have
    one name.
    """
    one = Path(image).expanduser()
    series = dicom.is_series(one)
    if series or not names_several(image):
        expected = "the name of a folder" if series else "a name that ends in .nii or .nii.gz"
        if series == output.name.endswith(nifti.SUFFIXES):
            raise UserError(f"--output={output}: expected {expected}")
        return [Job(one, Path(mask).expanduser() if mask else None, output)], []
    if output.name.endswith(nifti.SUFFIXES):
        raise UserError(f"--output={output}: expected the name of a folder for the outputs of several images")
    images = [path for path in list_input_files(image) if not _is_mask(path) and not _is_output(path)]
    masks = [path for path in (list_input_files(mask) if mask else []) if not _is_output(path)]
    if not images:
        raise UserError(f"--image={image}: only masks and earlier outputs match")
    shared = Path(os.path.commonpath([path.parent for path in images]))
    found, refused = [], []
    for path in images:
        try:
            found.append(Job(path, _mask_of(path, masks) if mask else None, output / _named(path.relative_to(shared))))
        except UserError as error:
            refused.append(str(error))
    if len({job.sidecar for job in found}) < len(found):
        raise UserError(f"--image={image}: several of these images would be written under one name")
    return found, refused


def check_output(job: Job, *, overwrite: bool, deviation: bool = False) -> None:
    """UserError, before any work, where an output would replace an input or another file, or cannot be written."""
    inputs = {path.resolve() for path in (job.image, job.mask) if path}
    written = [job.output, job.sidecar, job.deviation if deviation else None, job.mask_output]
    for path in filter(None, written):
        if path.resolve() in inputs:
            raise UserError(f"--output={job.output}: {path} is its own input; choose another name")
        if job.image.is_dir() and job.image.resolve() in path.resolve().parents:
            raise UserError(f"--output={job.output}: lies inside the series; choose another folder")
        if path.is_dir() or (path.exists() and not (overwrite or job.begun)):
            hint = "" if path.is_dir() else ", or give --overwrite"
            raise UserError(f"{path}: exists; choose another name{hint}")
    folder = next(parent for parent in job.output.resolve().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{job.output}: cannot be written, {folder} is no folder that can be written to")


def _is_mask(path: Path) -> bool:
    return stem(path).endswith(("_mask", "_dseg"))


def _is_output(path: Path) -> bool:
    """Whether an earlier `inpaint` wrote it."""
    return "desc-inpainted" in stem(path)


def _mask_of(image: Path, masks: list[Path]) -> Path:
    """The one mask with the image's BIDS entities, or with its name, or its name and `_mask`."""
    entities = _entities(image)
    if entities:
        fitting = [mask for mask in masks if _entities(mask) == entities]
    else:
        fitting = [mask for mask in masks if stem(mask) in (stem(image), f"{stem(image)}_mask")]
    fitting = [mask for mask in fitting if mask.resolve() != image.resolve()]
    named = [mask for mask in fitting if _is_mask(mask)]
    fitting = named or fitting  # in a folder of everything, other images fit too
    if len(fitting) != 1:
        what = "none of the masks fits" if not fitting else f"several masks fit ({', '.join(map(str, fitting[:3]))})"
        raise UserError(f"{image}: {what}; expected one, with the same BIDS entities or the same name")
    return fitting[0]


def _entities(path: Path) -> dict[str, str]:
    """`{"sub": "01", "ses": "2"}` of sub-01_ses-2_desc-x_mask.nii.gz; empty for a name that is not BIDS's."""
    found = dict(_ENTITY.findall(stem(path)))
    return {key: value for key, value in found.items() if key not in _DERIVATIVE_ENTITIES} if "sub" in found else {}


def _named(image: Path) -> Path:
    """sub-01_FLAIR.nii.gz -> sub-01_desc-inpainted_FLAIR.nii.gz; other names get the entity at their end."""
    name, ending = stem(image), image.name.removeprefix(stem(image))
    name = re.sub(r"_desc-[a-zA-Z0-9]+", "", name)  # of an entity there is only one
    entities, separator, suffix = name.rpartition("_")
    if not separator or "-" in suffix:
        entities, suffix = name, ""
    return image.with_name("_".join(filter(None, [entities, "desc-inpainted", suffix])) + ending)
