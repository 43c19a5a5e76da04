"""Holes lie at admissible places and depend on the seed; masks, crops and smooth fills agree with them."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ipmedgan_jax.data.holes import box_mask, context_image, evaluation_rng, foreground_shares, random_hole
from ipmedgan_jax.systems import masking
from ipmedgan_jax.systems.classical import FILLS
from ipmedgan_jax.systems.interface import Batch
from tests.properties import property_test


def test_holes_cover_every_place_equally_often():
    rng = np.random.default_rng(0)
    anywhere = np.ones((20, 24), bool)
    corners = np.array([random_hole(rng, anywhere, 16, 0.0)[0][:2] for _ in range(9000)])
    counts = np.zeros((5, 9))
    np.add.at(counts, tuple(corners.T), 1)
    assert counts.min() > 140
    assert counts.max() < 260


def test_a_hole_has_the_requested_share_of_foreground():
    foreground = np.zeros((32, 32), bool)
    foreground[:, 20:] = True
    for seed in range(50):
        hole, share = random_hole(np.random.default_rng(seed), foreground, 16, 0.5)
        row, column, height, width = hole
        assert share == foreground[row : row + height, column : column + width].mean() >= 0.5


def test_a_slice_without_enough_foreground_gives_its_best_place_and_the_share_there():
    foreground = np.zeros((32, 32), bool)
    foreground[10, 10] = True
    hole, share = random_hole(np.random.default_rng(0), foreground, 16, 0.5)
    assert share == 1 / 256
    assert hole[0] <= 10 < hole[0] + 16


@property_test
@given(
    foreground=arrays.arrays(bool, (8, 10)),
    avoid=arrays.arrays(bool, (8, 10)),
    size=st.integers(1, 5),
    least=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 9),
)
def test_a_hole_keeps_clear_of_what_is_to_be_avoided(foreground, avoid, size, least, seed):
    hole, share = random_hole(np.random.default_rng(seed), foreground, size, least, avoid)
    inside = box_mask(hole, avoid.shape)
    assert share == foreground[inside].mean()
    hits, shares = foreground_shares(avoid, size), foreground_shares(foreground, size)
    assert avoid[inside].mean() == hits.min()
    assert share >= min(least, shares[hits == hits.min()].max())


def test_with_nothing_to_avoid_holes_are_those_of_older_data():
    rng = np.random.default_rng(0)
    foreground = rng.random((32, 32)) < 0.5
    for least in (0.0, 0.4):
        drawn = [
            random_hole(np.random.default_rng(1), foreground, 8, least, avoid)[0].tolist()
            for avoid in (None, np.zeros_like(foreground))
        ]
        assert drawn[0] == drawn[1]


def test_a_smooth_fill_is_smooth_and_uses_known_pixels_only():
    y, x = np.mgrid[:32, :32] / 32
    image = (x - 0.5 * y).astype(np.float32)[None, ..., None]
    mask = np.zeros_like(image)
    mask[:, 4:20, 8:28] = 1
    filled = np.asarray(masking.smooth_fill(image, mask))
    np.testing.assert_array_equal(filled[mask == 0], image[mask == 0])
    np.testing.assert_allclose(filled, image, atol=0.05)  # Laplace's equation keeps a ramp
    np.testing.assert_allclose(filled[0, ..., 0], FILLS["laplace"](image[0, ..., 0], mask[0, ..., 0] > 0), atol=0.05)
    np.testing.assert_array_equal(filled, masking.smooth_fill(np.where(mask > 0, 99.0, image), mask))
    np.testing.assert_allclose(masking.smooth_fill(np.full_like(image, 0.3), mask), 0.3, atol=1e-5)


@property_test
@given(
    foreground=arrays.arrays(bool, st.tuples(st.integers(4, 12), st.integers(4, 12))),
    size=st.integers(1, 4),
    least=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 99),
)
def test_holes_lie_in_the_image_with_the_foreground_that_a_count_finds(foreground, size, least, seed):
    rows, columns = (length - size + 1 for length in foreground.shape)
    counted = [[foreground[r : r + size, c : c + size].mean() for c in range(columns)] for r in range(rows)]
    np.testing.assert_allclose(foreground_shares(foreground, size), counted)
    hole, share = random_hole(np.random.default_rng(seed), foreground, size, least)
    mask = box_mask(hole, foreground.shape)
    assert (hole >= 0).all()
    assert mask.sum() == size**2  # no pixel of it lies outside the image
    assert share == foreground[mask].mean()
    assert share >= min(least, np.max(counted))


def test_the_same_names_and_seed_give_the_same_hole_and_others_another():
    def draw(*names):
        return evaluation_rng(*names).integers(0, 1 << 30)

    assert draw(0, "sub-01", "a", 3) == draw(0, "sub-01", "a", 3)
    names = [
        (0, "sub-01", "a", 3),
        (1, "sub-01", "a", 3),
        (0, "sub-02", "a", 3),
        (0, "sub-01", "b", 3),
        (0, "sub-01", "a", 4),
    ]
    assert len({draw(*slice_names) for slice_names in names}) == 5


def test_masks_and_crops_select_the_same_pixels():
    images = jnp.arange(2 * 12 * 10, dtype=jnp.float32).reshape(2, 12, 10, 1)
    holes = jnp.array([[0, 0, 4, 4], [8, 6, 4, 4]])
    mask = masking.hole_masks(holes, 12, 10)
    assert mask.shape == (2, 12, 10, 1)
    for i in range(2):
        inside = np.asarray(images[i])[np.asarray(mask[i]) > 0]
        np.testing.assert_array_equal(inside, np.asarray(masking.crop(images, holes[:, :2], 4))[i].ravel())


def test_context_images_are_the_same_on_host_and_device_and_leave_the_image_as_it_is():
    image = np.random.default_rng(0).uniform(-1, 1, (12, 10)).astype(np.float32)
    before, hole = image.copy(), np.array([2, 3, 4, 5])
    mask = box_mask(hole, image.shape)
    host = context_image(image, mask, -1.0)
    device = Batch(jnp.asarray(image)[None, ..., None], jnp.asarray(hole)[None]).context(-1.0)
    assert mask.sum() == 20
    assert (host[2:6, 3:8] == -1).all()
    np.testing.assert_array_equal(host[~mask], before[~mask])
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(device[0, ..., 0], host)
    assert host.dtype == device.dtype == np.float32
