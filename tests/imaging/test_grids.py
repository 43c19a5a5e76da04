"""One way from voxels to a network's pixels and back, for `prepare` and `inpaint` alike."""

import numpy as np
import pytest

from ipmedgan_jax.imaging.grids import PLANES, SliceGrid, in_plane
from ipmedgan_jax.imaging.settings import PreparationSettings


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
    """Each axis of the volume rises by its own spacing from voxel to voxel: so do rows and columns of the slices."""
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
