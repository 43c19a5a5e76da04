"""Slices whose air lies inside the intensity window: where the head, its midline and its damage are."""

import contextlib

import numpy as np
import pytest

from ipmedgan_jax.data import damage, damaged_windows, grey_air, pipeline
from ipmedgan_jax.data.augmentation import AugmentationSettings, augment
from ipmedgan_jax.data.symmetry import opposite

GREY, LEVEL = np.float32(0.1), -0.9
ROWS, COLUMNS = np.mgrid[:96, :96]
HEAD = ((ROWS - 46) / 34) ** 2 + ((COLUMNS - 40) / 26) ** 2 < 1  # off the middle of the slice
DARK = np.where(HEAD, 0.3 * np.cos((COLUMNS - 40) / 4) + 0.2 * np.sin(ROWS / 5), -1).astype(np.float32)
SLICE = np.where(HEAD, DARK, GREY)


def test_the_level_of_air_is_that_outside_the_head():
    assert grey_air.level(SLICE, HEAD, LEVEL) == pytest.approx(GREY)
    assert grey_air.level(DARK, HEAD, LEVEL) == grey_air.AIR
    assert grey_air.level(SLICE, None, LEVEL) == grey_air.level(SLICE, np.ones_like(HEAD), LEVEL) == grey_air.AIR
    np.testing.assert_array_equal(grey_air.darkened(SLICE, HEAD, LEVEL), DARK)
    assert grey_air.darkened(DARK, HEAD, LEVEL) is DARK


def test_the_midline_is_that_of_the_head_whatever_its_air():
    removed = np.zeros(HEAD.shape, bool)
    removed[40:56, 20:36] = True
    expected, found = opposite(DARK, removed, LEVEL, HEAD), opposite(SLICE, removed, LEVEL, HEAD)
    np.testing.assert_array_equal(found[..., 1], expected[..., 1])  # what is known tells the line
    np.testing.assert_array_equal(found[removed], expected[removed])
    np.testing.assert_array_equal(opposite(DARK, removed, LEVEL, HEAD), opposite(DARK, removed, LEVEL))


@pytest.mark.parametrize("kind", damage.KINDS)
def test_damage_lies_in_the_head_and_not_in_its_grey_air(kind):
    settings = damage.DamageSettings((kind,), (1.0,), 0.0, size=24, smallest=8, foreground=LEVEL)
    rng, outside = np.random.default_rng(0), []
    for _ in range(20):
        shown, head = damaged_windows.draw(rng, SLICE, HEAD, settings, 64)
        damaged, mask, _ = damage.simulate(rng, shown, head, settings)
        outside.append((mask & ~head).sum() / max(mask.sum(), 1))
        if kind == "cut":
            assert np.abs(damaged[~head] - GREY).max() < 1e-6
            assert (np.abs(damaged[mask & head] - GREY) < 1e-6).mean() > 0.8  # and pixels beside the cut
    assert np.mean(outside) < (0.15 if kind == "metal" else 0.05)  # a piece of metal may stick out
    assert damaged_windows.draw(rng, DARK, HEAD, settings, 64)[1] is None  # found from the image, as before


def test_augmentation_draws_no_black_into_grey_air(monkeypatch):
    monkeypatch.setattr("ipmedgan_jax.data.augmentation.ON_OWN_GRID", 0.0)
    settings = AugmentationSettings(scale=1.4, rotation=20.0, gamma=1.3, crop=1.0)
    for seed in range(10):
        image, head, _ = augment(np.random.default_rng(seed), SLICE, HEAD, None, settings, foreground=LEVEL)
        air = image[~head & (image < 0.3)]
        assert air.min() > -0.5
        assert augment(np.random.default_rng(seed), DARK, HEAD, None, settings, foreground=LEVEL)[0][0, 0] == -1


def test_training_tells_the_network_the_head(monkeypatch, phantom_data):
    seen = []

    def watched(image, removed, foreground, head=None):
        seen.append(head)
        return opposite(image, removed, foreground, head)

    monkeypatch.setattr(pipeline, "opposite", watched)
    holes = pipeline.HoleSettings(8, LEVEL, 0.5, 0.5, 0, opposite=True)
    next(pipeline.evaluation_slices(phantom_data, "validation", holes))
    batches = pipeline.training_batches(phantom_data, holes, batch_size=1, seed=0, threads=1, prefetch=1)
    with contextlib.closing(batches):
        next(batches)
    assert len(seen) > 1
    assert all(head is not None and head.any() for head in seen)
