"""The interval of a mean over subjects: by hand, and its coverage in simulations."""

import numpy as np
import pytest
from scipy.stats import t

from ipmedgan_jax.evaluation.intervals import mean_interval, pseudo_values

SAMPLES = 2000

POPULATIONS = {
    "normal": lambda rng, shape: rng.normal(17, 1.1, shape),
    "skewed as scores are": lambda rng, shape: rng.gamma(8, 1, shape) - 8 + 17,  # skewness 0.7
}
"""Subjects' scores with a mean of 17."""


def coverage(intervals, mean=17.0):
    low, high = np.transpose(intervals)
    return np.mean((low <= mean) & (mean <= high))


@pytest.mark.parametrize("subjects", [6, 12, 30])
@pytest.mark.parametrize("population", POPULATIONS)
def test_the_interval_covers_the_mean_in_93_to_97_percent(population, subjects):
    rng = np.random.default_rng(subjects)
    samples = POPULATIONS[population](rng, (SAMPLES, subjects))
    assert 0.93 <= coverage([mean_interval(sample) for sample in samples]) <= 0.97


@pytest.mark.parametrize(("subjects", "highest"), [(3, 0.8), (6, 0.88), (12, 0.925)])
def test_the_percentile_bootstrap_of_earlier_versions_covers_less(subjects, highest):
    rng = np.random.default_rng(subjects)
    samples = rng.normal(17, 1.1, (500, subjects))
    means = samples[:, rng.integers(subjects, size=(400, subjects))].mean(2)
    assert coverage(np.percentile(means, [2.5, 97.5], axis=1).T) < highest


def test_the_interval_by_hand():
    low, high = mean_interval([1, 2, 6])  # mean 3, variance 7, standard error sqrt(7 / 3)
    assert (low, high) == pytest.approx((3 - 4.302653 * (7 / 3) ** 0.5, 3 + 4.302653 * (7 / 3) ** 0.5))
    assert mean_interval([3.0, 3.0, 3.0]) == (3.0, 3.0)
    assert mean_interval([3.0]) is mean_interval([]) is None


def test_the_jackknife_s_interval_of_a_mean_is_that_of_the_mean():
    values = np.random.default_rng(0).gamma(2, 1, 9)
    without = [np.delete(values, i).mean() for i in range(9)]
    assert mean_interval(pseudo_values(values.mean(), without)) == pytest.approx(mean_interval(values))


def test_the_jackknife_s_interval_of_a_ratio_covers_it():
    rng, hits = np.random.default_rng(1), []
    for _ in range(1000):
        b = rng.normal(10, 2, 12)
        a = 0.7 * b + rng.normal(0, 0.7, 12)
        without = (a.sum() - a) / (b.sum() - b)
        low, high = mean_interval(pseudo_values(a.sum() / b.sum(), without))
        hits.append(low < 0.7 < high)
    assert 0.93 <= np.mean(hits) <= 0.97
    assert high - low < 2 * t.isf(0.025, 11) * 0.7 / 10 / 12**0.5 * 2
