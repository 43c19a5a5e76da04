"""Blending the fills of overlapping tiles."""

import numpy as np
import pytest

from ipmedgan_jax.core.errors import UserError
from tests.inpainting.test_scan import SIDE, constant, fill_volume, ramp, trained, volume_of


def test_overlapping_tiles_are_blended_by_their_distance_from_the_tiles_borders():
    """Two tiles of 8 pixels in a row overlap by 4: the weight of a tile falls towards its border."""
    mask = np.zeros((30, 26, 5), bool)
    mask[9:21, 10 : 10 + SIDE, 2] = True
    values = iter([-0.5, 0.5])
    filled = fill_volume(lambda batch: constant(next(values))(batch), trained(), volume_of(ramp()), mask)
    along = np.arange(1, SIDE + 1)
    height = np.minimum(along, along[::-1]) / SIDE
    tile = np.minimum.outer(height, height)  # the smaller of the distances along columns and rows
    weights = np.zeros((2, 12, SIDE))
    weights[0, :SIDE], weights[1, SIDE // 2 :] = tile, tile
    expected = 500 + 250 * (weights[1] - weights[0]) / weights.sum(0)  # -0.5 and 0.5 in a window of 0 to 1000
    found = filled[9:21, 10 : 10 + SIDE, 2]
    assert min(np.abs(found - expected).max(), np.abs(found - expected[::-1]).max()) < 0.01  # whichever tile is filled first
    assert len(np.unique(found[4:8].round(2))) > 4  # neither one value nor a step


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_generator_s_values_that_are_not_finite_are_refused(bad):
    mask = np.zeros((30, 26, 5), bool)
    mask[9:12, 10:12, 2] = True
    with pytest.raises(UserError, match="the generator returned NaN or infinite values"):
        fill_volume(constant(bad), trained(), volume_of(ramp()), mask)
