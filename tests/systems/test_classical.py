"""Classical fills see only known pixels, change only removed pixels, and fill them."""

import cv2
import numpy as np
import pytest
from skimage.restoration import inpaint_biharmonic

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.systems.classical import FILLS, FULL_RANGE_FILLS

contrib = pytest.mark.skipif(not hasattr(cv2, "xphoto"), reason="plain OpenCV, without contrib")
every_fill = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=contrib if name == "shift_map" else ()) for name in FILLS]
)


@pytest.fixture
def image() -> np.ndarray:
    row, column = np.mgrid[:48, :64]
    waves = 0.6 * np.sin(row / 9 + column / 14) + 0.2 * np.cos(column / 3)
    return (waves + np.random.default_rng(0).normal(0, 0.02, waves.shape)).astype(np.float32)


def box(image: np.ndarray, row: int, column: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros(image.shape, bool)
    mask[row : row + height, column : column + width] = True
    return mask


@pytest.fixture(params=[(10, 20, 16, 16), (0, 48, 20, 16)], ids=["inside", "corner"])
def mask(request: pytest.FixtureRequest, image: np.ndarray) -> np.ndarray:
    return box(image, *request.param)


@every_fill
def test_known_pixels_come_out_bit_equal_and_removed_ones_filled(name, image, mask):
    inpainted = FILLS[name](image, mask)
    assert inpainted.dtype == np.float32
    np.testing.assert_array_equal(inpainted[~mask], image[~mask])
    assert np.isfinite(inpainted).all()
    assert np.abs(inpainted).max() <= 1
    assert (inpainted[mask] > -0.999).any()


@every_fill
def test_full_range_fills_take_any_unit_and_keep_its_precision(name, image, mask):
    """Far away metal widens the range of the slice; 8 bits would round HU to steps of 80."""
    hu = 1000 * image
    hu[-1, 0] = 19_000
    filled = FULL_RANGE_FILLS[name](hu, mask)
    np.testing.assert_array_equal(filled[~mask], hu[~mask])
    if name == "shift_map":  # copies known pixels
        assert np.abs(filled[mask][:, None] - hu[~mask]).min(axis=1).max() < 0.01
    else:
        np.testing.assert_allclose(filled, 1000 * FULL_RANGE_FILLS[name](hu / 1000, mask), atol=0.01)
        assert np.abs(filled[mask] - 1000 * FILLS[name](image, mask)[mask]).mean() < 30
    flat = np.full_like(hu, -1000)
    np.testing.assert_allclose(FULL_RANGE_FILLS[name](np.where(mask, 5, flat), mask), flat, rtol=1e-6)


@every_fill
@pytest.mark.parametrize("removed", [1.0, np.nan])
def test_no_fill_sees_the_removed_pixels(name, removed, image, mask):
    altered = np.where(mask, np.float32(removed), image)
    np.testing.assert_array_equal(FILLS[name](altered, mask), FILLS[name](image, mask))


@every_fill
def test_a_flat_image_is_filled_with_its_value(name, mask, image):
    flat = np.full_like(image, 0.2)
    grey_levels = 6 if name == "telea" else 0.51  # OpenCV's Telea drifts upwards as it marches; 8 bits round
    assert FILLS[name](flat, mask) == pytest.approx(flat, abs=grey_levels / 127.5)


@every_fill
def test_an_empty_mask_changes_nothing(name, image):
    np.testing.assert_array_equal(FILLS[name](image, np.zeros(image.shape, bool)), image)


def test_surround_mean_is_the_mean_of_a_ring_three_pixels_wide(image):
    mask = box(image, 10, 20, 16, 16)
    ring = box(image, 7, 17, 22, 22) & ~mask
    assert FILLS["surround_mean"](image, mask)[mask] == pytest.approx(image[ring].mean(), abs=1e-6)


def test_smooth_fills_beat_the_mean_of_the_surroundings(image):
    mask = box(image, 10, 20, 8, 8)
    names = ("surround_mean", "telea", "navier_stokes", "biharmonic")
    errors = {name: np.square(FILLS[name](image, mask) - image)[mask].mean() for name in names}
    assert max(errors["telea"], errors["navier_stokes"], errors["biharmonic"]) < errors["surround_mean"]


def test_a_fill_that_plain_opencv_lacks_is_refused(monkeypatch, image, mask):
    monkeypatch.delattr(cv2, "xphoto", raising=False)
    with pytest.raises(UserError, match="shift_map needs OpenCV's contrib modules"):
        FILLS["shift_map"](image, mask)


def test_biharmonic_fill_of_a_window_equals_that_of_the_whole_image(image, mask):
    context = np.where(mask, -1.0, image.astype(np.float64))
    expected = inpaint_biharmonic(context, mask, split_into_regions=False)
    assert FILLS["biharmonic"](image, mask) == pytest.approx(expected, abs=1e-6)


def test_a_laplace_fill_is_the_mean_of_its_neighbours(image, mask):
    filled = FILLS["laplace"](image, mask)
    around = np.pad(filled.astype(np.float64), 1, mode="edge")
    mean = (around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]) / 4
    inner = mask.copy()
    inner[0], inner[-1], inner[:, 0], inner[:, -1] = False, False, False, False
    np.testing.assert_allclose(filled[inner], mean[inner], atol=1e-5)
    y, x = np.mgrid[:48, :64]
    ramp = (0.01 * y - 0.005 * x).astype(np.float32)
    np.testing.assert_allclose(FILLS["laplace"](ramp, box(ramp, 5, 7, 20, 24)), ramp, atol=1e-6)


def test_two_close_holes_are_solved_together(image):
    mask = box(image, 10, 10, 12, 12) | box(image, 10, 23, 12, 12) | box(image, 24, 10, 12, 12)
    context = np.where(mask, -1.0, image.astype(np.float64))
    assert FILLS["biharmonic"](image, mask) == pytest.approx(inpaint_biharmonic(context, mask), abs=1e-6)


def test_a_mask_over_everything_is_refused(image):
    with pytest.raises(UserError, match="removes the whole slice"):
        FILLS["telea"](image, np.ones(image.shape, bool))


def test_a_mask_of_another_shape_is_refused(image):
    with pytest.raises(UserError, match=r"shape \(48, 64\).*got \(48, 63\)"):
        FILLS["telea"](image, np.zeros((48, 63), bool))


def test_a_spline_through_known_pixels_on_one_line_is_refused(image):
    with pytest.raises(UserError, match="rbf needs known pixels around each hole that are not all on one line"):
        FILLS["rbf"](image, box(image, 1, 0, 47, 64))
