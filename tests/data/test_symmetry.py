"""The slice mirrored about the head's midline: where the midline is found, and what is known of the mirrored slice."""

import cv2
import numpy as np
import pytest

from ipmedgan_jax.data import pipeline
from ipmedgan_jax.data.augmentation import AugmentationSettings, spot_opposite
from ipmedgan_jax.data.symmetry import find_midline, opposite

AIR = -0.9


def head(tilt=0.0, shift=(0.0, 0.0), size=96):
    """A symmetric head, taller than wide, with two bright spots, tilted by degrees and moved by (columns, rows)."""
    image = np.full((size, size), -1, np.float32)
    centre = (size - 1) / 2
    rows, columns = (axis - centre for axis in np.mgrid[:size, :size])
    image[(rows / 40) ** 2 + (columns / 30) ** 2 < 1] = 0.0
    for side in (-1, 1):
        image[np.hypot(rows + 12, columns - 14 * side) < 6] = 0.7
    turn = cv2.getRotationMatrix2D((centre, centre), tilt, 1.0)
    turn[:, 2] += shift
    return cv2.warpAffine(image, turn, (size, size), flags=cv2.INTER_LINEAR, borderValue=-1)


def box(row, column, side, shape):
    removed = np.zeros(shape, bool)
    removed[row : row + side, column : column + side] = True
    return removed


@pytest.mark.parametrize(("tilt", "shift"), [(0.0, (0, 0)), (7.0, (0, 0)), (-10.0, (5, -4)), (0.0, (-8, 6))])
def test_a_symmetric_head_is_its_own_mirror_image(tilt, shift):
    image = head(tilt, shift)
    mirrored = opposite(image, np.zeros(image.shape, bool), AIR)
    assert mirrored.shape == (96, 96, 2)
    known = mirrored[..., 1] == 1
    assert known.mean() > 0.7
    assert np.abs(mirrored[..., 0] - image)[known].mean() < 0.04


def test_a_hole_shows_what_lies_opposite_and_the_place_opposite_to_it_is_unknown():
    image = head()
    image[20:34, 20:34] = np.linspace(0, 0.5, 14)[:, None]  # on the left alone
    removed = box(20, 96 - 34, 14, image.shape)
    mirrored = opposite(image, removed, AIR)
    assert (mirrored[removed, 1] == 1).mean() > 0.8
    found, expected = mirrored[..., 0][removed], image[:, ::-1][removed]
    assert np.abs(found - expected).mean() < 0.1
    there = mirrored[22:32, 22:32]
    assert (there == 0).all()


def test_removed_pixels_are_not_read():
    image, removed = head(5.0), box(30, 50, 20, (96, 96))
    other = np.where(removed, 0.123, image).astype(np.float32)
    np.testing.assert_array_equal(opposite(image, removed, AIR), opposite(other, removed, AIR))


@pytest.mark.parametrize("tilt", [0.0, 8.0])
def test_a_reflection_is_its_own_inverse(tilt):
    matrix = np.vstack([find_midline(head(tilt), np.ones((96, 96), np.float32), AIR), [0, 0, 1]])
    np.testing.assert_allclose(matrix @ matrix, np.eye(3), atol=1e-6)
    assert np.linalg.det(matrix) == pytest.approx(-1)


@pytest.mark.parametrize("image", [np.full((40, 30), -1, np.float32), np.zeros((30, 40), np.float32)])
def test_a_slice_without_a_head_or_without_air_has_finite_values(image):
    removed = box(3, 4, 10, image.shape)
    mirrored = opposite(image, removed, AIR)
    assert mirrored.shape == (*image.shape, 2)
    assert np.isfinite(mirrored).all()
    assert np.isfinite(opposite(image, np.ones(image.shape, bool), AIR)).all()


def test_a_spot_lies_opposite_the_hole_and_only_where_the_other_half_is_known():
    mirrored = np.zeros((64, 64, 2), np.float32)
    mirrored[:, :48, 1] = 1
    spots = [spot_opposite(np.random.default_rng(seed), mirrored, np.array([20, 20, 24, 24])) for seed in range(20)]
    assert all(np.array_equal(spot[..., 1], mirrored[..., 1]) and np.abs(spot[..., 0]).max() <= 1 for spot in spots)
    assert not any(spot[:, 48:, 0].any() for spot in spots)
    assert sum(np.abs(spot[16:48, 16:48, 0]).max() > 0.05 for spot in spots) > 15  # some are as bright as what is there
    assert {bool(spot[..., 0].sum() > 0) for spot in spots} == {True, False}  # bright and dark ones


def test_a_tenth_of_the_training_slices_do_not_know_the_other_half():
    rng, mirrored, hole = np.random.default_rng(0), np.ones((8, 8, 2), np.float32), np.array([0, 0, 4, 4])
    shown = [pipeline._varied(rng, mirrored, hole, AugmentationSettings(lesion=0.0)) for _ in range(1000)]
    assert 60 < sum(not example.any() for example in shown) < 140
    assert all(example.all() for example in shown if example.any())
