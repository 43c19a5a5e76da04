"""Tiles cover a mask of any shape, none of them needlessly, and large holes are filled inwards."""

import numpy as np
import pytest

from ipmedgan_jax.inpainting import tiles

SIDE = 8


def painted(corners, shape, side=SIDE):
    """Where tiles lie in an image of this shape, bool, and how much of their area lies beyond it."""
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
