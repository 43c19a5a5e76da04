"""A finder and a generator receive the pixels that `prepare` writes to records."""

import itertools

import numpy as np
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import records
from ipmedgan_jax.data.preparation import prepare
from ipmedgan_jax.imaging import scans
from ipmedgan_jax.imaging.settings import PreparationSettings
from ipmedgan_jax.inpainting.find_damage import LoadedFinder, covering_corners, find_in_volume
from ipmedgan_jax.inpainting.model import Trained
from tests.inpainting.test_scan import constant, fill_volume, write


@pytest.fixture
def scan_paths(tmp_path):
    """Scans of bright boxes off centre, on air of -300 HU, which is above the window's low end."""
    paths = []
    for s in (1, 2, 3):
        array = np.full((40, 22, 5), -300.0)
        array[14:36, 5:20] = np.random.default_rng(s).integers(0, 900, (22, 15, 5))
        paths.append(write(tmp_path / f"sub-{s}.nii.gz", array, spacing=(0.8, 1.4, 2.0)))
    return paths


@pytest.mark.parametrize(
    "changes",
    [
        {"resample_mm": 0.0},
        {"resample_mm": 0.0, "fit": "scale"},
        {"resample_mm": 2.0},
        {"resample_mm": 2.0, "fit": "scale"},
        {"resample_mm": 2.0, "image_size": 12},
    ],
)
def test_what_prepare_makes_and_what_a_network_is_shown_are_the_same_pixels(scan_paths, tmp_path, changes):
    settings = PreparationSettings("ct", **({"image_size": 32, "foreground_level": 0.3, "min_foreground": 0.0} | changes))
    prepare(settings, scan_paths, tmp_path / "out", progress=False)
    (path,) = records.shard_paths(tmp_path / "out", "test")
    made = list(records.read_shard(path))
    volume, searched = scans.read_volume(tmp_path / f"{path.stem}.nii.gz"), []

    def find(images):
        searched.extend(images[..., 0])
        return np.zeros_like(images)

    find_in_volume(LoadedFinder("finder", 1, "", settings, 5, find), volume)
    assert len(made) == len(searched) == 5
    for record, image in zip(made, searched, strict=True):
        np.testing.assert_allclose(record.image(), image, atol=1e-3)  # a record's codes are 2 / 3000 apart
    assert made[0].image().min() == pytest.approx(2 * 700 / 3000 - 1, abs=1e-3)  # padding and air alike

    shown, mask = [], np.zeros(volume.array.shape, bool)
    mask[25, 12, 2] = True

    def fill(batch):
        shown.append(batch)
        return constant(0.0)(batch)

    fill_volume(fill, Trained(settings, 4, trained_on_any_shape=True, batch_size=1), volume, mask)
    (row, column, height, width), image = shown[0]["hole"][0], shown[0]["image"][0, ..., 0]
    near = np.zeros(image.shape, bool)
    near[max(row - 1, 0) : row + height + 1, max(column - 1, 0) : column + width + 1] = True
    np.testing.assert_allclose(image[~near], made[2].image()[~near], atol=1e-3)


def test_likelihoods_that_are_not_finite_are_refused_and_do_not_count_as_intact(scan_paths):
    settings = PreparationSettings("ct", image_size=32, foreground_level=0.3, resample_mm=0.0)
    finder = LoadedFinder("finder", 1, "runs/finder", settings, 5, lambda images: np.full_like(images, np.nan))
    with pytest.raises(UserError, match="runs/finder: returned NaN or infinite likelihoods"):
        find_in_volume(finder, scans.read_volume(scan_paths[0]))


@pytest.mark.parametrize(("shape", "count"), [((32, 32), 1), ((20, 16), 1), ((33, 64), 6), ((100, 40), 12)])
def test_windows_cover_a_slice_and_overlap_by_half(shape, count):
    corners = covering_corners(shape, 32)
    assert len(corners) == len(set(corners)) == count
    covered = np.zeros(shape, int)
    for row, column in corners:
        covered[max(row, 0) : row + 32, max(column, 0) : column + 32] += 1
    assert covered.min() >= 1
    for axis in (0, 1):
        starts = sorted({corner[axis] for corner in corners})
        assert all(after - before <= 16 for before, after in itertools.pairwise(starts))


@pytest.mark.parametrize("place", [(2, 3), (60, 40), (30, 22), (15, 43)])
def test_a_finder_of_windows_searches_whole_slices(tmp_path, place):
    array = np.random.default_rng(0).integers(100, 600, (64, 45, 3)).astype(float)
    x, y = place
    array[x - 2 : x + 3, y - 2 : y + 2, 1] = 2900.0
    volume = scans.read_volume(write(tmp_path / "scan.nii.gz", array))
    settings = PreparationSettings("ct", image_size=32, fit="window", resample_mm=0.0, foreground="threshold")
    finder = LoadedFinder("finder", 1, "", settings, 2, lambda images: np.where(images > 0.9, 0.99, 0.0))
    np.testing.assert_array_equal(find_in_volume(finder, volume), array == 2900)


def test_where_windows_overlap_the_one_with_the_pixel_deepest_inside_decides(tmp_path):
    """This finder takes the outer pixels of every window for damaged, as a network may at a cut-off image."""
    array = np.random.default_rng(0).integers(0, 900, (64, 64, 2)).astype(float)
    volume = scans.read_volume(write(tmp_path / "scan.nii.gz", array))
    settings = PreparationSettings("ct", image_size=32, fit="window", resample_mm=0.0, foreground="threshold")
    outer = np.ones((32, 32), bool)
    outer[6:-6, 6:-6] = False
    finder = LoadedFinder("finder", 1, "", settings, 2, lambda images: np.broadcast_to(outer[..., None] * 0.99, images.shape))
    found = find_in_volume(finder, volume)
    assert found[:6].all()
    assert not found[6:-6, 6:-6].any()
