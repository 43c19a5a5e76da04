"""Which mask belongs to which of several images: by BIDS entities, by name, or by a template."""

import functools
import heapq
import itertools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.imaging import bids_names, contrasts
from ipmedgan_jax.imaging.file_kinds import is_brain_mask, is_named_mask, is_named_output
from ipmedgan_jax.imaging.input_files import list_input_files, named_folder, names_several
from ipmedgan_jax.imaging.nifti import stem
from ipmedgan_jax.inpainting import mask_names

_ENTITY = re.compile(r"(?:^|_)([a-zA-Z0-9]+)-([a-zA-Z0-9]+)(?=_|$)")
_DERIVATIVE_ENTITIES = frozenset({"desc", "label", "space", "res", "den"})
"""BIDS entities that may differ between a mask and its image, or be missing from either."""

_MASK_WORDS = re.compile(r"(?:(?:^|[-_.])(?:lesions?|masks?|seg|segmentation|labels?|roi))+", re.IGNORECASE)
"""Matches what a mask has in its name after the words of its scan; no `brain`, which tells another mask."""

Pairs = list[tuple[Path, Path | None]]


def pair_with_masks(images: Sequence[Path], mask: str | None, named: Path) -> tuple[Pairs, dict[Path, str]]:
    """Returns images with their masks, and an error message for each image without a unique mask.

    Images that are the masks of others are left out. UserError if one mask file is given, and it belongs to none.

    Args:
      images: the images.
      mask: the text of --mask; None if masks are found in the images.
      named: the folder that --image names.
    """
    if mask is None:
        return [(image, None) for image in images], {}
    pairs: Pairs = []
    refused = {}
    by_template = mask_names.is_template(mask)
    masks = [] if by_template else [path for path in list_input_files(mask) if not is_named_output(path)]
    is_at_home = functools.partial(_have_one_place, (named, Path() if by_template else named_folder(mask)))
    for image in images:
        try:
            pair = mask_names.mask_by_template(mask, image) if by_template else find_mask(image, masks, is_at_home)
            pairs.append((image, pair))
        except UserError as error:
            refused[image] = str(error)
    if not by_template:
        pairs = _without_masks_of_others(pairs, refused, is_at_home)
    if not pairs and refused and not by_template and not names_several(mask):
        raise UserError(
            f"--mask={mask}: one mask, but --image names {counted(len(images), 'scan')}, and it has the name of none; name "
            "its scan as --image, or give a folder, a pattern, a list or a template of masks, one for each scan"
        )
    used = {own_mask.resolve() for _, own_mask in pairs if own_mask}
    pairs = [pair for pair in pairs if pair[0].resolve() not in used]
    return pairs, {image: message for image, message in refused.items() if image.resolve() not in used}


Places = Callable[[Path, Path], bool]
"""Whether an image and a mask lie in one folder, or in folders of the same name below those that the flags name."""


def _have_one_place(named: tuple[Path, Path], image: Path, mask: Path) -> bool:
    """Whether an image and a mask lie in one folder, or equally below the folders that --image and --mask name."""
    folders = image.absolute().parent, mask.absolute().parent
    return folders[0] == folders[1] or len({os.path.relpath(*pair) for pair in zip(folders, named, strict=True)}) == 1


def _have_one_folder(image: Path, mask: Path) -> bool:
    return image.absolute().parent == mask.absolute().parent


def _without_masks_of_others(pairs: Pairs, refused: dict[Path, str], is_at_home: Places) -> Pairs:
    """Returns the pairs without images whose masks, by their names alone, may be those of others; refuses these images.

    A mask in another place than its image has only its name to tell the patient. So it must not lie beside another image, its
    name must be more than a contrast, and it must be that of one image, or of one case's contrasts.
    """
    homes = {mask: image for image, mask in pairs if mask and is_at_home(image, mask)}
    users: dict[Path, list[Path]] = {}
    for image, mask in pairs:
        if mask:
            users.setdefault(mask, []).append(image)
    kept: Pairs = []
    for image, mask in pairs:
        if mask is None or is_at_home(image, mask) or _entities(image):
            kept.append((image, mask))
        elif mask in homes:
            refused[image] = (
                f"{image}: the only mask of its name, {mask}, belongs to {homes[mask]}; put the mask into its own folder, or "
                "leave the image out"
            )
        elif contrasts.is_contrast(stem(image)):
            refused[image] = (
                f"{image}: the only mask of its name, {mask}, lies elsewhere, and {stem(image)} tells no patient; put the "
                "mask into the folder of its scan"
            )
        elif len({_without_contrasts(user) for user in users[mask]}) > 1:
            other = next(user for user in users[mask] if user != image)
            refused[image] = (
                f"{image}: the only mask of its name, {mask}, would be that of {other} too; put each mask into the folder of "
                "its scan"
            )
        else:
            kept.append((image, mask))
    return kept


def _without_contrasts(image: Path) -> tuple[str, ...]:
    """Returns the parts of a path without words for contrasts: equal for `t1/case1` and `flair/case1`, scans of one case."""
    parts = (re.split(r"[-_. ]", part) for part in image.absolute().parts)
    return tuple("_".join(word for word in words if not contrasts.is_contrast(word)) for words in parts)


