"""Means and differences over subjects and seeds: the spread of the test subjects is kept apart from that of the trainings.

A system that was trained with K seeds and scored on the same N subjects has scores y[s, i], seed s, subject i. The model is
crossed, with random effects (Searle, Casella and McCulloch, Variance Components, 1992, chapter 4):

  y[s, i] = mean + subject[i] + seed[s] + rest[s, i]

with the mean squares of the analysis of variance, where y[s, .] and y[., i] are means over an index:

  A = K sum_i (y[., i] - y[., .])^2 / (N - 1)                              expected K var(subject) + var(rest)
  B = N sum_s (y[s, .] - y[., .])^2 / (K - 1)                              expected N var(seed) + var(rest)
  E = sum_si (y[s, i] - y[s, .] - y[., i] + y[., .])^2 / (N - 1)(K - 1)    expected var(rest)

  variance of the mean = var(subject) / N + var(seed) / K + var(rest) / NK, estimated by A / NK + (B - E) / NK

B - E is left out where it is negative. The interval is Student's t with the degrees of freedom of Satterthwaite (1946), the
variance squared over the sum of the squares of its terms, each over its own degrees of freedom. They are taken as 1 at least:
E is subtracted, so they come close to 0 where B - E does, and t then grows without bound.

The difference of two systems is paired by subject; their seeds are independent. With d[i] = y[., i] - y'[., i],

  variance of the difference = var(d) / N + (B - E) / NK + (B' - E') / NK'

In a cross-validation each subject is scored by the trainings of its fold. A training's share of a score is the same for the
N_f subjects of a fold f and independent between the folds, so a part of the spread of trainings is in that of subjects. With
one seed the variance of the mean is F / N, with folds - 1 degrees of freedom, from the spread of the folds' means:

  F = sum_f N_f (y[f] - y[.])^2 / (folds - 1)       expected var(subject) + var(training) N / folds + var(rest)

It covers the spread of trainings and that of subjects, each once. With several seeds B and E are those within the folds,
weighted by their subjects, and the last term is multiplied by c = (N - folds) / (N - 1), because the rest of it is in the
spread of subjects. c is 1 for one fold, and 0 for as many folds as subjects.

A fill that does not learn has no seed, and its last term is zero by construction. With one seed and without folds the term
cannot be estimated: the interval is then one of subjects alone, for that one training, and no p is given.

Coverage in % of 4,000 simulated samples a cell, 6, 12 and 30 subjects; standard deviations in dB like those of PSNR:

| | subject | seed | rest | 3 seeds | 5 seeds | 2 seeds |
|---|---|---|---|---|---|---|
| mean | 1.1 | 0.3 | 0.17 | 96, 96, 94 | 95, 95, 95 | 95, 96, 93 |
| mean | 1.1 | 0.6 | 0.2 | 96, 95, 92 | 95, 95, 94 | 95, 93, 89 |
| mean | 0.3 | 0.5 | 0.1 | 94, 93, 93 | 95, 94, 95 | 91, 88, 88 |
| mean, seeds without effect | 1.1 | 0 | 0.2 | 95, 95, 95 | 95, 95, 96 | 95, 95, 95 |
| difference of two systems | 0.4 | 0.3 | 0.2 | 96, 96, 96 | 96, 95, 95 | 97, 94, 94 |
| difference from a classical fill | 0.4 | 0.3 | 0.2 | 96, 94, 92 | 95, 95, 94 | 94, 91, 88 |
| two groups of seeds of one system | 0 | 0.3 | 0.17 | 96, 97, 96 | 96, 96, 96 | 97, 97, 97 |
| the same, seeds without effect | 0 | 0 | 0.3 | 98, 98, 98 | 98, 98, 98 | 98, 98, 98 |

The same for the mean of 5 folds, with 12, 30 and 60 subjects; "subjects alone" is what the spread of subjects would give:

| subject | training | rest | one seed | one seed, subjects alone | 3 seeds |
|---|---|---|---|---|---|
| 1.1 | 0.3 | 0.17 | 95, 95, 95 | 94, 90, 86 | 95, 95, 96 |
| 1.1 | 0.6 | 0.2 | 96, 95, 95 | 92, 81, 69 | 94, 95, 95 |
| 0.3 | 0.5 | 0.1 | 94, 95, 95 | 81, 60, 44 | 96, 96, 96 |
| 1.1 | 0 | 0.2 | 95, 96, 95 | 95, 95, 96 | 94, 95, 95 |

So three seeds are the fewest for which the intervals hold, and five are better where seeds differ more than subjects.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtr

from ipmedgan_jax.evaluation.intervals import Interval, around

FEWEST_SUBJECTS, FEWEST_SEEDS = 6, 3
"""With fewer, tables say so."""

FEWEST_DEGREES = 1.0
"""Degrees of freedom that no interval has fewer of; t is 12.7 there."""


@dataclass(frozen=True, eq=False)
class SystemScores:
    """One system's scores in one metric: `values` `[seeds, subjects]` in the metric's unit; NaN if it was not taken.

    A fill that does not learn has one row of values. `folds` `[subjects]` is the fold of each subject in a cross-validation;
    without one all are the same.
    """

    values: np.ndarray
    learns: bool
    folds: np.ndarray | None = None

    @property
    def fold_indices(self) -> np.ndarray:
        """The fold of each subject `[subjects]`, counted from 0."""
        if self.folds is None:
            return np.zeros(self.values.shape[1], int)
        return np.unique(self.folds, return_inverse=True)[1]

    @property
    def trainings(self) -> int:
        """Number of trainings: one for each seed, and for each fold of it; 0 for a fill that does not learn."""
        return len(self.values) * (int(self.fold_indices.max()) + 1) if self.learns else 0

    @property
    def is_testable(self) -> bool:
        """Whether the spread of its trainings is known: it has several seeds or folds, or does not learn."""
        return self.trainings != 1

    @property
    def varies_by_fold(self) -> bool:
        """Whether there is one training a fold, and several folds."""
        return self.learns and len(self.values) == 1 and self.fold_indices.max() > 0


class _Term(NamedTuple):
    """A part of a variance: its value, and the sum of its mean squares' squares, each over its degrees of freedom."""

    variance: float
    spread: float


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval and the p of a two-sided test that it is zero; None where there is none."""

    value: float
    interval: Interval | None
    p: float | None

    def as_entry(self) -> dict[str, Any]:
        """Returns {"mean", "ci95"}, as in metrics.json."""
        return {"mean": self.value, "ci95": self.interval}


def mean(scores: SystemScores) -> Estimate:
    """Estimates the mean over subjects and seeds."""
    if scores.varies_by_fold:
        return _estimate_over_folds(scores.values[0], scores.fold_indices)
    return _estimate(scores.values.mean(0), _seed_terms(scores))


def difference(scores: SystemScores, other: SystemScores) -> Estimate:
    """Estimates the mean of `scores` minus that of `other`, paired by subject. p is None if either is not testable."""
    paired = scores.values.mean(0) - other.values.mean(0)
    if scores.varies_by_fold or other.varies_by_fold:
        found = _estimate_over_folds(paired, scores.fold_indices)
    else:
        found = _estimate(paired, [*_seed_terms(scores), *_seed_terms(other)])
    return found if scores.is_testable and other.is_testable else Estimate(found.value, found.interval, None)


def spreads(scores: SystemScores) -> tuple[float | None, float | None]:
    """Returns the standard deviations of the subjects' means over seeds and of the seeds' means over subjects.

    None for one subject, for one seed or none, and where a score was not taken.
    """
    of_subjects, of_seeds = scores.values.mean(0), scores.values.mean(1)
    return _deviation(of_subjects), _deviation(of_seeds)


def _deviation(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 and not np.isnan(values).any() else None


def _estimate(of_subjects: np.ndarray, seed_terms: list[_Term]) -> Estimate:
    """Returns the mean of the subjects' values `[subjects]`, with the variance that the seeds add."""
    subjects = len(of_subjects)
    if subjects < 2:
        return Estimate(float(of_subjects.mean()), None, None)
    own = float(of_subjects.var(ddof=1)) / subjects
    return _student(of_subjects, [_Term(own, own**2 / (subjects - 1)), *seed_terms])


