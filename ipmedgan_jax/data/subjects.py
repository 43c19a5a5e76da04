"""Whose scan a file is, and which subjects are trained on, validated on and tested on."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import records
from ipmedgan_jax.imaging.settings import PreparationSettings

_BIDS_SUBJECT = re.compile(r"(?<![A-Za-z0-9])sub-[A-Za-z0-9]+")


def subject_of(path: Path, subject_regex: str = "") -> str:
    """The subject of a file: the BIDS entity `sub-...` nearest to its name, or the first group of the pattern."""
    if not subject_regex:
        for part in reversed(path.parts):
            if found := _BIDS_SUBJECT.search(part):
                return found.group()
        raise UserError(f"{path}: no BIDS subject (sub-...) in its path; set data.subject_regex to find it")
    try:
        pattern = re.compile(subject_regex)
    except re.error as error:
        raise UserError(f"data.subject_regex {subject_regex!r} is no regular expression: {error}") from error
    if not pattern.groups:
        raise UserError(f"data.subject_regex {subject_regex!r} has no group; put ( ) around the subject's name")
    if not (found := pattern.search(path.as_posix())) or not found.group(1):
        raise UserError(f"{path}: data.subject_regex {subject_regex!r} finds no subject in this path")
    return found.group(1)


def split_subjects(settings: PreparationSettings, subjects: Iterable[str]) -> dict[str, str]:
    """The split of every subject; every split has at least one."""
    everyone = sorted(set(subjects))
    if settings.validation_subjects or settings.test_subjects:
        splits = _listed_splits(settings, everyone)
    else:
        splits = _drawn_splits(settings, everyone)
    for split in records.SPLITS:
        if split not in splits.values():
            raise UserError(
                f"no subjects left for the {split} split: {len(everyone)} in all; add subjects, or change "
                "data.split_ratios, data.validation_subjects or data.test_subjects"
            )
    return splits


def _listed_splits(settings: PreparationSettings, everyone: list[str]) -> dict[str, str]:
    validation, test = ({str(name) for name in names} for names in (settings.validation_subjects, settings.test_subjects))
    if both := sorted(validation & test):
        raise UserError(f"subject {both[0]} is in data.validation_subjects and in data.test_subjects; name it once")
    if unknown := sorted((validation | test) - set(everyone)):
        raise UserError(f"no file belongs to the listed subject {unknown[0]}; there are {', '.join(everyone)}")
    return {name: "validation" if name in validation else "test" if name in test else "train" for name in everyone}


def _drawn_splits(settings: PreparationSettings, everyone: list[str]) -> dict[str, str]:
    """A seeded shuffle, then shares of it; a share above zero gets one subject at least."""
    total = sum(settings.split_ratios)
    shares = [ratio / total * len(everyone) for ratio in settings.split_ratios]
    validation, test = (max(1, round(share)) if share > 0 else 0 for share in shares[1:])
    order = np.random.default_rng(settings.split_seed).permutation(everyone).tolist()
    train = len(everyone) - validation - test if shares[0] > 0 else 0
    names = ["validation"] * validation + ["test"] * test + ["train"] * max(train, 0)
    return dict(zip(order, names, strict=False))


def volume_names(paths: Sequence[Path]) -> list[str]:
    """A readable id for each file: its name without suffix, with as many folders before it as tell all files apart."""
    stems = [path.with_name(re.sub(r"\.nii(\.gz)?$", "", path.name)) for path in paths]
    for depth in range(1, max((len(stem.parts) for stem in stems), default=0) + 1):
        names = ["_".join(part.strip("/") for part in stem.parts[-depth:]) for stem in stems]
        if len(set(names)) == len(names):
            return names
    twice = Counter(stems).most_common(1)[0][0]
    raise UserError(f"{twice}: several inputs have this name but for the suffix; match each volume once")
