"""Names of masks: templates that give the mask of each image, and a warning about names that do not belong together."""

import glob
import re
from pathlib import Path

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.imaging import bids_names, file_kinds, nifti

_FIELD = re.compile(r"\{(\w*)\}")

_ENTITY = re.compile(r"(?<![A-Za-z0-9])(sub|ses)-[A-Za-z0-9]+")
"""Matches the BIDS entities of a subject and of a session."""

_NUMBERED = re.compile(r"([A-Za-z]*)([0-9]{2,})")
"""Matches a part of a name that numbers a patient or a visit: `00001`, `patient12`; not `T2`."""


def is_template(mask: str) -> bool:
    """Whether the text of --mask has a field in braces, and is not the name of a file or folder."""
    return bool(_FIELD.search(mask)) and not user_path(mask).exists()


def mask_by_template(template: str, image: Path) -> Path:
    """Returns the mask of an image: the one file that a template gives for it. UserError if there is none, or several.

    For in/pat-7/case_001_0000.nii.gz the fields are `{folder}` in/pat-7, `{parent}` pat-7, `{stem}` case_001_0000, and
    `{case}` case_001, the stem without its last part after `_` or `-`. The rest of the template may hold `*` and `?`.
    """
    stem = nifti.stem(image)
    fields = {
        "folder": str(image.parent),
        "parent": image.absolute().parent.name,
        "stem": stem,
        "case": re.sub(r"[-_][^-_]*$", "", stem),
    }
    for name in _FIELD.findall(template):
        if name not in fields:
            raise UserError(f"--mask={template}: has no field {{{name}}}; the fields are {{{'}, {'.join(fields)}}}")
    text = str(user_path(template))
    pattern = _FIELD.sub(lambda match: glob.escape(fields[match.group(1)]), text.replace("[", "[[]"))
    found = sorted(path for path in map(Path, glob.glob(pattern)) if path.resolve() != image.resolve())  # noqa: PTH207
    if len(found) != 1:
        shown = _FIELD.sub(lambda match: fields[match.group(1)], text)
        problem = f"several masks fit ({', '.join(map(str, found[:3]))})" if found else f"there is no mask {shown}"
        raise UserError(f"{image}: {problem}; correct --mask={template}, or leave the image out")
    return found[0]


def subject_warning(image: Path, mask: Path) -> str:
    """Returns a warning if a mask's path names another subject or session than its image's, else an empty string.

    Compared are the BIDS entities nearest the end of each path. Without these, the names of file and folder are compared up
    to their first difference, which may be a number: `BraTS2021_00001_flair` and `BraTS2021_00002_seg`.
    """
    paths = image.absolute(), mask.absolute()
    named, other = (_entities(path) for path in paths)
    differing = [(named[key], other[key]) for key in ("sub", "ses") if key in named.keys() & other.keys()]
    if not differing:
        differing = [pair for pair in (_first_difference(*names) for names in _names(*paths)) if pair]
    for ours, theirs in differing:
        if ours != theirs:
            return f"the mask {mask} is named after {theirs}, the image after {ours}: is it the mask of this image?"
    return ""


def kind_warning(image: Path, mask: Path) -> str:
    """Returns a warning if a mask is named after another space than its image, or as a mask of the brain, else nothing."""
    if file_kinds.is_brain_mask(mask):
        return f"the mask {mask} is named as that of the brain: is it to be filled as a whole?"
    if bids_names.spaces_differ(image, mask):
        own, space = map(bids_names.space_of, (image, mask))
        return f"the mask {mask} is in space {space} by its name, the image in space {own}: does it lie where it should?"
    return ""


def _entities(path: Path) -> dict[str, str]:
    """Returns `{"sub": "sub-01", "ses": "ses-2"}`, as far as the path has them."""
    return {match.group(1): match.group() for part in path.parts for match in _ENTITY.finditer(part)}


def _names(image: Path, mask: Path) -> list[tuple[str, str]]:
    """Returns the pairs of names to compare: those of the files and those of their folders."""
    return [(image.name, mask.name), (image.parent.name, mask.parent.name)]


def _first_difference(name: str, other: str) -> tuple[str, str] | None:
    """Returns the first parts in which two names differ if these are one word with different numbers, else None."""
    for part, theirs in zip(re.split(r"[-_. ]", name), re.split(r"[-_. ]", other), strict=False):
        if part != theirs:
            numbers = _NUMBERED.fullmatch(part), _NUMBERED.fullmatch(theirs)
            same_word = numbers[0] and numbers[1] and numbers[0].group(1) == numbers[1].group(1)
            return (part, theirs) if same_word else None
    return None
