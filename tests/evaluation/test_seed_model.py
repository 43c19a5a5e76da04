"""Means and differences over subjects and seeds: by hand, and their coverage in simulations."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from ipmedgan_jax.evaluation import comparison_tables, seed_model
from ipmedgan_jax.evaluation.intervals import mean_interval
from ipmedgan_jax.evaluation.paired_tests import LEVEL
from ipmedgan_jax.evaluation.seed_groups import SeedGroup
from ipmedgan_jax.evaluation.seed_model import SystemScores

SAMPLES = 2000


def draw(rng, subjects, seeds, of_subject, of_seed, of_rest, shared=0.0):
    """Draws the scores of a system with a mean of 17; `shared` `[subjects]` is what all systems have."""
    values = 17 + shared + of_subject * rng.normal(size=subjects)
    if seeds:
        values = values + of_seed * rng.normal(size=(seeds, 1)) + of_rest * rng.normal(size=(seeds, subjects))
    return SystemScores(np.atleast_2d(values), learns=seeds > 0)


def covers(estimate, value):
    low, high = estimate.interval
    return low <= value <= high


CELLS = [(3, 1.1, 0.3, 0.17), (3, 1.1, 0.0, 0.2), (3, 1.1, 0.6, 0.2), (5, 0.5, 0.6, 0.2)]
"""Number of seeds; standard deviations of subject, seed and rest, in dB."""


@pytest.mark.parametrize("subjects", [6, 12, 30])
@pytest.mark.parametrize("cell", CELLS)
def test_the_mean_of_several_seeds_is_covered_in_93_to_97_percent(subjects, cell):
    rng = np.random.default_rng(1)
    covered = [covers(seed_model.mean(draw(rng, subjects, *cell)), 17) for _ in range(SAMPLES)]
    assert 0.93 <= np.mean(covered) <= 0.97


@pytest.mark.parametrize("subjects", [6, 12, 30])
@pytest.mark.parametrize("seeds", [3, 0])
def test_a_difference_of_two_systems_is_covered_in_93_to_97_percent(subjects, seeds):
    """Three seeds against three, and against a fill that does not learn."""
    rng, covered = np.random.default_rng(2), []
    for _ in range(SAMPLES):
        shared = 1.1 * rng.normal(size=subjects)
        a, b = draw(rng, subjects, 3, 0.6, 0.3, 0.2, shared), draw(rng, subjects, seeds, 0.6, 0.3, 0.2, shared)
        covered.append(covers(seed_model.difference(a, b), 0))
    assert 0.93 <= np.mean(covered) <= 0.97


def test_an_interval_of_subjects_alone_does_not_cover_another_training():
    rng, covered = np.random.default_rng(3), []
    for _ in range(SAMPLES):
        low, high = mean_interval(draw(rng, 12, 3, 1.1, 0.6, 0.2).values.mean(0))
        covered.append(low <= 17 <= high)
    assert np.mean(covered) < 0.9


def groups_of_one_system(rng, seeds, subjects):
    """Returns two groups whose scores have the spreads of one system's seeds, for the functions of the tables."""
    shared = 1.1 * rng.normal(size=subjects)
    groups = []
    for name in "ab":
        scores = draw(rng, subjects, seeds, 0, 0.3, 0.17, shared)
        group = SeedGroup(name, (None,) * seeds, tuple(range(seeds)))
        object.__setattr__(group, "scores_of", lambda metric, region="hole", found=scores: found)
        groups.append(group)
    return groups


@pytest.mark.parametrize("subjects", [6, 12])
def test_two_groups_of_seeds_of_one_system_differ_in_one_of_twenty_pairs_at_most(subjects):
    rng, cells = np.random.default_rng(4), []
    for _ in range(400):
        group, reference = groups_of_one_system(rng, 3, subjects)
        cells += comparison_tables.difference_cells([group], reference, "psnr", 2)
    p_values = [float(cell.rpartition(", p ")[2].replace("< .001", "0")) for cell in cells]
    assert np.mean([p < LEVEL for p in p_values]) <= 0.05
    single = []
    for _ in range(400):  # the same by subjects alone, as of one seed each
        a, b = (group.scores_of("psnr").values.mean(0) for group in groups_of_one_system(rng, 1, subjects))
        single.append(ttest_rel(a, b).pvalue)
    assert np.mean([p < LEVEL for p in single]) > 0.5


def test_two_single_seeds_of_one_system_have_no_p():
    group, reference = groups_of_one_system(np.random.default_rng(5), 1, 12)
    (cell,) = comparison_tables.difference_cells([group], reference, "psnr", 2)
    assert cell.endswith("], one seed")
    assert ", p " not in cell
    assert not comparison_tables.supported_cells([(1, "psnr", [group.scores_of("psnr"), reference.scores_of("psnr")])])


def test_the_variance_by_hand():
    values = np.array([[1.0, 2.0, 6.0], [4.0, 5.0, 12.0]])
    of_subjects, of_seeds, mean = values.mean(0), values.mean(1), values.mean()  # 2.5 3.5 9, 3 7, 5
    a = 2 * np.square(of_subjects - mean).sum() / 2
    b = 3 * np.square(of_seeds - mean).sum() / 1
    e = np.square(values - of_seeds[:, None] - of_subjects + mean).sum() / 2
    assert (a, b, e) == pytest.approx((24.5, 24, 1.5))
    variance = (a + b - e) / 6
    degrees = variance**2 / sum((part / 6) ** 2 / df for part, df in ((a, 2), (b, 1), (e, 2)))
    found = seed_model.mean(SystemScores(values, learns=True))
    assert found.value == mean
    assert found.interval == pytest.approx(seed_model.around(mean, variance, degrees))
    assert seed_model.spreads(SystemScores(values, learns=True)) == pytest.approx((12.25**0.5, 8**0.5))


def test_one_seed_is_judged_by_its_subjects_alone():
    rng = np.random.default_rng(6)
    a, b = (draw(rng, 9, 0, 1, 0, 0) for _ in range(2))
    assert seed_model.mean(a).interval == mean_interval(a.values[0])
    found = seed_model.difference(a, b)
    assert found.p == pytest.approx(ttest_rel(a.values[0], b.values[0]).pvalue)
    once = seed_model.difference(SystemScores(a.values, learns=True), b)
    assert (once.interval, once.p) == (found.interval, None)


def test_seeds_that_are_equal_add_nothing_and_one_subject_has_no_interval():
    row = np.array([1.0, 2.0, 4.0])
    assert seed_model.mean(SystemScores(np.stack([row, row]), learns=True)).interval == pytest.approx(mean_interval(row))
    assert seed_model.mean(SystemScores(np.array([[3.0], [4.0]]), learns=True)) == seed_model.Estimate(3.5, None, None)
    equal = seed_model.difference(SystemScores(row[None], learns=False), SystemScores(row[None], learns=False))
    assert (equal.value, equal.interval, equal.p) == (0.0, (0.0, 0.0), 1.0)


@pytest.mark.parametrize(("seeds", "subjects"), [(2, 2), (2, 6), (3, 6)])
def test_no_interval_is_wider_than_with_one_degree_of_freedom(seeds, subjects):
    """Seeds without effect: the seeds' mean squares hardly differ from the rest, as in two groups of seeds of one system."""
    rng = np.random.default_rng(7)
    for _ in range(400):
        a, b = (draw(rng, subjects, seeds, 0, 0, 0.3) for _ in range(2))
        found = seed_model.difference(a, b)
        assert found.interval[1] - found.value < 12.71 * np.sqrt(0.5 * (np.ptp(a.values) ** 2 + np.ptp(b.values) ** 2))
