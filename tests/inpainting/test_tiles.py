"""Tiles cover a mask of any shape without a needless tile, and large holes are filled inwards."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage.measure import label, regionprops

from ipmedgan_jax.inpainting import tiles
from tests.properties import property_test

SIDE = 8


def painted(corners, shape, side=SIDE):
    """Returns the pixels of an image of this shape that tiles cover, bool, and the area of the tiles outside it."""
    margin = 2 * side
    padded = np.zeros(np.add(shape, 2 * margin), bool)
    for row, column in corners:
        padded[row + margin : row + margin + side, column + margin : column + margin + side] = True
    inside = padded[margin:-margin, margin:-margin]
    return inside, int(padded.sum() - inside.sum())


@pytest.mark.parametrize("seed", range(5))
def test_tiles_cover_any_mask(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((60, 50)) < 0.01
    mask[10:40, 20:25] |= seed % 2 == 0
    tiling = tiles.cover(mask, SIDE)
    assert painted(tiling.corners, mask.shape)[0][mask].all()
    assert tiling.exceeds == (seed % 2 == 0)


def test_a_small_hole_has_one_tile_round_it_and_a_large_one_is_filled_inwards():
    mask = np.zeros((64, 64), bool)
    mask[20:23, 30:36] = True
    assert tiles.cover(mask, SIDE) == tiles.Tiling(((17, 29),), exceeds=False, whole=False)
    mask[20:44, 30:54] = True
    corners = np.array(tiles.cover(mask, SIDE).corners)
    distances = np.hypot(*(corners + SIDE / 2 - (32, 42)).T)
    assert len(corners) > 9
    assert (np.diff(distances) <= 0).all()


def test_whole_tiles_are_told_from_other_shapes():
    mask = np.zeros((64, 64), bool)
    mask[10 : 10 + SIDE, 20 : 20 + SIDE] = mask[40 : 40 + SIDE, 50 : 50 + SIDE] = True
    assert tiles.cover(mask, SIDE).whole
    mask[40, 50] = False
    assert not tiles.cover(mask, SIDE).whole


MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 30)), fill=st.just(False), elements=st.booleans())
"""A mask of a few pixels anywhere."""

BOXES = st.lists(st.tuples(*(st.integers(0, 28),) * 2, *(st.integers(1, 20),) * 2), max_size=3)


@property_test
@given(scattered=MASKS, boxes=BOXES, side=st.integers(2, 12))
def test_every_masked_pixel_is_covered_by_tiles_that_each_add_some(scattered, boxes, side):
    mask = scattered.copy()
    for row, column, height, width in boxes:
        mask[row : row + height, column : column + width] = True
    tiling, before = tiles.cover(mask, side), np.zeros(mask.shape, bool)
    for corner in tiling.corners:
        tile, beyond = painted([corner], mask.shape, side)
        assert tile.sum() + beyond == side**2
        assert (mask & tile & ~before).any()  # no tile is needless
        before |= tile
    assert not (mask & ~before).any()
    components = regionprops(label(mask, connectivity=2))
    sizes = [np.subtract(component.bbox[2:], component.bbox[:2]) for component in components]
    assert tiling.exceeds == any((size > side).any() for size in sizes)
    assert tiling.whole == (mask.sum() == side**2 * len(tiling.corners))


@property_test
@given(corner=st.tuples(st.integers(0, 20), st.integers(0, 20)), size=st.tuples(*(st.integers(1, 20),) * 2))
def test_tiles_of_a_large_box_lie_inside_it_and_of_a_small_one_in_its_middle(corner, size):
    mask = np.zeros((40, 40), bool)
    box = tuple(slice(start, start + length) for start, length in zip(corner, size, strict=True))
    mask[box] = True
    for tile in tiles.cover(mask, SIDE).corners:
        for start, length, at in zip(corner, size, tile, strict=True):
            if length > SIDE:
                assert start <= at <= start + length - SIDE
            else:
                assert abs((at + SIDE / 2) - (start + length / 2)) <= 0.5


@pytest.mark.parametrize(
    ("corner", "expected"), [((-3, 5), (0, 5)), ((30, 35), (30, 32)), ((38, -8), (32, 0)), ((4, 4), (4, 4))]
)
def test_tiles_can_be_moved_inside_an_image_and_still_cover_the_mask(corner, expected):
    moved = tiles.Tiling((corner,), exceeds=False, whole=False).inside((40, 40), 8)
    assert moved.corners == (expected,)


def test_a_tile_that_is_larger_than_the_image_stays_where_it_is_along_that_axis():
    assert tiles.Tiling(((-2, 30),), exceeds=False, whole=False).inside((4, 32), 8).corners == ((-2, 24),)
