"""Whether a NIfTI file is a scan, a mask or a file that `inpaint` wrote, by its name and the JSON file beside it."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ipmedgan_jax.core import json_fields
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import bids_names, nifti

_MASK_WORDS = {
    *("mask", "masks", "seg", "dseg", "probseg", "aseg", "segmentation", "segmentations", "label", "labels", "labelmap"),
    *("roi", "rois", "pve", "pveseg", "mixeltype"),
}
"""Last words of names of masks, label maps and probability maps: those of BIDS, BraTS, FreeSurfer, FSL and common others."""

_MASK_ENDS = ("mask", "segmentation", "labelmap")
"""Ends of last words: brainmask, ManualSegmentation."""

_BRAIN = re.compile(r"(?:^|_)(?:desc|label)-brain(?:mask)?(?=_|$)|(?:^|[-_.])brain[-_.]?mask$", re.IGNORECASE)
"""Matches the name of a mask of the brain, as fMRIPrep, BET and FreeSurfer give it."""

_MASK_FOLDERS = {"labelstr", "labelsts", "labels", "masks", "segmentations"}
"""Names of folders that hold masks under the names of their scans, as nnU-Net has them."""


def is_named_mask(path: Path) -> bool:
    """Whether the last word of a file's name is that of a mask, a label map or a probability map."""
    words = [word for word in re.split(r"[^a-z0-9]+", nifti.stem(path).lower()) if word and not word.isdigit()]
    last = words[-1].rstrip("0123456789") if words else ""
    return last in _MASK_WORDS or last.endswith(_MASK_ENDS)


def is_mask(path: Path) -> bool:
    """Whether a file is a mask, a label map or a probability map by its name or its folder."""
    return is_named_mask(path) or path.parent.name.lower() in _MASK_FOLDERS


def is_brain_mask(path: Path) -> bool:
    """Whether a file's name is that of a mask of the brain, which is no lesion mask."""
    return is_named_mask(path) and bool(_BRAIN.search(nifti.stem(path)))


def is_named_output(path: Path) -> bool:
    """Whether a file has the name that `inpaint` gives to its outputs."""
    return "desc-inpainted" in nifti.stem(path) or bool(bids_names.FILLED_MASK.search(nifti.stem(path)))


def is_output(path: Path) -> bool:
    """Whether `inpaint` wrote a file: a filled scan, its mask or its standard deviation, under any name."""
    name = nifti.stem(path)
    names = {name, name.removesuffix("_mask"), name.removesuffix("_std")}
    return is_named_output(path) or any(_describes_fill(path.with_name(f"{name}.json")) for name in names)


def _describes_fill(path: Path) -> bool:
    try:
        return "mask_voxels" in json_fields.read(path, finite=False)
    except (OSError, ValueError, UserError):  # a JSON file of another program, or none
        return False


def scans_among(paths: Iterable[Path]) -> tuple[list[Path], str]:
    """Returns the scans among files, and a text that counts the others by kind; empty if there are none."""
    kinds = {
        path: "output of inpaint" if is_output(path) else "mask or segmentation" if is_mask(path) else "" for path in paths
    }
    counts = sorted(Counter(filter(None, kinds.values())).items())
    return [path for path, kind in kinds.items() if not kind], ", ".join(f"{count} as {kind}" for kind, count in counts)
