"""Every slice once an epoch, each process its share, the same order for the same seed, from any place in it."""

import collections
import contextlib
import shutil
from dataclasses import replace

import numpy as np
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import pipeline, records
from ipmedgan_jax.data.damage import INTACT, DamageSettings

HOLES = pipeline.HoleSettings(
    size=16, foreground=-2 / 3, min_foreground=0.0, evaluation_min_foreground=0.3, evaluation_seed=0
)


def batches(directory, holes=HOLES, **options):
    settings = {"batch_size": 2, "seed": 0, "threads": 2, "prefetch": 4} | options
    return contextlib.closing(pipeline.training_batches(directory, holes, **settings))


def take(directory, count, **options):
    with batches(directory, **options) as iterator:
        return [next(iterator) for _ in range(count)]


def slices_of(taken):
    return [image.tobytes() for batch in taken for image in batch["image"]]


def train_size(directory):
    return records.load_dataset(directory).slices["train"]


def test_batches_have_the_promised_shapes_and_ranges(phantom_data):
    (batch,) = take(phantom_data, 1)
    assert batch["image"].shape == (2, 32, 32, 1)
    assert batch["image"].dtype == np.float32
    assert batch["hole"].shape == (2, 4)
    assert batch["hole"].dtype == np.int32
    assert np.abs(batch["image"]).max() <= 1


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_each_slice_is_seen_once_an_epoch_by_one_process(phantom_data, processes):
    size = train_size(phantom_data)
    for epoch in range(2):
        counts = collections.Counter()
        for process in range(processes):
            end = len(range(process, (epoch + 1) * size, processes))  # of its slices, those of the epochs so far
            start = len(range(process, epoch * size, processes))
            mine = slices_of(take(phantom_data, end, batch_size=1, process=process, processes=processes))
            counts.update(mine[start:])
        assert len(counts) == size
        assert set(counts.values()) == {1}


@pytest.mark.parametrize("processes", [2, 4])
def test_what_all_processes_take_at_a_step_does_not_depend_on_their_number(phantom_data, processes):
    def contents(batch):
        return [(image.tobytes(), *hole) for image, hole in zip(batch["image"], batch["hole"], strict=True)]

    together = take(phantom_data, 5, batch_size=4)
    parts = [take(phantom_data, 5, batch_size=4 // processes, process=i, processes=processes) for i in range(processes)]
    for step, batch in enumerate(together):
        assert sorted(contents(batch)) == sorted(each for part in parts for each in contents(part[step]))


def test_a_place_in_the_order_is_one_for_any_number_of_processes(phantom_data):
    with batches(phantom_data, batch_size=4) as one:
        next(one)
        next(one)
        place = one.get_state()
        expected = next(one)
    with batches(phantom_data, process=1, processes=2) as second:
        second.set_state(place)
        assert second.get_state() == place
        np.testing.assert_array_equal(next(second)["image"], expected["image"][1::2])


def test_training_holes_have_the_share_of_foreground_that_is_asked_for(phantom_data):
    def lowest_share(min_foreground):
        taken = take(phantom_data, 24, batch_size=1, holes=replace(HOLES, min_foreground=min_foreground))
        foreground = [batch["image"][0, ..., 0] > HOLES.foreground for batch in taken]
        corners = [batch["hole"][0, :2] for batch in taken]
        return min(pixels[r : r + 16, c : c + 16].mean() for pixels, (r, c) in zip(foreground, corners, strict=True))

    assert lowest_share(0.0) < 0.6 <= lowest_share(0.6)


def test_about_half_of_the_slices_are_mirrored_left_to_right(phantom_data):
    as_they_are, mirrored = (take(phantom_data, 10, mirror=mirror) for mirror in (False, True))
    pairs = list(zip(*(np.concatenate([each["image"] for each in taken]) for taken in (as_they_are, mirrored)), strict=True))
    same = [np.array_equal(a, b) for a, b in pairs]
    exchanged = [np.array_equal(a[:, ::-1], b) for a, b in pairs]
    assert np.logical_xor(same, exchanged).all()  # the phantom has a better side
    assert 3 <= sum(exchanged) <= 17


def test_the_next_epoch_has_another_order_and_other_holes(phantom_data):
    size = train_size(phantom_data)
    taken = take(phantom_data, 2 * size, batch_size=1)
    first, second = taken[:size], taken[size:]
    assert sorted(slices_of(first)) == sorted(slices_of(second))
    assert slices_of(first) != slices_of(second)
    by_slice = [{batch["image"].tobytes(): batch["hole"].tolist() for batch in epoch} for epoch in (first, second)]
    assert by_slice[0] != by_slice[1]


def test_the_same_seed_gives_the_same_batches_whatever_the_threads(phantom_data):
    a, b = take(phantom_data, 5, threads=1), take(phantom_data, 5, threads=4)
    other = take(phantom_data, 5, seed=1)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x["image"], y["image"])
        np.testing.assert_array_equal(x["hole"], y["hole"])
    assert slices_of(a) != slices_of(other)


def test_the_iterator_s_state_is_a_place_in_the_order(phantom_data):
    with batches(phantom_data) as iterator:
        for _ in range(3):
            next(iterator)
        state = iterator.get_state()
        expected = [next(iterator) for _ in range(4)]
    with batches(phantom_data) as resumed:
        resumed.set_state(state)
        for batch in expected:
            again = next(resumed)
            np.testing.assert_array_equal(again["image"], batch["image"])
            np.testing.assert_array_equal(again["hole"], batch["hole"])


def test_evaluation_holes_are_the_same_every_time_and_have_enough_foreground(phantom_data):
    first, again = (list(pipeline.evaluation_slices(phantom_data, "test", HOLES)) for _ in range(2))
    assert first
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.hole, b.hole)
        row, column, height, width = a.hole
        assert (a.image[row : row + height, column : column + width] > HOLES.foreground).mean() >= 0.3


