"""Do image scores order fills as a downstream error does? Rank correlations over systems, holes, and fills of a hole.

Errors and scores of holes are `[runs, n]`. Correlations are Spearman's rho (1904) and Kendall's tau-b (1938). A perfect
score has -1 with an error if it is higher for better fills (PSNR, SSIM), and 1 if it is lower (VGG distance, KID).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

FEWEST = 3
"""Fewest pairs of which a correlation is taken."""


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho and Kendall's tau; NaN for fewer than three pairs, or if one side is constant."""

    rho: float
    tau: float


UNDEFINED = Correlation(math.nan, math.nan)


def correlate(errors: np.ndarray, scores: np.ndarray) -> Correlation:
    """Correlates two lists `[n]`; pairs with NaN are left out."""
    known = np.isfinite(errors) & np.isfinite(scores)
    errors, scores = errors[known], scores[known]
    if len(errors) < FEWEST or np.ptp(errors) == 0 or np.ptp(scores) == 0:
        return UNDEFINED
    return Correlation(float(stats.spearmanr(errors, scores).statistic), float(stats.kendalltau(errors, scores).statistic))


def over_holes(errors: np.ndarray, scores: np.ndarray, subjects: Sequence[str]) -> dict[str, Correlation]:
    """Correlates over the holes of a subject filled by one run; mean over runs, for each subject. Which hole is worse?"""
    found: dict[str, list[Correlation]] = {}
    for subject in sorted(set(subjects)):
        rows = np.array([name == subject for name in subjects])
        found[subject] = [correlate(*pair) for pair in zip(errors[:, rows], scores[:, rows], strict=True)]
    return {subject: mean(values) for subject, values in found.items()}


def over_fills(errors: np.ndarray, scores: np.ndarray, subjects: Sequence[str]) -> dict[str, Correlation]:
    """Correlates over the runs' fills of one hole; mean over a subject's holes. Which fill of a hole is better?"""
    found: dict[str, list[Correlation]] = {subject: [] for subject in sorted(set(subjects))}
    for subject, *pair in zip(subjects, errors.T, scores.T, strict=True):
        found[subject].append(correlate(*pair))
    return {subject: mean(values) for subject, values in found.items()}


def mean(found: Sequence[Correlation]) -> Correlation:
    """Averages the correlations that are defined."""
    known = [value for value in found if math.isfinite(value.rho)]
    if not known:
        return UNDEFINED
    return Correlation(float(np.mean([value.rho for value in known])), float(np.mean([value.tau for value in known])))
