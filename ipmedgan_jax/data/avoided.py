"""Masks of what holes keep clear of, for example lesions: which scan each mask belongs to, and the voxels that it marks."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import logging

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.provenance import digest_of_path
from ipmedgan_jax.data.subjects import list_subjects
from ipmedgan_jax.imaging import mask_files, scans
from ipmedgan_jax.imaging.labels import read_labels

_ENTITIES = tuple(re.compile(rf"(?<![A-Za-z0-9]){name}-([A-Za-z0-9]+)") for name in ("ses", "run", "space"))
"""BIDS entities that tell the scans of one subject apart, and that a mask may share with its scan."""

_TEMPLATE = re.compile(r"(?<![A-Za-z0-9])space-MNI")
"""Matches a file in the space of a template, which is never that of a scan whose name has no space."""


def pair_masks(masks: Sequence[Path], paths: Sequence[Path], subject_regex: str) -> list[tuple[Path, ...]]:
    """Returns the masks of each scan of `paths`.

    A mask belongs to the scans of its subject. Of these it belongs to the ones in its own folder if there are any, and never
    to one of another session (`ses-`), run (`run-`) or space (`space-`). Warns of scans and masks that stay alone; UserError
    if all do, or if a mask is a scan of `paths`.
    """
    own = {path.resolve() for path in paths}
    if same := [mask for mask in masks if mask.resolve() in own]:
        raise UserError(f"config.holes.avoid: {same[0]} is a scan of --input; name masks alone")
    subjects, of_masks = (list_subjects(files, subject_regex) for files in (paths, masks))
    found: dict[Path, list[Path]] = {path: [] for path in paths}
    alone = []
    for mask, subject in zip(masks, of_masks, strict=True):
        fitting = [path for path, name in zip(paths, subjects, strict=True) if name == subject and not _disagree(mask, path)]
        chosen = [path for path in fitting if path.parent == mask.parent] or fitting
        for path in chosen:
            found[path].append(mask)
        if not chosen:
            alone.append(mask)
    without = [path for path, belonging in found.items() if not belonging]
    if len(without) == len(paths):
        raise UserError(f"holes.avoid: none of its {len(masks)} masks, such as {masks[0]}, belongs to a scan of --input")
    if without:
        logging.warning("%d of %d scans have no mask in holes.avoid, such as %s", len(without), len(paths), without[0])
    if alone:
        logging.warning("%d of %d masks in holes.avoid belong to no scan, such as %s", len(alone), len(masks), alone[0])
    return [tuple(found[path]) for path in paths]


def _disagree(mask: Path, scan: Path) -> bool:
    """Whether both paths name a session, a run or a space, and not the same one, or one of them alone is in MNI space."""
    if bool(_TEMPLATE.search(mask.name)) != bool(_TEMPLATE.search(scan.name)):
        return True
    for entity in _ENTITIES:
        named = [set(entity.findall(path.as_posix())) for path in (mask, scan)]
        if all(named) and named[0] != named[1]:
            return True
    return False


def read_masks(masks: Sequence[Path], scan: scans.Scan) -> np.ndarray:
    """Returns the voxels of a scan that any of the masks marks with a value other than 0: bool, canonical `[X, Y, Z]`.

    A mask may be empty or have several labels. Warnings about masks on other grids are logged. UserError for a file that is
    not a label map, or does not fit the scan.
    """
    marked = np.zeros(scan.volume.array.shape, bool)
    for path in masks:
        if labels := read_labels(path).present.astype(int).tolist():
            try:
                mask, notes = mask_files.read_mask(path, scan, labels)
            except mask_files.MisplacedMaskError as error:
                raise UserError(f"{error.problem}; correct its sform, or leave it out of holes.avoid") from error
            marked |= mask
            for note in notes:
                logging.info("%s", note)
    return marked


def digest(masks: Sequence[Path]) -> str:
    """Returns a digest of the masks' contents, whatever their names and order; empty without masks."""
    try:
        contents = sorted(map(digest_of_path, masks))
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror or error})") from error
    return hashlib.sha256("".join(contents).encode()).hexdigest()[:16] if contents else ""
