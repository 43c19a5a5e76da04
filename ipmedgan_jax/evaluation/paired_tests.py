"""Paired tests over subjects: Wilcoxon's signed-rank test, corrected after Holm."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import wilcoxon

LEVEL = 0.05
"""Level of a family of tests: below it, a difference counts as supported."""


def signed_rank_p(paired: np.ndarray) -> float:
    """Returns p of Wilcoxon's two-sided signed-rank test of the differences `[subjects]`; 1 if all are zero."""
    return float(wilcoxon(paired).pvalue) if np.any(paired) else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns a family's p values after Holm's correction (1979); each is valid for the whole family."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def smallest_p(subjects: int, runs: int) -> float:
    """Returns the smallest corrected p that a run can reach against another, where each pair of runs is tested."""
    return min(1.0, 2.0 ** (1 - subjects) * math.comb(runs, 2))


def supported_best(values: Sequence[np.ndarray], *, higher_is_better: bool) -> int | None:
    """Returns the position of the best mean if it differs from every other one by the test; None where it does not.

    All pairs of runs are tested, because the data choose which run is the best; Holm's correction is over all pairs.

    Args:
      values: each run's values `[subjects]`, subjects in the same order.
      higher_is_better: whether the largest mean is the best.
    """
    subjects = len(values[0]) if values else 0
    if len(values) < 2 or smallest_p(subjects, len(values)) >= LEVEL or not np.isfinite(values).all():
        return None
    means = [float(np.mean(run)) for run in values]
    best = means.index(max(means) if higher_is_better else min(means))
    pairs = list(itertools.combinations(range(len(values)), 2))
    p_values = holm([signed_rank_p(values[a] - values[b]) for a, b in pairs])
    supported = all(p < LEVEL for pair, p in zip(pairs, p_values, strict=True) if best in pair)
    return best if supported else None
