"""The subject of each file, and the split of the subjects into train, validation and test."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import as_utf8
from ipmedgan_jax.data import records
from ipmedgan_jax.imaging.settings import PreparationSettings

_BIDS_SUBJECT = re.compile(r"(?<![A-Za-z0-9])sub-[A-Za-z0-9]+")


def subject_of(path: Path, subject_regex: str = "") -> str:
    """The subject of a file: the BIDS entity `sub-...` nearest the end of its path, or the first group of `subject_regex`.

    Bytes that are not UTF-8 become `%` and two hex digits. UserError if the path or the pattern gives no subject.
    """
    if not subject_regex:
        for part in reversed(path.parts):
            if match := _BIDS_SUBJECT.search(part):
                return match.group()
        raise UserError(f"{path}: no BIDS subject (sub-...) in its path; set data.subject_regex to find it")
    try:
        pattern = re.compile(subject_regex)
    except re.error as error:
        raise UserError(f"data.subject_regex {subject_regex!r} is not a regular expression: {error}") from error
    if not pattern.groups:
        raise UserError(f"data.subject_regex {subject_regex!r} has no group; put ( ) around the subject's name")
    if not (match := pattern.search(path.as_posix())) or not match.group(1):
        raise UserError(f"{path}: data.subject_regex {subject_regex!r} finds no subject in this path")
    return as_utf8(match.group(1))


def split_subjects(settings: PreparationSettings, subjects: Iterable[str]) -> dict[str, str]:
    """Assigns every subject to a split: by the lists of subjects if the settings have any, otherwise at random.

    UserError if a split gets no subject, or if the lists are wrong.
    """
    names = sorted(set(subjects))
    if settings.validation_subjects or settings.test_subjects:
        splits = _split_by_lists(settings, names)
    else:
        splits = _split_at_random(settings, names)
    for split in records.SPLITS:
        if split not in splits.values():
            raise UserError(
                f"no subjects left for the {split} split: {len(names)} in all; add subjects, or change "
                "data.split_ratios, data.validation_subjects or data.test_subjects"
            )
    return splits


def _split_by_lists(settings: PreparationSettings, names: list[str]) -> dict[str, str]:
    validation, test = (set(map(str, listed)) for listed in (settings.validation_subjects, settings.test_subjects))
    if both := sorted(validation & test):
        raise UserError(f"subject {both[0]} is in data.validation_subjects and in data.test_subjects; name it once")
    if unknown := sorted((validation | test) - set(names)):
        raise UserError(f"no file belongs to the listed subject {unknown[0]}; the subjects are {', '.join(names)}")
    return {name: "validation" if name in validation else "test" if name in test else "train" for name in names}


def _split_at_random(settings: PreparationSettings, names: list[str]) -> dict[str, str]:
    """Divides a seeded shuffle by the ratios; a validation or test ratio above 0 gets at least one subject."""
    total = sum(settings.split_ratios)
    shares = [ratio / total * len(names) for ratio in settings.split_ratios]
    validation, test = (max(1, round(share)) if share > 0 else 0 for share in shares[1:])
    order = np.random.default_rng(settings.split_seed).permutation(names).tolist()
    train = len(names) - validation - test if shares[0] > 0 else 0
    splits = ["validation"] * validation + ["test"] * test + ["train"] * max(train, 0)
    return dict(zip(order, splits, strict=False))


def volume_names(paths: Sequence[Path]) -> list[str]:
    """A readable id per file: its name without suffix, preceded by as many folders as make all ids unique.

    UserError for inputs that differ in their suffix only.
    """
    stems = [path.with_name(re.sub(r"\.nii(\.gz)?$", "", path.name)) for path in paths]
    for depth in range(1, max((len(stem.parts) for stem in stems), default=0) + 1):
        names = [as_utf8("_".join(part.strip("/") for part in stem.parts[-depth:])) for stem in stems]
        if len(set(names)) == len(names):
            return names
    repeated = Counter(stems).most_common(1)[0][0]
    raise UserError(f"{repeated}: several inputs have this name and differ in the suffix only; match each volume once")
