"""Dot plots: positions of dots and means, and ticks of the axis."""

import math

import numpy as np
import pytest
from PIL import Image

from ipmedgan_jax.evaluation.dot_plot import DOT, INK, LINE, MARGIN, PAGE, PANEL, Panel, dot_plot, span, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.12, 0.33, [0.15, 0.2, 0.25, 0.3]),
        (10.2, 19.9, [12, 14, 16, 18]),
        (-1.0, 1.0, [-1.0, -0.5, 0.0, 0.5, 1.0]),
        (999.0, 1001.0, [999.0, 999.5, 1000.0, 1000.5, 1001.0]),
    ],
)
def test_ticks_are_round_numbers_inside_the_axis(low, high, expected):
    np.testing.assert_allclose(ticks(low, high), expected, atol=1e-12)


@pytest.mark.parametrize("values", [[2.0, 2.0], [0.0], [math.nan], [1.0, math.nan]])
def test_an_axis_of_one_value_or_none_has_a_width(values):
    low, high = span([np.array(values)])
    assert low < high
    assert len(ticks(low, high)) >= 2


def test_each_value_is_drawn_as_a_dot_and_the_mean_as_a_bar(tmp_path):
    dot_plot([Panel("score", (np.array([[0.0, 1.0]]), np.array([[0.5, math.nan]])))], ["a", "b"], tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        pixels = np.asarray(picture).astype(int)
    right = pixels.shape[1] - MARGIN
    first, second = (MARGIN + round((line + 0.5) * LINE) for line in (0, 1))

    def at(value, row):
        x = right - PANEL + round(PANEL * (value + 0.05) / 1.1)
        return pixels[row - 1 : row + 2, x - 1 : x + 2].reshape(-1, 3).mean(0)

    mixed = 0.45 * np.array(DOT) + 0.55 * np.array(PAGE)
    np.testing.assert_allclose(at(0.0, first), mixed, atol=6)
    np.testing.assert_allclose(at(1.0, first), mixed, atol=6)
    np.testing.assert_allclose(at(0.5, first), INK, atol=6)  # the mean
    np.testing.assert_allclose(at(0.25, first), PAGE, atol=6)
    np.testing.assert_allclose(at(0.5, second), mixed, atol=6)  # no mean where a subject has no score


def test_the_mean_of_each_of_several_seeds_is_a_longer_mark(tmp_path):
    seeds = np.array([[0.0, 0.5], [0.5, 1.0]])  # subjects 0.25 and 0.75, seeds 0.25 and 0.75, the mean of all 0.5
    dot_plot([Panel("score", (seeds,))], ["a"], tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        pixels = np.asarray(picture.convert("L")).astype(int)
    above = pixels[MARGIN + LINE // 2 - 19, pixels.shape[1] - MARGIN - PANEL + 5 : -MARGIN - 5]
    dark = np.flatnonzero(above < 150) + 5
    assert dark.min() == pytest.approx(PANEL * 0.05 / 1.1, abs=3)
    assert dark.max() == pytest.approx(PANEL * 1.05 / 1.1, abs=3)
