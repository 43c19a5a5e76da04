"""KID between fills and truths: its value by hand, and its interval over subjects."""

import numpy as np
import pytest

from ipmedgan_jax.evaluation.intervals import mean_interval
from ipmedgan_jax.evaluation.metrics import kernel_inception_distance


def interval_of(found):
    return mean_interval(list(found.pseudo_values.values()))


def test_kid_is_near_zero_for_equal_distributions_and_grows_with_their_distance():
    rng = np.random.default_rng(0)
    truth = rng.normal(1, 1, (120, 16))
    subjects = [f"s{i // 6}" for i in range(120)]

    def kid(fake):
        return kernel_inception_distance(np.stack([fake, truth], axis=1), subjects)

    equal = kid(rng.normal(1, 1, (120, 16)))
    low, high = interval_of(equal)
    assert low < 0 < high
    near, far = (kid(rng.normal(1 + shift, 1, (120, 16))).value for shift in (0.5, 1.5))
    assert abs(equal.value) < near < far


def test_kid_by_hand_of_two_subjects():
    features = np.array([[[1.0, 0.0], [1.0, 1.0]], [[0.0, 1.0], [1.0, 1.0]]])  # fill and truth of one slice each
    found = kernel_inception_distance(features, ["a", "b"])
    assert found.value == pytest.approx((0 / 2 + 1) ** 3 + (2 / 2 + 1) ** 3 - 2 * (1 / 2 + 1) ** 3)
    assert interval_of(found) is None


def test_one_subject_has_no_kid():
    assert kernel_inception_distance(np.ones((3, 2, 4)), ["a"] * 3) is None


def test_a_perfect_fill_has_a_kid_of_zero():
    features = np.random.default_rng(0).normal(0, 1, (12, 1, 8)).repeat(2, axis=1)
    found = kernel_inception_distance(features, list("aabbccddeeff"))
    assert (found.value, *interval_of(found)) == pytest.approx((0, 0, 0), abs=1e-9)


def test_the_pseudo_values_are_those_of_the_jackknife():
    rng = np.random.default_rng(1)
    features, subjects = rng.normal(1, 1, (10, 2, 3)), np.array(list("aaabbbbccc"))
    found = kernel_inception_distance(features, list(subjects))
    without = np.array(
        [kernel_inception_distance(features[subjects != s], list(subjects[subjects != s])).value for s in "abc"]
    )
    assert list(found.pseudo_values) == ["a", "b", "c"]
    assert list(found.pseudo_values.values()) == pytest.approx(found.value - 2 * (without - without.mean()))


def test_the_interval_covers_a_distance():
    """Fills that are shifted, smoother than the truth, and alike within a subject; with 1.96 in place of t it covers 0.88."""
    rng = np.random.default_rng(2)

    def sample(count):
        own = rng.normal(0, 0.5, (count, 1, 4))
        truth = 1 + own + rng.normal(0, 0.7, (count, 2, 4))
        fill = 1.5 + 0.6 * own + rng.normal(0, 0.3, (count, 1, 4)) + rng.normal(0, 0.5, (count, 2, 4))
        features = np.stack([fill, truth], 2).reshape(2 * count, 2, 4)
        return kernel_inception_distance(features, [str(i // 2) for i in range(2 * count)])

    expected = np.mean([sample(24).value for _ in range(24)])
    covered = [low < expected < high for low, high in (interval_of(sample(6)) for _ in range(100))]
    assert 0.89 <= np.mean(covered) <= 0.99
