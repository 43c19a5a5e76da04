"""Windows round holes: their place, and the batches and evaluation slices that are cut from whole slices."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipmedgan_jax.data import dataset_file, pipeline, windows
from ipmedgan_jax.data.damage import DamageSettings
from ipmedgan_jax.data.holes import box
from ipmedgan_jax.data.slice_source import SliceSource
from tests.data.test_pipeline import HOLES, take
from tests.properties import property_test

SIDE = 32
DAMAGE = DamageSettings(("metal", "cut"), (0.5, 0.5), 0.3, 16, 8, -2 / 3)
WINDOWS = replace(HOLES, window=SIDE)


@st.composite
def holes_in_slices(draw):
    """A window's side, a slice at least as large, and a hole in it that fits into the window."""
    side = draw(st.integers(4, 12))
    shape = draw(st.integers(side, 30)), draw(st.integers(side, 30))
    length = draw(st.integers(1, side))
    row, column = (draw(st.integers(0, whole - length)) for whole in shape)
    return side, shape, box(row, column, length)


@property_test
@given(case=holes_in_slices(), seed=st.integers(0, 99))
def test_the_window_lies_in_the_slice_and_the_hole_in_the_window(case, seed):
    side, shape, hole = case
    image = np.arange(np.prod(shape)).reshape(shape)
    for corner in (
        windows.centred_corner(hole, shape, side),
        windows.random_corner(np.random.default_rng(seed), hole, shape, side),
    ):
        assert all(0 <= start <= whole - side for start, whole in zip(corner, shape, strict=True))
        window, (row, column, height, width) = windows.cut(image, corner, side), windows.moved(hole, corner)
        assert window.shape == (side, side)
        inside = window[row : row + height, column : column + width]
        np.testing.assert_array_equal(inside, image[hole[0] : hole[0] + height, hole[1] : hole[1] + width])
        assert inside.size == height * width


def test_a_centred_hole_is_in_the_middle_unless_the_slice_ends():
    assert windows.centred_corner(box(40, 50, 10), (100, 100), 30) == (30, 40)
    assert windows.centred_corner(box(0, 90, 10), (100, 100), 30) == (0, 70)


def test_random_windows_lie_up_to_a_quarter_of_the_spare_length_off_the_middle():
    rng = np.random.default_rng(0)
    rows, columns = zip(*(windows.random_corner(rng, box(40, 50, 10), (100, 100), 30) for _ in range(500)), strict=True)
    assert set(rows) == set(range(25, 36))  # 30, give or take (30 - 10) // 4
    assert set(columns) == set(range(35, 46))
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.15


def whole_slices(directory, split):
    source = SliceSource(directory, split)
    return [source[i].image() for i in range(len(source))]


def test_the_data_have_whole_slices_of_two_shapes(window_data):
    dataset = dataset_file.load_dataset(window_data)
    assert dataset.keeps_whole_slices
    assert dataset.image_size == SIDE
    assert {image.shape for image in whole_slices(window_data, "train")} == {(64, 64), (48, 40)}


def test_training_batches_are_windows_of_slices_of_all_shapes(window_data):
    slices = {image.shape: image for image in whole_slices(window_data, "train")}
    found = set()
    for batch in take(window_data, 12, holes=WINDOWS, batch_size=1):
        assert batch["image"].shape == (1, SIDE, SIDE, 1)
        row, column, height, width = batch["hole"][0]
        assert (height, width) == (16, 16)
        assert 0 <= row <= 16
        assert 0 <= column <= 16
        found |= {shape for shape in slices if contains(whole_slices(window_data, "train"), shape, batch["image"][0, ..., 0])}
    assert found == set(slices)


def contains(images, shape, window):
    """Whether the window is a part of one of the images of this shape."""
    return any(
        (views == window).all((2, 3)).any()
        for image in images
        if image.shape == shape
        for views in [np.lib.stride_tricks.sliding_window_view(image, window.shape)]
    )


@pytest.mark.parametrize("processes", [2, 3])
def test_windows_and_noise_do_not_depend_on_the_number_of_processes(window_data, processes):
    holes = replace(WINDOWS, noise=True)
    keys = ("image", "hole", "noise")
    single = take(window_data, 6, holes=holes, batch_size=1)
    shares = [
        take(window_data, 6 // processes, holes=holes, batch_size=1, process=i, processes=processes) for i in range(processes)
    ]
    for step, batch in enumerate(single):
        same = shares[step % processes][step // processes]
        assert all(np.array_equal(batch[key], same[key]) for key in keys)


@pytest.mark.parametrize("changes", [{"noise": True}, {"damage": DAMAGE}])
def test_an_abstract_batch_has_the_shapes_and_types_of_a_batch_of_windows(window_data, changes):
    holes = replace(WINDOWS, **changes)
    (batch,) = take(window_data, 1, holes=holes)
    expected = pipeline.abstract_batch(holes, SIDE, 2)
    assert {key: (a.shape, a.dtype) for key, a in batch.items()} == {key: (a.shape, a.dtype) for key, a in expected.items()}


def test_noise_is_drawn_anew_for_each_slice_and_is_standard_normal(window_data):
    holes = replace(WINDOWS, noise=True)
    noise = np.concatenate([batch["noise"] for batch in take(window_data, 5, holes=holes)])
    assert noise.dtype == np.float32
    assert abs(noise.mean()) < 0.05
    assert noise.std() == pytest.approx(1, abs=0.05)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.1


def test_evaluation_windows_are_centred_on_the_holes_of_whole_slices(window_data):
    whole = list(pipeline.evaluation_slices(window_data, "test", HOLES))
    cut = list(pipeline.evaluation_slices(window_data, "test", WINDOWS))
    assert len(whole) == len(cut) > 0
    for a, b in zip(whole, cut, strict=True):
        corner = windows.centred_corner(a.hole, a.image.shape, SIDE)
        np.testing.assert_array_equal(b.image, windows.cut(a.image, corner, SIDE))
        np.testing.assert_array_equal(b.hole, a.hole - [*corner, 0, 0])
        assert b.foreground == a.foreground


def test_evaluation_noise_is_the_same_every_time_and_for_every_batch_size(window_data):
    holes = replace(WINDOWS, noise=True)
    once, again = (list(pipeline.evaluation_slices(window_data, "test", holes)) for _ in range(2))
    np.testing.assert_array_equal([item.noise for item in once], [item.noise for item in again])
    batches = [batch["noise"] for _, batch in pipeline.in_batches(iter(once), 4)]
    np.testing.assert_array_equal(np.concatenate(batches)[: len(once)], [item.noise for item in once])
    plain = pipeline.evaluation_slices(window_data, "test", WINDOWS)
    np.testing.assert_array_equal([item.hole for item in plain], [item.hole for item in once])  # noise moves no hole
    assert "noise" not in next(pipeline.in_batches(pipeline.evaluation_slices(window_data, "test", WINDOWS), 4))[1]


def test_a_finder_is_shown_windows_that_hold_as_much_head_as_there_is(window_data):
    holes = replace(WINDOWS, damage=replace(DAMAGE, intact=1.0))
    for batch in take(window_data, 6, holes=holes, batch_size=1):  # intact slices
        assert (batch["image"] > HOLES.foreground).mean() > 0.4
    found = list(pipeline.damaged_slices(window_data, "test", holes))
    assert {item.image.shape for item in found} == {(SIDE, SIDE)}
