"""Filling scans with a generator that sees windows of whole slices: where windows lie, and what of a scan changes."""

import numpy as np
import pytest

from ipmedgan_jax.inpainting.fill import Variation, deviation, inpaint_volume
from ipmedgan_jax.inpainting.masked_volume import MaskedVolume
from tests.inpainting.test_scan import SIDE, fill_volume, smooth, trained, volume_of

SHAPE = (70, 56, 40)


def windowed(**changes):
    """A generator's settings: windows of 32 pixels, holes of 8."""
    return trained(fit="window", **changes)


def ramp(shape):
    """An array that rises slowly along all axes and stays inside the intensity window, 0 to 1000."""
    x, y, z = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return (200 + 4 * x + 3 * y + 2 * z).astype(np.float32)


def mask_at(shape, x, y, z):
    mask = np.zeros(shape, bool)
    mask[x, y, z] = True
    return mask


MASKS = {
    "in the middle": mask_at(SHAPE, slice(30, 36), slice(20, 26), slice(17, 20)),
    "at a border": mask_at(SHAPE, slice(0, 5), slice(20, 26), slice(0, 3)),
    "in a corner": mask_at(SHAPE, slice(65, None), slice(51, None), slice(37, None)),
    "larger than a window": mask_at(SHAPE, slice(10, 52), slice(8, 46), slice(20, 21)),
}


@pytest.mark.parametrize("planes", [("axial",), ("axial", "coronal", "sagittal")])
@pytest.mark.parametrize("place", MASKS)
def test_a_hole_anywhere_is_filled_and_nothing_else_changes(place, planes):
    array, mask = ramp(SHAPE), MASKS[place]
    filled = fill_volume(smooth, windowed(), volume_of(array), mask, planes)
    np.testing.assert_array_equal(filled[~mask], array[~mask])
    assert np.isfinite(filled).all()
    limit = {"in the middle": 1, "at a border": 5, "in a corner": 20, "larger than a window": np.inf}[place]
    assert np.abs(filled - array)[mask].max() < limit  # the ramp goes on; air beyond the slice would pull it down by hundreds


@pytest.mark.parametrize("shape", [(20, 18, 12), (20, 70, 40), (32, 32, 32)])
def test_slices_smaller_than_a_window_are_filled_in_all_planes(shape):
    array, mask = ramp(shape), mask_at(shape, slice(8, 12), slice(8, 12), slice(4, 7))
    filled = fill_volume(smooth, windowed(), volume_of(array), mask, ("axial", "coronal", "sagittal"))
    np.testing.assert_array_equal(filled[~mask], array[~mask])
    assert np.abs(filled - array)[mask].max() < 1


@pytest.mark.parametrize("place", MASKS)
def test_the_window_has_the_tile_in_its_middle_unless_the_slice_ends(place):
    shown = []

    def record(batch):
        shown.extend((hole, image[..., 0]) for hole, image in zip(batch["hole"], batch["image"], strict=True))
        return smooth(batch)

    fill_volume(record, windowed(), volume_of(ramp(SHAPE)), MASKS[place])
    for (row, column, height, width), image in shown:
        assert (height, width) == (SIDE, SIDE)
        assert (image > -1).all()  # the window shows nothing beyond the slice
        if place == "in the middle":
            assert (row, column) == (12, 12)  # (32 - 8) // 2
        assert min(row, column) >= 0
        assert max(row, column) <= 32 - SIDE


# ------------------------------------------------------------------ noise

NOISY = {"inputs": ("noise",)}


def noisy(**changes):
    settings = windowed(**changes)
    return type(settings)(**vars(settings) | NOISY)


def draw(batch):
    """A generator whose fill is its noise, scaled to the image's range."""
    return np.clip(batch["noise"][..., None] / 5, -1, 1)


def test_the_noise_reaches_the_generator_as_standard_normal_and_no_known_voxel():
    array, mask = ramp(SHAPE), MASKS["larger than a window"]
    filled = fill_volume(draw, noisy(), volume_of(array), mask)
    np.testing.assert_array_equal(filled[~mask], array[~mask])
    noise = (filled[mask] / 500 - 1) * 5  # from a window of 0 to 1000
    assert abs(noise.mean()) < 0.1
    assert noise.std() == pytest.approx(1, abs=0.1)  # so overlapping tiles have the same noise: a mean of others is smaller


def test_filling_twice_gives_the_same_bits_and_slices_differ():
    volume = volume_of(ramp(SHAPE))
    mask = mask_at(SHAPE, slice(30, 36), slice(20, 26), slice(17, 20))
    first, second = (fill_volume(draw, noisy(), volume, mask) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first[30:36, 20:26, 17] - first[30:36, 20:26, 18]).max() > 10
    alone = mask & (np.arange(SHAPE[2]) == 18)
    np.testing.assert_array_equal(fill_volume(draw, noisy(), volume, alone)[alone], first[alone])  # whatever else is filled


def test_samples_differ_where_the_generator_draws_from_noise_and_nowhere_else():
    mask = MASKS["in the middle"]
    spread = deviation(draw, MaskedVolume(noisy(), volume_of(ramp(SHAPE)), mask), samples=4)
    assert (spread[mask] > 0).all()
    assert (spread[~mask] == 0).all()


def test_a_mirrored_variation_fills_the_same_voxels():
    mask = MASKS["at a border"]
    masked = MaskedVolume(noisy(), volume_of(ramp(SHAPE)), mask)
    filled = inpaint_volume(smooth, masked, variation=Variation(np.random.default_rng(0), mirrored=True))
    np.testing.assert_array_equal(filled[~mask], ramp(SHAPE)[~mask])
    assert np.abs(filled - ramp(SHAPE))[mask].max() < 50


def test_a_generator_of_whole_slices_gets_no_noise():
    def refuse(batch):
        assert "noise" not in batch
        return smooth(batch)

    fill_volume(refuse, windowed(), volume_of(ramp(SHAPE)), MASKS["in the middle"])
