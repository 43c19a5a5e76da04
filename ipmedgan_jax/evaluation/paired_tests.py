"""Paired tests of systems: the t test of `seed_model.difference`, corrected after Holm."""

import itertools
from collections.abc import Sequence

import numpy as np

from ipmedgan_jax.evaluation import seed_model
from ipmedgan_jax.evaluation.seed_model import FEWEST_SEEDS, FEWEST_SUBJECTS, SystemScores

LEVEL = 0.05
"""Level of a family of tests: below it, a difference counts as supported."""


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns a family's p values after Holm's correction (1979); each is valid for the whole family."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def holm_known(p_values: Sequence[float | None]) -> list[float | None]:
    """Returns `holm` of the p values that are known; None stays None and is no member of the family."""
    corrected = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else next(corrected) for p in p_values]


def supported_best(scores: Sequence[SystemScores], *, higher_is_better: bool) -> int | None:
    """Returns the position of the best mean if it differs from every other one by the test; None where it does not.

    All pairs are tested, because the data choose which system is the best; Holm's correction is over all pairs. No best is
    supported beside a system that was trained fewer than `FEWEST_SEEDS` times, or with fewer than `FEWEST_SUBJECTS` subjects.

    Args:
      scores: each system's, subjects in the same order.
      higher_is_better: whether the largest mean is the best.
    """
    subjects = scores[0].values.shape[1] if scores else 0
    if len(scores) < 2 or subjects < FEWEST_SUBJECTS or not all(np.isfinite(system.values).all() for system in scores):
        return None
    if any(0 < system.trainings < FEWEST_SEEDS for system in scores):
        return None
    means = [float(system.values.mean()) for system in scores]
    best = means.index(max(means) if higher_is_better else min(means))
    pairs = list(itertools.combinations(range(len(scores)), 2))
    p_values = holm_known([seed_model.difference(scores[a], scores[b]).p for a, b in pairs])
    supported = all(p is not None and p < LEVEL for pair, p in zip(pairs, p_values, strict=True) if best in pair)
    return best if supported else None
