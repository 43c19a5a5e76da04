"""Curves of a run's report: which points are drawn, which charts there are, and the best step."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ipmedgan_jax.training import curves
from ipmedgan_jax.training.event_reader import Points
from tests.properties import property_test


def points(values, every=1):
    made = Points()
    for i, value in enumerate(values):
        made.add((i + 1) * every, value, float(i))
    return made


@property_test
@given(values=arrays.arrays(np.float32, 2000, elements=st.floats(-1e6, 1e6, width=32) | st.just(math.nan)))
def test_a_thinned_curve_keeps_the_extremes_of_every_column_and_shows_gaps(values):
    steps = np.arange(1, 2001) * 50
    drawn = curves.thinned(steps, values)
    assert len(drawn["steps"]) <= 3 * curves.COLUMNS + 1
    assert drawn["count"] == 2000
    assert (drawn["steps"][-1], sorted(set(drawn["steps"]))) == (100_000, drawn["steps"])
    at = dict(zip(drawn["steps"], drawn["values"], strict=True))
    original = dict(zip(steps.tolist(), values.tolist(), strict=True))
    for step, value in at.items():
        assert value is None if math.isnan(original[step]) else math.isclose(value, original[step], rel_tol=1e-5)
    for part in np.array_split(np.arange(2000), 100):  # wider than a column, so each holds whole ones
        inner = values[part]
        kept = [at[step] for step in steps[part].tolist() if step in at]
        assert (None in kept) or not np.isnan(inner[7:-7]).any()
    finite = values[np.isfinite(values)]
    if len(finite):
        shown = [value for value in drawn["values"] if value is not None]
        assert math.isclose(max(shown), finite.max(), rel_tol=1e-5)
        assert math.isclose(min(shown), finite.min(), rel_tol=1e-5)


def test_a_single_spike_of_a_long_run_is_drawn():
    values = np.ones(50_000, np.float32)
    values[31_415] = 77.0
    assert 77.0 in curves.thinned(np.arange(50_000), values)["values"]


def test_means_of_a_thinned_curve_are_those_of_all_points():
    values = np.zeros(3000, np.float32)
    values[::10] = 1.0  # lowest and highest point of a column average to a half
    means = np.array(curves.thinned(np.arange(3000), values)["means"])
    np.testing.assert_allclose(means[:, 1], 0.1)


def test_a_short_curve_is_drawn_whole_with_gaps_for_what_is_not_finite():
    drawn = curves.thinned(np.array([1, 2, 3]), np.array([0.5, math.inf, math.nan], np.float32))
    assert drawn == {"count": 3, "steps": [1, 2, 3], "values": [0.5, None, None]}


def test_every_scalar_is_in_one_chart_and_the_choosing_score_leads():
    names = ["validation/ssim", "validation/psnr", "loss/generator/style", "loss/generator_weighted/style", "new/one"]
    names += ["loss/discriminator/global", "logit/real/global", "logit/fake/global", "gradient_norm/global", "skipped_steps"]
    charts = curves.charts({name: points([1.0, 2.0]) for name in names}, "ssim")
    assert sum(len(chart["series"]) for chart in charts) == len(names)
    assert (charts[0]["title"], charts[0]["best"], charts[0]["chooses"]) == ("Validation: ssim", 2, True)
    assert charts[-1]["title"] == "Other"
    assert [s["name"] for chart in charts for s in chart["series"] if chart["title"] == "Discriminator logits"] == [
        "fake/global",
        "real/global",
    ]


def test_the_best_step_is_the_last_of_equal_ones_and_never_one_that_is_not_finite():
    values = [math.nan, 3.0, 1.0, 1.0, -math.inf]
    assert curves.best_step(points(values), "mae") == 4
    assert curves.best_step(points(values), "psnr") == 2
    assert curves.best_step(points([math.nan]), "psnr") is None