def test_two_scans_of_a_subject_have_holes_and_damage_of_their_own(repeated_scan_data):
    damage = DamageSettings(("void",), (1.0,), 0.0, 16, 8, HOLES.foreground)
    finder = replace(HOLES, damage=damage)
    for slices, of in (
        (pipeline.evaluation_slices(repeated_scan_data, "validation", HOLES), lambda each: tuple(each.hole)),
        (pipeline.damaged_slices(repeated_scan_data, "validation", finder), lambda each: each.mask.tobytes()),
    ):
        found = {}
        for each in slices:
            if getattr(each, "kind", "") != INTACT:
                found.setdefault(each.record.volume, []).append(of(each))
        first, again = found["sub-003_ct"], found["sub-003_run-2_ct"]
        assert len(first) == len(again) > 3
        assert first != again


def test_evaluation_holes_do_not_depend_on_how_many_slices_are_taken(phantom_data):
    every = {each.record.index: each.hole.tolist() for each in pipeline.evaluation_slices(phantom_data, "test", HOLES)}
    few = list(pipeline.evaluation_slices(phantom_data, "test", HOLES, at_most=2))
    assert 0 < len(few) <= 2
    for each in few:
        assert every[each.record.index] == each.hole.tolist()


def test_slices_without_a_place_are_passed_over(phantom_data):
    impossible = pipeline.HoleSettings(16, -2 / 3, 0.0, 1.1, 0)
    assert not list(pipeline.evaluation_slices(phantom_data, "test", impossible))


def test_the_last_evaluation_batch_is_padded_to_its_size(phantom_data):
    slices = list(pipeline.evaluation_slices(phantom_data, "test", HOLES))[:3]
    groups = list(pipeline.in_batches(iter(slices), 2))
    assert [len(group) for group, _ in groups] == [2, 1]
    assert all(len(batch["image"]) == 2 for _, batch in groups)


def test_spread_covers_both_ends():
    assert list(pipeline.spread(3, 5)) == [0, 1, 2]
    assert list(pipeline.spread(11, 3)) == [0, 5, 10]


def test_context_is_filled_in_the_hole_alone():
    each = pipeline.EvaluationSlice(None, np.zeros((8, 8), np.float32), np.array([2, 3, 2, 2]), 1.0)
    context = each.context(-1.0)
    assert (context[2:4, 3:5] == -1).all()
    assert context.sum() == -4
    assert not each.image.any()


def test_a_damaged_shard_is_named(phantom_data, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(phantom_data, copy)
    shard = next((copy / "train").glob("*.arrayrecord"))
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(UserError, match=rf"{shard.name}: missing or damaged shard.*prepare the data again"):
        pipeline.SliceSource(copy, "train")


def test_shards_exchanged_between_splits_are_noticed(phantom_data, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(phantom_data, copy)
    trained, tested = (next((copy / split).glob("*.arrayrecord")) for split in ("train", "test"))
    shutil.copy(trained, tested)
    with pytest.raises(UserError, match=rf"{tested.name}: holds slices of {trained.stem}"):
        list(pipeline.evaluation_slices(copy, "test", HOLES))


def test_a_record_damaged_inside_a_shard_is_named_while_training(phantom_data, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(phantom_data, copy)
    for shard in (copy / "train").glob("*.arrayrecord"):
        content = bytearray(shard.read_bytes())
        content[300] ^= 0xFF  # in the first record; the file's head and its index are whole
        shard.write_bytes(content)
    with pytest.raises(UserError, match=r"sub-00\d_ct.arrayrecord: damaged .*prepare the data again"):
        take(copy, 20, batch_size=1)
