"""The subject of each file, and the split of the subjects into train, validation and test."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ipmedgan_jax.core import bounded_regex, fold_choice
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import as_utf8
from ipmedgan_jax.data import records
from ipmedgan_jax.imaging import nifti
from ipmedgan_jax.imaging.settings import PreparationSettings

_BIDS_SUBJECT = re.compile(r"(?<![A-Za-z0-9])sub-([^_/]*)")
"""Matches the BIDS entity of a subject up to the next entity; a valid label has letters and digits only."""

_NUMBER = re.compile(r"_(\d+)(?=_|$)")
"""Matches a number that follows the subject in a name, which BIDS does not have."""

_SHORT, _NUMBERED = r".*(sub-[A-Za-z0-9]+)", r".*(sub-[A-Za-z0-9]+_\d+)"
_LONG = (r".*(sub-[^/_.]+)", r".*(sub-[^/_]+)_", r".*(sub-[^/_]+)\.nii", r".*/(sub-[^/_]+)/")
"""Patterns to suggest as `data.subject_regex`: the label up to the first other character, that with a number, all of it."""


def subjects_of(paths: Sequence[Path], subject_regex: str = "") -> list[str]:
    """Returns the subject of each file, by `list_subjects`.

    UserError too if different numbers follow a BIDS subject, as in sub-A_001 and sub-A_002, which may be one person or two.
    """
    if subject_regex:
        return list_subjects(paths, subject_regex)
    numbers: dict[str, str] = {}
    for path in paths:
        subject, rest = _bids_subject(path)
        number = match.group() if (match := _NUMBER.match(rest)) else ""
        if number and numbers.setdefault(subject, number) != number:
            raise UserError(
                f"{path}: are {subject}{numbers[subject]} and {subject}{number} two subjects or one? set "
                f"--config.data.subject_regex='{_NUMBERED}' for two, '{_SHORT}' for one"
            )
    return list_subjects(paths)


def subject_of(path: Path, subject_regex: str = "") -> str:
    """The subject of a file: the BIDS entity `sub-...` nearest the end of its path, or the first group of `subject_regex`.

    Bytes that are not UTF-8 become `%` and two hex digits. UserError if the path or the pattern gives no subject, or if the
    entity has other characters than letters and digits.
    """
    return list_subjects([path], subject_regex)[0]


def list_subjects(paths: Sequence[Path], subject_regex: str = "") -> list[str]:
    """Returns the subject of each file, as `subject_of` does, with one call of the pattern's process for all of them."""
    return _matched_subjects(paths, subject_regex) if subject_regex else [_bids_subject(path)[0] for path in paths]


def _matched_subjects(paths: Sequence[Path], subject_regex: str) -> list[str]:
    """Returns the first group of the pattern in each path; UserError if it is none, matches nothing or takes too long."""
    shown = f"data.subject_regex '{subject_regex}'"
    try:
        pattern = re.compile(subject_regex)
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(f"{shown} is not a regular expression: {error}") from error
    if not pattern.groups:
        raise UserError(f"{shown} has no group; put ( ) around the subject's name")
    try:
        found = bounded_regex.first_groups(pattern, [path.as_posix() for path in paths])
    except bounded_regex.PatternError as error:
        raise UserError(
            f"{paths[error.index]}: {shown} {error}; write it without a repeat inside a repeat, such as (a+)+"
        ) from error
    for path, subject in zip(paths, found, strict=True):
        if not subject:
            raise UserError(f"{path}: {shown} finds no subject in this path")
    return [as_utf8(subject) for subject in found if subject]


def _bids_subject(path: Path) -> tuple[str, str]:
    """Returns the subject in a path, and the rest of that part of the path."""
    for part in reversed(path.with_name(nifti.stem(path)).parts):
        if match := _BIDS_SUBJECT.search(part):
            if not re.fullmatch("[A-Za-z0-9]+", match.group(1)):
                raise UserError(
                    f"{path}: {match.group()!r} is no BIDS subject, whose label has letters and digits only; set "
                    f"--config.data.subject_regex={_suggested_patterns(path, match.group())}"
                )
            return match.group(), part[match.end() :]
    raise UserError(f"{path}: no BIDS subject (sub-...) in its path; set data.subject_regex to find it")


def _suggested_patterns(path: Path, name: str) -> str:
    """Returns a pattern for the whole name, and one for its start up to the first other character, as far as there are."""
    found = [(pattern, match.group(1)) for pattern in (*_LONG, _SHORT) if (match := re.search(pattern, path.as_posix()))]
    whole = [pattern for pattern, subject in found if subject == name][:1]
    start = [(pattern, subject) for pattern, subject in found[-1:] if name.startswith(subject)]
    texts = [f"'{pattern}' for {subject}" for pattern, subject in [*((pattern, name) for pattern in whole), *start]]
    return " or ".join(texts) or "to a pattern with ( ) around the name"


def split_subjects(settings: PreparationSettings, subjects: Iterable[str]) -> dict[str, str]:
    """Assigns every subject to a split: by the fold or the lists of subjects if the settings have any, otherwise at random.

    UserError if a split gets no subject, if the lists are wrong, or for a fold beside lists or shares.
    """
    names = sorted(set(subjects))
    if fold := fold_choice.parse(settings.fold):
        return _split_by_fold(settings, fold, names)
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


def _split_by_fold(settings: PreparationSettings, fold: fold_choice.Fold, names: list[str]) -> dict[str, str]:
    """Takes the fold as the test set, the next one (after the last the first) as the validation set, the others to train."""
    for name in ("split_ratios", "validation_subjects", "test_subjects"):
        if getattr(settings, name) != getattr(PreparationSettings, name):
            raise UserError(f"data.fold is '{fold}' and data.{name} is given too, of which only one can split; leave one out")
    if len(names) < fold.count:
        raise UserError(f"data.fold is '{fold}', but the input has {len(names)} subjects; add subjects, or take fewer folds")
    splits = {fold.index: "test", fold.index % fold.count + 1: "validation"}
    folds = fold_of_names(names, fold.count, settings.split_seed)
    return {name: splits.get(index, "train") for name, index in folds.items()}


def fold_of_names(names: Sequence[str], count: int, seed: int) -> dict[str, int]:
    """Divides different names among folds 1 to `count`, whose sizes differ by one at most: {name: its fold}.

    The names take turns in the order of their SHA-256 with the seed. So neither their order nor a library's random numbers
    matter.
    """
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    return {name: index % count + 1 for index, name in enumerate(order)}


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
    stems = [path.with_name(nifti.stem(path)) for path in paths]
    for depth in range(1, max((len(stem.parts) for stem in stems), default=0) + 1):
        names = [as_utf8("_".join(part.strip("/") for part in stem.parts[-depth:])) for stem in stems]
        if len(set(names)) == len(names):
            return names
    repeated = Counter(stems).most_common(1)[0][0]
    raise UserError(f"{repeated}: several inputs have this name and differ in the suffix only; match each volume once")
