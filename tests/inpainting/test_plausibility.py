"""The plausibility figure: low for a fill like its surroundings, high for each kind of bad fill, finite for any mask."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy.ndimage import gaussian_filter

from ipmedgan_jax.inpainting.plausibility import LARGEST, plausibility
from tests.properties import property_test

SPACING = (0.9, 0.9, 3.0)


def tissue(seed=0, shape=(40, 40, 8)):
    """Smooth structure with some noise, as a scan has it."""
    rng = np.random.default_rng(seed)
    return 500 + 60 * gaussian_filter(rng.normal(size=shape), (3, 3, 1)) * 8 + rng.normal(0, 6, shape)


def ball(shape=(40, 40, 8), centre=(20, 20, 4), radii=(7, 7, 2.5)):
    distance = sum(((axis - c) / r) ** 2 for axis, c, r in zip(np.indices(shape), centre, radii, strict=True))
    return distance < 1


def filled_with(values):
    scan, mask = tissue(), ball()
    scan[mask] = np.broadcast_to(values, scan.shape)[mask]
    return scan


def one_slice_darker():
    scan = tissue()
    scan[:, :, 4][ball()[:, :, 4]] -= 200
    return scan


BAD = {
    "constant": (lambda: filled_with(500.0), "flat"),
    "zeros": (lambda: filled_with(0.0), None),
    "shifted": (lambda: filled_with(tissue() + 60), "step"),
    "noise": (lambda: filled_with(np.random.default_rng(1).normal(500, 60, (40, 40, 8))), "rough"),
    "another place": (lambda: filled_with(np.roll(tissue(), 20, 0)), None),
    "one slice": (one_slice_darker, None),
    "a bright blob inside": (lambda: np.where(ball(radii=(4, 4, 2)), 900.0, tissue()), None),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_fill_is_worse_than_the_scan_itself(kind):
    fill, part = BAD[kind]
    good, bad = (plausibility(array, ball(), SPACING).for_json() for array in (tissue(), fill()))
    assert good["figure"] < 1.2
    assert bad["figure"] > 1.25 * good["figure"]
    assert part is None or bad["worst_part"] == part


def test_a_smooth_fill_is_no_bad_one():
    smooth = gaussian_filter(tissue(), (1.5, 1.5, 0))
    assert plausibility(np.where(ball(), smooth, tissue()), ball(), SPACING).for_json()["figure"] < 1.2


@given(scale=st.floats(1e-3, 1e6), offset=st.floats(-1e4, 1e4))
@property_test
def test_the_unit_of_the_intensities_makes_no_difference(scale, offset):
    fill = filled_with(tissue() + 60)
    expected = plausibility(fill, ball(), SPACING).for_json()["figure"]
    assert plausibility(fill * scale + offset * scale, ball(), SPACING).for_json()["figure"] == pytest.approx(expected, 1e-2)


@pytest.mark.parametrize(("order", "spacing"), [((2, 0, 1), (3.0, 0.9, 0.9)), ((0, 2, 1), (0.9, 3.0, 0.9))])
def test_the_plane_of_thick_slices_makes_no_difference(order, spacing):
    fill, mask = filled_with(tissue() + 60), ball()
    turned = plausibility(fill.transpose(order), mask.transpose(order), spacing)
    assert turned.for_json() == plausibility(fill, mask, SPACING).for_json()


@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    kind=st.sampled_from(["constant", "noise", "zeros and one"]),
    share=st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]),
    seed=st.integers(0, 99),
)
@property_test
def test_every_mask_gives_a_figure_in_bounds(shape, kind, share, seed):
    rng = np.random.default_rng(seed)
    array = {"constant": np.full(shape, 7.0), "noise": rng.normal(size=shape), "zeros and one": np.zeros(shape)}[kind]
    array.flat[0] += 1
    mask = rng.random(shape) < share
    mask.flat[rng.integers(mask.size)] = True
    mask.flat[rng.integers(mask.size)] = mask.size == 1  # at least one voxel is known
    if not mask.any():
        return
    found = plausibility(array, mask, (1.0, 1.0, 5.0)).for_json()
    masks = np.moveaxis(mask, 2, 0)  # the long side of the voxels
    assert (found["figure"] is None) == any(one.all() for one in masks)
    if found["figure"] is None:
        assert "without a known voxel around the mask" in found["unmeasured"]
        return
    values = [found["figure"], *found["parts"].values()]
    assert all(math.isfinite(value) and 0 <= value <= LARGEST for value in values)
    assert found["figure"] == found["parts"][found["worst_part"]] == max(values)


def test_one_voxel_is_not_far_off_by_chance_but_by_a_gross_error():
    scan, mask = tissue(), np.zeros((40, 40, 8), bool)
    mask[20, 20, 4] = True
    good = plausibility(scan, mask, SPACING).for_json()["figure"]
    assert good < 1.6
    assert plausibility(np.where(mask, 0.0, scan), mask, SPACING).for_json()["figure"] > 3


def test_a_fill_in_plain_surroundings_is_judged_by_the_range_of_the_scan():
    scan, mask = tissue(), ball()
    scan[5:35, 5:35] = 500
    assert plausibility(scan, mask, SPACING).for_json()["figure"] < 0.3
    assert plausibility(np.where(mask, 400.0, scan), mask, SPACING).for_json()["figure"] > 3
