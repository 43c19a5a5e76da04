"""What the tables of a comparison say of their subjects and seeds: how intervals are made, and where they are weak."""

from collections.abc import Sequence

from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.evaluation.fold_pools import missing_folds
from ipmedgan_jax.evaluation.seed_groups import SeedGroup
from ipmedgan_jax.evaluation.seed_model import FEWEST_SEEDS, FEWEST_SUBJECTS

ONE_SEED = "one seed"
"""In the place of p in a cell: one of the two systems was trained once."""

INTERVALS = "Student's t over subjects, and over seeds where a system has several"
"""How the intervals are made."""


def subject_count(groups: Sequence[SeedGroup]) -> int:
    return int(groups[0].first.report["subjects"])


def weak_points(groups: Sequence[SeedGroup], *, kid: bool) -> str:
    """Returns the sentences on folds, few subjects and few seeds, each after a space; empty if there is nothing to say.

    Args:
      groups: the rows of the table.
      kid: whether the table has KID, whose interval may be missing.
    """
    sentences = _fold_sentences(groups)
    subjects = subject_count(groups)
    if subjects == 1:
        sentences.append("One subject: no intervals and no p.")
    elif subjects < FEWEST_SUBJECTS:
        sentences.append(
            f"Fewer than {FEWEST_SUBJECTS} subjects ({subjects}): intervals and p hold for normally distributed scores only."
        )
    if kid:
        sentences += _kid_sentences(groups)
    if subjects > 1 and (single := [group for group in groups if group.trainings == 1]):
        sentences.append(
            f"One seed: {_names(single, groups)}. The interval is of subjects alone, for that one training; there is no p in "
            "a pair with it, and no best value is supported."
        )
    if few := [group for group in groups if 1 < group.trainings < FEWEST_SEEDS]:
        what = "trainings" if fold_count(groups) else "seeds"
        sentences.append(
            f"Fewer than {FEWEST_SEEDS} {what}: {_names(few, groups)}. Intervals may cover less than 95 %, and no best "
            "value is supported."
        )
    return "".join(f" {sentence}" for sentence in sentences)


def _kid_sentences(groups: Sequence[SeedGroup]) -> list[str]:
    """Returns why KID has no interval, and so no difference: few subjects, or runs that an earlier version evaluated."""
    without = [group for group in groups if (found := group.estimate("kid")) and not found["ci95"]]
    if not without:
        return []
    if (subjects := subject_count(groups)) < 3:
        return [f"KID has no interval with {counted(subjects, 'subject')}."]
    runs = [run for group in without for run in group.evaluated if not (run.estimate("kid") or {}).get("ci95")]
    small = [run for run in runs if run.report["subjects"] < 3]  # folds
    first, *others = small or runs
    what = f"{first.name} and {counted(len(others), 'other run')}" if others else first.name
    why = f"{what} {'have 2 subjects each' if others else 'has 2 subjects'}" if small else f"evaluate {what} again"
    return [f"KID has no interval for {_names(without, groups)}: {why}."]


def apart(groups: Sequence[SeedGroup]) -> str:
    """Returns the sentences on runs of one system that are rows of their own, each after a space; empty for none."""
    return "".join(f" {group.label} is no further seed of {group.apart}." for group in groups if group.apart)


def fold_count(groups: Sequence[SeedGroup]) -> str:
    """Returns how many folds of a cross-validation were scored, `4 of 5 folds`; empty without folds."""
    folds = groups[0].first.folds
    return f"{len(folds)} of {counted(folds[0].count, 'fold')}" if folds else ""


def _fold_sentences(groups: Sequence[SeedGroup]) -> list[str]:
    """Returns what the intervals cover where rows are pooled from folds; none without folds."""
    if not (count := fold_count(groups)):
        return []
    missing = f", without {found}" if (found := missing_folds(groups[0].first)) else ""
    sentences = [f"Each subject is scored by a training without it, that of its fold ({count}{missing})."]
    if any(group.trainings > 1 and len(group.runs) == 1 for group in groups):
        sentences.append(
            "Subjects of one fold share a training: with one seed the interval is Student's t over the folds' means, and "
            "covers the spread of trainings and that of subjects, each once."
        )
    if any(group.trainings > 1 and len(group.runs) > 1 for group in groups):
        sentences.append("With several seeds, the spread of trainings is that of the seeds within the folds.")
    return sentences


def why_no_best(groups: Sequence[SeedGroup]) -> str:
    """Returns why no best value of these rows can be supported by the test; empty if one can."""
    if (subjects := subject_count(groups)) < FEWEST_SUBJECTS:
        return f"there are {counted(subjects, 'subject')}, at least {FEWEST_SUBJECTS} expected"
    few = [group for group in groups if 0 < group.trainings < FEWEST_SEEDS]
    return f"there are fewer than {FEWEST_SEEDS} seeds of {_names(few, groups)}" if few else ""


def has_several_seeds(groups: Sequence[SeedGroup]) -> bool:
    """Whether a row has several seeds, so that figures and plots need a word on them."""
    return any(len(group.runs) > 1 for group in groups)


def _names(chosen: Sequence[SeedGroup], groups: Sequence[SeedGroup]) -> str:
    if len(chosen) > 2 and list(chosen) == [group for group in groups if group.learns]:
        return "every trained system"
    return ", ".join(group.label for group in chosen)