def _estimate_over_folds(of_subjects: np.ndarray, folds: np.ndarray) -> Estimate:
    """Returns the mean of the subjects' values `[subjects]`, whose variance is that of the folds' means: F / N."""
    counts, means = _by_fold(of_subjects, folds)
    variance = float((counts * np.square(means - of_subjects.mean())).sum()) / (len(counts) - 1) / len(of_subjects)
    return _student(of_subjects, [_Term(variance, variance**2 / (len(counts) - 1))])


def _student(of_subjects: np.ndarray, terms: Sequence[_Term]) -> Estimate:
    """Returns the mean of the subjects' values `[subjects]` with Student's t for the sum of these variances."""
    value = float(of_subjects.mean())
    if not math.isfinite(value):
        return Estimate(value, None, None)
    variance, spread = (sum(parts) for parts in zip(*terms, strict=True))
    if variance == 0:
        return Estimate(value, (value, value), 1.0 if value == 0 else 0.0)
    degrees = max(variance**2 / spread, FEWEST_DEGREES)
    p = 2 * float(stdtr(degrees, -abs(value) / math.sqrt(variance)))
    return Estimate(value, around(value, variance, degrees), p)


def _seed_terms(scores: SystemScores) -> list[_Term]:
    """Returns the term c (B - E) / NK of the scores; none if it is not positive, or for one seed or one subject a fold."""
    values, (seeds, subjects) = scores.values, scores.values.shape
    index = scores.fold_indices
    counts, of_seeds = _by_fold(values, index)
    free = subjects - len(counts)  # degrees of freedom within the folds
    if seeds < 2 or free < 1:
        return []
    between = counts * np.square(of_seeds - of_seeds.mean(0)).sum(0) / (seeds - 1)  # of each fold
    rest = np.square(values - of_seeds[:, index] - values.mean(0) + of_seeds.mean(0)[index]).sum() / (free * (seeds - 1))
    parts, share = counts / subjects * between, free / (subjects - 1) / (seeds * subjects)
    if parts.sum() <= rest:
        return []
    spread = np.square(share * parts).sum() / (seeds - 1) + (share * rest) ** 2 / (free * (seeds - 1))
    return [_Term(float(share * (parts.sum() - rest)), float(spread))]


def _by_fold(values: np.ndarray, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the number of subjects of each fold `[folds]`, and their means `[..., folds]` of values `[..., subjects]`."""
    chosen = folds[:, None] == np.arange(folds.max() + 1)
    counts = chosen.sum(0)
    return counts, values @ chosen / counts
