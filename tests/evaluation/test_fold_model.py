"""Intervals over folds: by hand, equal to those without folds where they must be, and their coverage in simulations."""

import numpy as np
import pytest
from scipy.stats import t

from ipmedgan_jax.evaluation import seed_model
from ipmedgan_jax.evaluation.intervals import mean_interval
from ipmedgan_jax.evaluation.seed_model import SystemScores

SAMPLES = 800


def draw(rng, folds, seeds, of_subject, of_training, of_rest):
    """Draws the scores of a system with a mean of 17; `folds` `[subjects]` counts from 0."""
    trainings = of_training * rng.normal(size=(seeds, folds.max() + 1))
    values = 17 + of_subject * rng.normal(size=len(folds)) + trainings[:, folds]
    return SystemScores(values + of_rest * rng.normal(size=(seeds, len(folds))), learns=True, folds=folds)


def covered(estimates, value):
    return np.mean([low <= value <= high for low, high in (estimate.interval for estimate in estimates)])


@pytest.mark.parametrize(("subjects", "seeds"), [(12, 1), (30, 1), (30, 3)])
def test_the_mean_of_five_folds_is_covered_in_93_to_97_percent(subjects, seeds):
    rng, folds = np.random.default_rng(1), np.arange(subjects) % 5
    assert 0.93 <= covered([seed_model.mean(draw(rng, folds, seeds, 1.1, 0.6, 0.2)) for _ in range(SAMPLES)], 17) <= 0.97


def test_a_difference_of_folds_is_covered_in_93_to_97_percent():
    """One system has two seeds, the other one."""
    rng, folds = np.random.default_rng(2), np.arange(30) % 5
    pairs = ((draw(rng, folds, 2, 0.6, 0.4, 0.2), draw(rng, folds, 1, 0.6, 0.4, 0.2)) for _ in range(SAMPLES))
    assert 0.93 <= covered([seed_model.difference(*pair) for pair in pairs], 0) <= 0.97


def test_subjects_alone_would_not_cover_the_trainings_of_their_folds():
    rng, folds, inside = np.random.default_rng(3), np.arange(30) % 5, []
    for _ in range(SAMPLES // 2):
        low, high = mean_interval(draw(rng, folds, 1, 1.1, 0.6, 0.2).values[0])
        inside.append(low <= 17 <= high)
    assert np.mean(inside) < 0.88


def test_one_seed_of_three_folds_by_hand():
    scores = SystemScores(np.array([[1.0, 3.0, 4.0, 6.0, 8.0, 8.0]]), True, np.array([1, 1, 2, 2, 3, 3]))
    found = seed_model.mean(scores)
    # means of folds 2, 5, 8 round 5: F = 2 (9 + 0 + 9) / 2 = 18, variance 18 / 6, t of 2 degrees 4.3027
    assert found.value == 5
    assert found.interval == pytest.approx((5 - 4.3027 * 3**0.5, 5 + 4.3027 * 3**0.5), abs=1e-3)
    assert scores.is_testable
    assert not SystemScores(scores.values, True, np.ones(6)).is_testable


def test_two_seeds_of_two_folds_by_hand():
    """Subjects are alike and there is no rest, so the trainings' +-1 and +-2 are all of the spread."""
    shares = np.array([[1.0, 1, 2, 2, 2], [-1, -1, -2, -2, -2]])
    found = seed_model.mean(SystemScores(17 + shares, True, np.array([4, 4, 5, 5, 5])))
    # B is 2 (1 + 1) = 4 and 3 (4 + 4) = 24, weighted 2/5 and 3/5: 1.6 + 14.4; c = 3/4, N K = 10
    parts = 0.075 * np.array([1.6, 14.4])
    reach = t.isf(0.025, parts.sum() ** 2 / np.square(parts).sum()) * np.sqrt(parts.sum())
    assert found.interval == pytest.approx((17 - reach, 17 + reach))


@pytest.mark.parametrize("seeds", [1, 3])
def test_as_many_folds_as_subjects_need_the_spread_of_subjects_alone(seeds):
    scores = draw(np.random.default_rng(4), np.arange(9), seeds, 1.0, 1.0, 0.1)
    assert seed_model.mean(scores).interval == pytest.approx(mean_interval(scores.values.mean(0)))


def test_a_single_fold_is_the_model_without_folds_and_its_number_does_not_matter():
    scores = draw(np.random.default_rng(5), np.zeros(9, int), 3, 1.0, 1.0, 0.1)
    assert seed_model.mean(scores) == seed_model.mean(SystemScores(scores.values, True))
    assert seed_model.mean(scores) == seed_model.mean(SystemScores(scores.values, True, np.full(9, 4)))


def test_fills_that_do_not_learn_have_the_interval_of_subjects_whatever_the_folds():
    a, b = (draw(np.random.default_rng(6), np.arange(9) % 3, 1, 1.0, 1.0, 0.1).values * scale for scale in (1, 2))
    folds = np.arange(9) % 3
    found = seed_model.difference(SystemScores(a, False, folds), SystemScores(b, False, folds))
    assert found.interval == pytest.approx(mean_interval((a - b)[0]))
