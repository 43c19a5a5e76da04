"""Conversion of voxels to a network's pixels and back, shared by `prepare` and `inpaint`."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ipmedgan_jax.imaging.grids import PLANES, SliceGrid, in_plane
from ipmedgan_jax.imaging.settings import FIT_MODES, PreparationSettings
from tests.properties import property_test


def grid_of(slices: np.ndarray, size: int, fit: str = "crop_or_pad", resample_mm: float = 0.0, spacing=(1.0, 1.0, 1.0)):
    return SliceGrid.of(PreparationSettings("ct", size, fit, resample_mm), "axial", slices, spacing)


def test_row_0_is_anterior_and_column_0_the_subjects_right():
    array = np.zeros((4, 5, 3))
    array[3, 4, 2] = 1  # right, anterior, top
    slices = PLANES["axial"](array)
    assert slices.shape == (3, 5, 4)
    assert slices[2, 0, 0] == 1


@pytest.mark.parametrize("plane", PLANES)
def test_a_plane_s_spacing_is_that_of_its_rows_and_columns(plane):
    """An array that rises by each axis's spacing per voxel gives slices that rise by the row and column spacing."""
    spacing = (0.5, 2.0, 7.0)
    x, y, z = np.meshgrid(*(mm * np.arange(5) for mm in spacing), indexing="ij")
    slices = PLANES[plane](x + y + z)
    rows, columns = (abs(float(np.diff(slices, axis=axis)[0, 0, 0])) for axis in (1, 2))
    assert in_plane(plane, spacing) == (rows, columns)


def test_rows_and_columns_are_resampled_by_their_own_spacing():
    slices = np.zeros((2, 30, 40), np.float32)
    grid = grid_of(slices, 64, resample_mm=1.0, spacing=(0.5, 2.0, 9.0))  # columns 0.5 mm apart, rows 2 mm
    assert grid.to_pixels(slices).shape == (2, 60, 20)
    assert (grid.pixel_shape, grid.pixel_spacing_mm) == ((60, 20), (1.0, 1.0))
    assert grid.to_voxels(grid.to_pixels(slices)).shape == slices.shape


def test_the_window_follows_the_head_and_padding_keeps_everything():
    slices = np.zeros((2, 64, 20), np.float32)
    slices[:, 40:60, 5:15] = 1
    grid = grid_of(slices, 32)
    corner = grid.window_corner(slices > 0.5)
    cut = grid.cut_window(grid.to_pixels(slices), corner, -1)
    assert corner == (32, -6)
    assert cut.shape == (2, 32, 32)
    assert (cut == 1).sum() == (slices == 1).sum()
    assert (cut == -1).sum() == 2 * 32 * 12
    back = grid.from_window(cut, corner, 7)
    np.testing.assert_array_equal(back[:, 32:], slices[:, 32:])
    assert (back[:, :32] == 7).all()


def test_scaling_keeps_the_proportions_and_constants():
    slices = np.ones((1, 64, 32), np.float32)
    grid = grid_of(slices, 16, "scale")
    cut = grid.cut_window(grid.to_pixels(slices), grid.window_corner(slices > 0.5), 0)
    np.testing.assert_array_equal(cut[0], np.pad(np.ones((16, 8)), ((0, 0), (4, 4))))
    assert grid.pixel_spacing_mm == (4.0, 4.0)


SPACING = st.floats(0.3, 3.0)
GRIDS = st.builds(
    lambda size, fit, mm, shape, spacing: SliceGrid(PreparationSettings("ct", size, fit, mm), shape, spacing),
    size=st.integers(1, 40),
    fit=st.sampled_from(FIT_MODES),
    mm=st.just(0.0) | st.floats(0.5, 3.0),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    spacing=st.tuples(SPACING, SPACING),
)


