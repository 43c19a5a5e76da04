"""The page of fills: what is shown, and what is never shown."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import fill_page, hole_places
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import scans


def head(subject="sub-1", top=True):
    """Twenty slices of 5 mm; the head narrows towards the highest, unless the scan ends below its top."""
    x, y, z = np.mgrid[:80, :96, :20]
    radius = np.sqrt(np.clip(1 - (z / 20) ** 2, 0, 1)) if top else 1.0
    inside = ((x - 40) / 38) ** 2 + ((y - 48) / 46) ** 2 < radius**2
    array = np.where(inside, 100 + np.random.default_rng(0).normal(0, 10, inside.shape), 0).astype(np.float32)
    volume = scans.Volume(Path(f"{subject}_FLAIR.nii.gz"), array, (1.0, 1.0, 5.0), "RAS", False)
    return hole_places.HealthyScan(subject, volume, np.zeros(array.shape, bool), "mri")


def test_slices_are_near_the_top_of_the_head_but_not_tiny():
    assert fill_page.above_orbits(head(), 40.0) == set(
        range(11, 15)
    )  # slice 19 is the highest; the head's area falls as 1 - z^2
    assert fill_page.above_orbits(head(top=False), 40.0) == set()


def test_holes_are_drawn_by_lot_from_every_kind_and_subject():
    healthy, outlines = [head("sub-1"), head("sub-2")], {"sub-3": [np.ones((10, 20), bool)]}
    holes = fill_page.choose_holes(healthy, outlines, 6, 60.0, seed=0)
    again = fill_page.choose_holes(healthy, outlines, 6, 60.0, seed=0)
    other = fill_page.choose_holes(healthy, outlines, 6, 60.0, seed=1)
    assert [hole.shape.sum() for hole in holes] == [200, 200, 64**2, 64**2, 32**2, 32**2]
    assert {hole.scan.subject for hole in holes[:2]} == {"sub-1", "sub-2"}
    places = [[(hole.scan.subject, hole.index, hole.corner) for hole in drawn] for drawn in (holes, again, other)]
    assert places[0] == places[1] != places[2]
    with pytest.raises(UserError, match="--count=99: only "):
        fill_page.choose_holes(healthy, outlines, 99, 60.0, seed=0)


def test_a_row_shows_the_fill_in_the_pictures_after_alone():
    hole = fill_page.choose_holes([head()], {}, 2, 60.0, seed=0)[1]
    row = np.asarray(fill_page.draw_row(hole, np.zeros(hole.mask.shape)).convert("L"))
    before, after = row[:, 2 * 248 : 2 * 248 + 240], row[:, 3 * 248 :]
    assert before[120, 120] > 50
    assert after[120, 120] == 0
    assert before[2, 2] == after[2, 2]
    assert fill_page.stack_rows([fill_page.draw_row(hole, hole.scan.slice(hole.index))] * 2).size == (984, 28 + 488)