def find_mask(image: Path, masks: Sequence[Path], is_at_home: Places = _have_one_folder) -> Path:
    """Returns the one mask of an image. UserError if there is none, or if there are several.

    With BIDS entities, these have to be the same. Other masks have the image's name, or this and `_mask`. If there is none of
    these, a mask in the image's place has its name and words such as `_lesion` or `_seg`, or has these in place of the
    image's contrast: `RAS_mask` for `RAS_FLAIR`. A last word that is no contrast may tell patients apart, so it stays.

    Args:
      image: the image.
      masks: the masks to choose from; they may hold the image.
      is_at_home: whether an image and a mask lie in one place.
    """
    masks = [mask for mask in masks if mask.resolve() != image.resolve()]
    entities = _entities(image)
    if entities:
        fitting = _without_brain_masks(image, [mask for mask in masks if _entities(mask) == entities])
        fitting = _in_space_of(image, fitting)
    else:
        fitting = [mask for mask in masks if stem(mask) in (stem(image), f"{stem(image)}_mask")]
        fitting = _without_brain_masks(image, fitting)
        own = [mask for mask in masks if is_at_home(image, mask)]
        fitting = [mask for mask in fitting if mask in own] or fitting
        fitting = fitting or _with_mask_words(stem(image), own)
        case, contrast = _split(image)
        if not fitting and contrasts.is_contrast(contrast):
            fitting = _with_mask_words(case, own)
    # A folder may hold other images of the subject, which fit too.
    fitting = [mask for mask in fitting if is_named_mask(mask)] or fitting
    if len(fitting) > 1:
        names = ", ".join(map(str, fitting[:3]))
        raise UserError(f"{image}: several masks fit ({names}); expected one, with the same BIDS entities or the same name")
    if not fitting:
        raise UserError(_nothing_fits(image, masks))
    return fitting[0]


def _without_brain_masks(image: Path, masks: list[Path]) -> list[Path]:
    """Returns the masks that are not named as masks of the brain. UserError if there are only such."""
    others = [mask for mask in masks if not is_brain_mask(mask)]
    if masks and not any(map(is_named_mask, others)) and (brain := next(filter(is_brain_mask, masks), None)):
        raise UserError(
            f"{image}: the only mask that fits, {brain}, is named as that of the brain; give the masks of lesions"
        )
    return others


def _in_space_of(image: Path, masks: list[Path]) -> list[Path]:
    """Returns the masks in the space of an image, by their names. UserError if there are only masks in other spaces."""
    fitting = [mask for mask in masks if not bids_names.spaces_differ(image, mask)]
    other = next(filter(is_named_mask, masks), None)
    if other is not None and not any(map(is_named_mask, fitting)):
        own, space = map(bids_names.space_of, (image, other))
        raise UserError(
            f"{image}: is in space {own}, and the only mask that fits, {other}, in space {space}; give a mask in the space "
            "of the scan"
        )
    return fitting


def _with_mask_words(name: str, masks: Sequence[Path]) -> list[Path]:
    """Returns the masks whose names are this one and words of masks."""
    begun = [mask for mask in masks if stem(mask).startswith(name)]
    return [mask for mask in begun if _MASK_WORDS.fullmatch(stem(mask)[len(name) :])]


def _split(image: Path) -> tuple[str, str]:
    """Returns what `{case}` of a template stands for, and the last word of a name: `RAS`, `FLAIR`; empty and `flair`."""
    found = re.fullmatch(r"(?:(.*)[-_])?([^-_]*)", stem(image))
    return (found[1] or "", found[2]) if found else ("", stem(image))


def _nothing_fits(image: Path, masks: Sequence[Path]) -> str:
    """Returns the error for an image without a mask: with masks that are there, and a template that may find its own."""
    nearest = heapq.nsmallest(
        3, masks, key=lambda mask: (mask.parent != image.parent, -_equal_letters(mask.name, image.name))
    )
    more = ", ..." if len(masks) > len(nearest) else ""
    there = f"{', '.join(path.name for path in nearest)}{more}" if masks else "there is none"
    text = f"{image}: none of the masks fits ({there}); expected one, with the same BIDS entities or the same name"
    case, _ = _split(image)
    for mask in nearest:
        rest = mask.name.removeprefix(case)
        if case and len(rest) < len(mask.name) and not rest[0].isalnum() and not contrasts.contrast_of(Path(rest)):
            folder = "{folder}" if mask.parent == image.parent else str(mask.parent)
            return f"{text}; if {mask.name} is its mask, give --mask='{folder}/{{case}}{rest}'"
    return text


def _equal_letters(name: str, other: str) -> int:
    """Returns with how many equal letters two names begin."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(name, other, strict=False)))


def _entities(path: Path) -> dict[str, str]:
    """Returns `{"sub": "01", "ses": "2"}` for sub-01_ses-2_desc-x_mask.nii.gz; empty for a name that is not BIDS's."""
    found = dict(_ENTITY.findall(stem(path)))
    return {key: value for key, value in found.items() if key not in _DERIVATIVE_ENTITIES} if "sub" in found else {}
