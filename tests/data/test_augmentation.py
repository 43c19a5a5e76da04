"""Augmentation: off it changes nothing; each part does what its setting says; masks move with the image."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from ipmedgan_jax.data import augmentation
from ipmedgan_jax.data.augmentation import AugmentationSettings, augment
from tests.properties import property_test

OFF = AugmentationSettings()
ALL = AugmentationSettings(
    scale=1.5, rotation=20.0, blur=0.6, gamma=1.4, bias=0.3, window=0.2, noise=0.05, crop=0.5
)  # fmt: skip
SEEDS = range(40)


@pytest.fixture
def head():
    """An ellipse away from the borders, wider than high, off the middle."""
    rows, columns = np.mgrid[:48, :40]
    return ((rows - 22) / 12) ** 2 + ((columns - 18) / 14) ** 2 < 1


@pytest.fixture
def image(head):
    return np.where(head, 0.2, -1).astype(np.float32)


@pytest.fixture
def always_moved(monkeypatch):
    monkeypatch.setattr(augmentation, "ON_OWN_GRID", 0.0)


def augmented(image, head=None, avoid=None, *, smallest=None, **changes):
    """The slice augmented once for each seed."""
    settings = replace(OFF, **changes)
    return [augment(np.random.default_rng(seed), image, head, avoid, settings, smallest=smallest) for seed in SEEDS]


def test_off_changes_no_pixel_and_draws_no_number(image, head):
    rng = np.random.default_rng(3)
    same, same_head, avoid = augment(rng, image, head, None, replace(OFF, scale=1.0, gamma=1.0))
    assert same is image
    assert same_head is head
    assert avoid is None
    assert rng.bit_generator.state == np.random.default_rng(3).bit_generator.state


def test_settings_are_on_if_any_part_is():
    assert not OFF.is_on
    assert all(replace(OFF, **{field.name: 0.5}).is_on for field in fields(OFF))


@pytest.mark.parametrize("part", [field.name for field in fields(OFF) if field.name != "lesion"])  # of the mirrored half
def test_each_part_alone_changes_the_image_and_never_its_source(image, head, part):
    original = image.copy()
    results = augmented(image, head, **{part: getattr(ALL, part)})
    assert np.mean([np.abs(result - image).mean() > 1e-4 for result, _, _ in results]) > 0.3
    np.testing.assert_array_equal(image, original)


def test_a_slice_depends_on_its_generator_alone(image, head):
    """In whatever thread, and whatever else drew noise there before."""
    alone = [augment(np.random.default_rng(seed), image, head, head, ALL)[0] for seed in SEEDS]
    with ThreadPoolExecutor(4) as threads:
        beside = threads.map(lambda seed: augment(np.random.default_rng(seed), image, head, head, ALL)[0], reversed(SEEDS))
        for first, second in zip(reversed(alone), beside, strict=True):
            np.testing.assert_array_equal(first, second)


@property_test
@given(
    shape=st.tuples(st.integers(16, 40), st.integers(16, 40)),
    smallest=st.one_of(st.none(), st.integers(16, 32)),
    seed=st.integers(0, 2**32 - 1),
    masks=st.tuples(st.booleans(), st.booleans()),
)
def test_shapes_types_and_ranges_hold_for_any_slice(shape, smallest, seed, masks):
    rng = np.random.default_rng(seed)
    image = rng.uniform(-1, 1, shape).astype(np.float32)
    head, avoid = (rng.random(shape) < 0.5 if has else None for has in masks)
    result = augment(rng, image, head, avoid, ALL, smallest=smallest)
    assert result[0].dtype == np.float32
    assert -1 <= result[0].min() <= result[0].max() <= 1
    assert [mask is not None for mask in result[1:]] == list(masks)
    assert all(mask is None or (mask.dtype == bool and mask.shape == result[0].shape) for mask in result[1:])
    assert result[0].shape == shape if smallest is None else min(result[0].shape) >= min(smallest, *shape)


@pytest.mark.usefixtures("always_moved")
@pytest.mark.parametrize("smallest", [None, 20, 64])
def test_masks_move_with_the_image(image, head, smallest):
    for moved, moved_head, moved_avoid in augmented(image, head, head, smallest=smallest, scale=1.5, rotation=30.0):
        assert moved_avoid[moved_head].all()
        assert not moved_avoid[
            ndimage.distance_transform_edt(~moved_head) > 6
        ].any()  # 2 * sqrt(2) pixels, 1.5 times as large
        assert np.mean((moved > -0.4) == moved_head) > 0.97


@pytest.mark.usefixtures("always_moved")
def test_scale_is_that_of_the_head_and_of_the_shape(image, head):
    results = augmented(image, head, smallest=16, scale=1.5)
    factors = np.array([np.sqrt(moved.sum() / head.sum()) for _, moved, _ in results])
    heights = np.array([len(result) for result, _, _ in results])
    assert 1 / 1.53 < factors.min() < 0.75
    assert 1.35 < factors.max() < 1.53
    np.testing.assert_allclose(heights, factors * len(image), atol=2.5)  # of a head of few pixels


@pytest.mark.usefixtures("always_moved")
@pytest.mark.parametrize("smallest", [None, 16])
def test_the_head_stays_inside(image, head, smallest):
    for _, moved, _ in augmented(image, head, smallest=smallest, scale=3.0, rotation=180.0):
        assert not (moved[0].any() or moved[-1].any() or moved[:, 0].any() or moved[:, -1].any()) or smallest is None
        factor = np.sqrt(moved.sum() / head.sum())
        assert moved.any(axis=1).sum() >= factor * 22  # the ellipse's short axis: nothing was cut off


@pytest.mark.usefixtures("always_moved")
def test_no_side_becomes_shorter_than_the_smallest(image, head):
    assert {min(result.shape) for result, _, _ in augmented(image, head, smallest=40, scale=3.0)} >= {40}
    assert min(min(result.shape) for result, _, _ in augmented(image, head, smallest=40, scale=3.0)) == 40


@pytest.mark.usefixtures("always_moved")
def test_rotation_turns_the_head_by_at_most_its_angle(image, head):
    def direction(mask):
        return np.linalg.eigh(np.cov(np.argwhere(mask).T))[1][:, 1]

    across = np.array([[0.6, 0.8]])  # an ellipse of its own, long enough to have a direction
    rows, columns = np.mgrid[:64, :64] - 31.5
    rod = (np.abs(rows * across[0, 1] - columns * across[0, 0]) < 3) & (np.hypot(rows, columns) < 24)
    turned = [moved for _, moved, _ in augmented(np.where(rod, 0.5, -1).astype(np.float32), rod, rotation=15.0)]
    angles = [np.degrees(np.arccos(min(1.0, abs(direction(mask) @ direction(rod))))) for mask in turned]
    assert 10 < max(angles) < 17


def test_some_slices_keep_their_own_grid(image, head):
    kept = [np.allclose(result, image, atol=1e-6) for result, _, _ in augmented(image, head, scale=1.5, rotation=20.0)]
    assert 0.1 < np.mean(kept) < 0.4


def test_air_stays_air_and_gamma_and_window_change_the_head_both_ways(image, head):
    for changes in ({"gamma": 1.5}, {"window": 0.2}):
        levels = []
        for result, _, _ in augmented(image, head, **changes):
            assert (result[~head] == -1).all()
            levels.append(result[head].mean())
        assert min(levels) < 0.17 < 0.23 < max(levels), changes


def test_bias_makes_nothing_brighter_and_keeps_air(image, head):
    for result, _, _ in augmented(image, head, bias=0.3):
        assert (result[~head] == -1).all()
        assert result[head].max() <= 0.2 + 1e-6


def test_gamma_is_the_exponent_s_factor(image, head):
    exponents = [np.log((result[head].mean() + 1) / 2) / np.log(0.6) for result, _, _ in augmented(image, head, gamma=1.5)]
    assert 1 / 1.5001 <= min(exponents) < 0.75
    assert 1.35 < max(exponents) <= 1.5001


def test_a_bias_field_is_smooth_and_within_its_amplitude():
    for seed in SEEDS:
        field = augmentation.bias_field(np.random.default_rng(seed), (64, 48), 0.3)
        assert field.shape == (64, 48)
        assert np.abs(field * 1.3 - 1).max() == pytest.approx(0.3, abs=1e-6)
        assert field.max() <= 1
        assert np.abs(np.diff(field, axis=0)).max() < 0.08
        assert field.std() > 0.02


def test_noise_has_at_most_its_standard_deviation_and_spares_masked_air_in_half_of_the_slices(image, head):
    results = [result for result, _, _ in augmented(image, head, noise=0.05)]
    deviations = np.array([result[head].std() / 2 for result in results])
    assert 0.04 < deviations.max() < 0.055
    assert deviations.min() < 0.01
    assert 0.3 < np.mean([(result[~head] == -1).all() for result in results]) < 0.7


def test_noise_in_air_is_rayleigh_distributed():
    air = np.full((64, 64), -1, np.float32)
    means = [(result.mean() + 1) / 2 for result, _, _ in augmented(air, noise=0.05)]
    assert 0.04 < max(means) < 0.05 * np.sqrt(np.pi / 2) * 1.03


def test_blur_lowers_or_raises_edges_as_often(image, head):
    def sharpness(array):
        return np.abs(np.diff(array[:, 15:20], axis=0)).max()

    ratios = [sharpness(result) / sharpness(image) for result, _, _ in augmented(0.5 * image, head, blur=0.8)]
    ratios = np.array(ratios) * 2
    assert 0.25 < np.mean(ratios < 0.99) < 0.75
    assert ratios.min() < 0.7
    assert ratios.max() > 1.1


def test_a_cut_takes_a_part_of_the_head_at_one_side(image, head):
    results = augmented(image, head, crop=1.0)
    lost = [1 - cut.sum() / head.sum() for _, cut, _ in results]
    assert 0.15 < max(lost) < 0.45
    for result, cut, _ in results:
        assert (result[head & ~cut] == -1).all()
        np.testing.assert_array_equal(result[cut], image[cut])
    assert 0.3 < np.mean([cut is not head and (cut != head).any() for _, cut, _ in augmented(image, head, crop=0.5)]) < 0.7


@pytest.mark.parametrize("part", ["blur", "scale", "rotation"])
def test_nothing_of_an_avoided_pixel_gets_beyond_the_avoided_ones(image, head, always_moved, part):
    rows, columns = np.mgrid[:48, :40]
    lesion = (rows - 20) ** 2 + (columns - 17) ** 2 <= 5**2
    changes = {part: {"blur": 1.5, "scale": 1.5, "rotation": 10.0}[part]}
    with_lesion = augmented(np.where(lesion, np.float32(0.9), image), head, lesion, **changes)
    without = augmented(image, head, lesion, **changes)
    for (ill, _, avoid), (healthy, _, _) in zip(with_lesion, without, strict=True):
        np.testing.assert_allclose(ill[~avoid], healthy[~avoid], atol=1e-6)
        assert (ill != healthy).any()
        assert avoid.mean() < 0.5