@property_test
@given(grid=GRIDS, seed=st.integers(0, 99))
def test_voxels_become_pixels_of_the_grid_s_shape_and_voxels_again_and_no_value_leaves_their_range(grid, seed):
    slices = np.random.default_rng(seed).normal(0, 100, (2, *grid.shape)).astype(np.float32)
    pixels = grid.to_pixels(slices)
    voxels = grid.to_voxels(pixels)
    assert pixels.shape == (2, *grid.pixel_shape)
    assert voxels.shape == slices.shape
    assert pixels.dtype == voxels.dtype == np.float32
    for made in (pixels, voxels):
        assert slices.min() - 1e-3 <= made.min() <= made.max() <= slices.max() + 1e-3
    for constant in (0.0, -37.5):
        np.testing.assert_array_equal(grid.to_voxels(grid.to_pixels(np.full_like(slices, constant))), constant)
    if grid.settings.fit == "scale":
        assert max(grid.pixel_shape) == grid.settings.image_size


@property_test
@given(shape=st.tuples(st.integers(1, 40), st.integers(1, 40)), spacing=SPACING, seed=st.integers(0, 99))
def test_where_nothing_is_to_be_stretched_nothing_changes(shape, spacing, seed):
    slices = np.random.default_rng(seed).normal(0, 100, (2, *shape)).astype(np.float32)
    for settings in (
        PreparationSettings("ct", 16, "crop_or_pad", 0.0),
        PreparationSettings("ct", 16, "crop_or_pad", spacing),
        PreparationSettings("ct", max(shape), "scale", spacing),
    ):
        grid = SliceGrid(settings, shape, (spacing, spacing))
        assert grid.to_pixels(slices) is slices
        assert grid.to_voxels(slices) is slices
        assert (grid.pixel_shape, grid.pixel_spacing_mm) == (shape, (spacing, spacing))


@property_test
@given(grid=GRIDS, axis=st.sampled_from([0, 1]))
def test_a_ramp_comes_back_where_it_came_from(grid, axis):
    """Checks all but the outer quarters, where positions beyond the outermost samples take their value."""
    assume(min(grid.shape[axis], grid.pixel_shape[axis], grid.shape[axis] * grid.spacing_mm[axis] / 3) > 8)
    along = np.arange(grid.shape[axis], dtype=np.float32)
    slices = np.broadcast_to(along[:, None] if axis == 0 else along, (1, *grid.shape))
    middle = tuple(slice(length // 4, length - length // 4) for length in grid.shape)
    back = grid.to_voxels(grid.to_pixels(slices))
    np.testing.assert_allclose(back[0][middle], slices[0][middle], atol=1e-3)


@property_test
@given(grid=GRIDS)
def test_pixels_cover_the_voxels_extent_to_half_a_pixel(grid):
    for axis in (0, 1):
        voxels = grid.shape[axis] * grid.spacing_mm[axis]
        pixels = grid.pixel_shape[axis] * grid.pixel_spacing_mm[axis]
        steps = max(grid.pixel_spacing_mm[axis], grid.settings.resample_mm)
        assert abs(voxels - pixels) <= steps + 1e-6  # half a pixel per stretch, or the minimum of one pixel


@property_test
@given(grid=GRIDS, box=st.tuples(*(st.integers(0, 39),) * 2, *(st.integers(1, 40),) * 2))
def test_the_window_holds_a_head_that_fits_and_comes_back_to_its_place(grid, box):
    settings = PreparationSettings("ct", grid.settings.image_size, "crop_or_pad", 0.0)
    grid = SliceGrid(settings, grid.shape, grid.spacing_mm)
    row, column, height, width = box
    head = np.zeros((1, *grid.shape), bool)
    head[:, row : row + height, column : column + width] = True
    pixels, corner = head.astype(np.float32), grid.window_corner(head)
    cut = grid.cut_window(pixels, corner, -1.0)
    size = settings.image_size
    assert cut.shape == (1, size, size)
    for start, length in zip(corner, grid.pixel_shape, strict=True):
        assert 0 <= start <= length - size or start == (length - size) // 2  # crops or pads, never both
    if head.any((0, 1)).sum() <= size and head.any((0, 2)).sum() <= size:
        assert (cut == 1).sum() == head.sum()
    window = np.zeros(grid.pixel_shape, bool)
    window[max(corner[0], 0) : corner[0] + size, max(corner[1], 0) : corner[1] + size] = True
    np.testing.assert_array_equal(grid.from_window(cut, corner, 7.0)[0], np.where(window, pixels[0], 7.0))
