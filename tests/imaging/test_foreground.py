"""The head is found in air that is noise, ghosts, a head-rest or any one value, and its window goes with it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging.foreground import find_background, find_foreground
from ipmedgan_jax.imaging.settings import PreparationSettings
from tests.properties import property_test

MRI = PreparationSettings(modality="mri", image_size=32)
CT = PreparationSettings(modality="ct", image_size=32, foreground_level=1 / 6)
MM = (1.0, 1.0, 3.0)
SHAPE = (64, 64, 8)
GRID = np.stack(np.meshgrid(*(np.linspace(-1, 1, length) for length in SHAPE), indexing="ij"))
BALL = (GRID**2).sum(0) < 0.5


def mri(seed=0):
    """A ball of tissue of about 500 in air of 0."""
    return np.where(BALL, 500 + 60 * np.random.default_rng(seed).standard_normal(SHAPE), 0).astype(np.float32)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def noise(array, rng):
    return array + np.abs(40 * rng.standard_normal(SHAPE))


def noise_in_one_slice(array, rng):
    array[:, :, 4] += np.abs(60 * rng.standard_normal(SHAPE[:2]))
    return array


def noise_in_a_half(array, rng):
    array[:, 32:] += np.abs(40 * rng.standard_normal((64, 32, 8)))
    return array


def ghost(array, rng):
    return array + 0.3 * np.roll(array, 24, 1) * ~BALL * (GRID[1] > 0.8)


def head_rest(array, rng):
    array[8:56, 2:5] = 500
    return array


@pytest.mark.parametrize("disturb", [noise, noise_in_one_slice, noise_in_a_half, ghost, head_rest])
def test_what_is_not_the_head_is_air(disturb):
    array = disturb(mri(), np.random.default_rng(1))
    found = find_foreground(MRI, array.astype(np.float32), MM)
    assert dice(found.head, BALL) > 0.93
    assert (array > MRI.threshold(found.window))[~BALL].sum() > 200  # which the threshold alone takes for head


def test_cavities_and_clefts_belong_to_the_head_and_air_between_it_and_the_border_does_not():
    array = mri()
    array[26:38, 26:38, 3:6] = 0
    array[:30, 31:34, 4] = 0
    assert dice(find_foreground(MRI, array, MM).head, BALL) > 0.97
    beside = np.zeros(SHAPE, np.float32)
    beside[3:60, 3:60, 2:6] = 500
    assert not find_foreground(MRI, beside, MM).head[:2].any()


def test_a_head_of_fine_voxels_is_found_in_fewer_pixels():
    head = find_foreground(MRI, mri(), (0.3, 0.4, 3.0)).head
    assert head.shape == SHAPE
    assert dice(head, BALL) > 0.95


@pytest.mark.parametrize(
    ("settings", "background", "spread", "fuzz"),
    [
        (MRI, 0.0, 1.0, 0),
        (MRI, -0.83, 1.0, 0),
        (MRI, 0.0, 1.0, 1e-6),
        (MRI, 7.5, 900.0, 0),
        (CT, 0.0, 40.0, 0),
        (CT, -23.0, 40.0, 0),
    ],
)
def test_air_of_one_value_inside_the_window_is_found(settings, background, spread, fuzz):
    rng = np.random.default_rng(0)
    array = np.where(BALL, spread * rng.standard_normal(SHAPE), background + fuzz * rng.standard_normal(SHAPE))
    found = find_foreground(settings, array.astype(np.float32), MM)
    assert found.background == pytest.approx(background, abs=1e-5)
    assert found.padding == found.background
    assert 0.2 < found.background_level < 0.8
    assert dice(found.head, BALL) > 0.97
    if settings is MRI:
        assert found.window == pytest.approx(np.percentile(array[BALL], (0.5, 99.5)), rel=0.05)


@property_test
@given(scale=st.floats(0.01, 100), offset=st.floats(-500, 500), centre=st.sampled_from([0.0, 0.5, 1.0]))
def test_the_head_does_not_depend_on_the_unit_nor_on_where_the_air_lies(scale, offset, centre):
    """`centre` puts the air below, amid or above the tissue, which is within 0.2 of 0.5."""
    tissue = 0.5 + 0.1 * np.clip(np.random.default_rng(0).standard_normal(SHAPE), -2, 2)
    array = np.where(BALL, tissue, centre) * scale + offset
    assert dice(find_foreground(MRI, array.astype(np.float32), MM).head, BALL) > 0.95


def test_a_border_of_many_values_is_no_background():
    array = noise(mri(), np.random.default_rng(0))
    assert find_background(array, (0.0, 600.0)) is None
    array[BALL] = 500.0  # of one value, and a large share, but not at the border
    assert find_background(array, (0.0, 600.0)) is None


def test_unknown_voxels_do_not_count():
    array, known = mri(), ~((GRID[0] > 0.5) & (np.abs(GRID[1:]).max(0) < 0.3))
    array[~known] = 30000.0
    found = find_foreground(MRI, array, MM, known=known)
    assert found.window[1] < 800
    assert dice(found.head, BALL) > 0.95
    for air in (-1000, 0.0):  # a mask that leaves a thin rim of the head in one slice
        head = np.full(SHAPE, air, np.float32)
        head[10:40, 10:40] = 40
        known = np.ones(SHAPE, bool)
        known[12:38, 12:38, 4] = False
        assert dice(find_foreground(CT, head, MM, known=known).head, head == 40) > 0.95


def test_the_threshold_takes_every_bright_voxel_as_older_data_do():
    settings = PreparationSettings(modality="mri", image_size=32, foreground="threshold")
    array = noise(mri(), np.random.default_rng(0)).astype(np.float32)
    found = find_foreground(settings, array, MM)
    np.testing.assert_array_equal(found.head, array > settings.threshold(settings.window(array)))


def test_air_of_grains_as_bright_as_tissue_is_not_told_from_the_head():
    """As of MP2RAGE's uniform images. `prepare` warns of a volume that is all head."""
    grains = np.random.default_rng(0).uniform(0, 1000, SHAPE)
    assert find_foreground(MRI, np.where(BALL, mri(), grains).astype(np.float32), MM).head.mean() > 0.95


def test_a_volume_with_nothing_in_it_has_no_head():
    assert not find_foreground(CT, np.full(SHAPE, -1000, np.float32), MM).head.any()
    with pytest.raises(UserError, match="nearly every voxel is 3"):
        find_foreground(MRI, np.full(SHAPE, 3, np.float32), MM)
