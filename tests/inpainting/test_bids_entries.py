"""A skull-stripped scan is told from a whole head by its zeros, its volume and its cut faces."""

import numpy as np
import pytest

from ipmedgan_jax.inpainting.bids_entries import BidsEntries, is_skull_stripped

VOXEL_ML = 0.512  # 8 mm


def ball(radius, centre=(16, 16, 16)):
    grid = np.indices((32, 32, 32))
    return sum((axis - at) ** 2 for axis, at in zip(grid, centre, strict=True)) <= radius**2


BRAIN, HEAD = ball(8.5), ball(11)


@pytest.mark.parametrize(
    ("array", "stripped"),
    [
        (BRAIN * 5.0, True),
        (np.where(BRAIN, 5.0, np.nan), True),
        (BRAIN * -1.0, True),
        (HEAD * 5.0, False),
        (BRAIN * 5.0 + 0.1, False),
        (ball(8.5, (16, 16, 0)) * 5.0, False),  # a neck, or a slab through a head
    ],
)
def test_what_is_found_in_voxels(array, stripped):
    assert is_skull_stripped(array, VOXEL_ML) is stripped


@pytest.mark.parametrize("given", [True, False])
def test_what_is_known_wins(given):
    entries = BidsEntries(("bids:raw:a",), "", "", given, "Lesion")
    assert entries.of_scan(HEAD * 5.0, VOXEL_ML) == {"SkullStripped": given, "Sources": ["bids:raw:a"]}
    assert entries.of_scan(BRAIN * 5.0, VOXEL_ML)["SkullStripped"] is given
