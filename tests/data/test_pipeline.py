"""Batches: every slice once per epoch, a share per process, an order that the seed fixes, and resuming at any place."""

import collections
import contextlib
import shutil
from dataclasses import replace

import numpy as np
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import dataset_file, pipeline, records, slice_source
from ipmedgan_jax.data.augmentation import AugmentationSettings
from ipmedgan_jax.data.damage import INTACT, DamageSettings
from ipmedgan_jax.data.hole_shapes import ShapeSettings

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
    return dataset_file.load_dataset(directory).slices["train"]


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
            end = len(range(process, (epoch + 1) * size, processes))  # of its slices, the number up to the end of this epoch
            start = len(range(process, epoch * size, processes))
            mine = slices_of(take(phantom_data, end, batch_size=1, process=process, processes=processes))
            counts.update(mine[start:])
        assert len(counts) == size
        assert set(counts.values()) == {1}


@pytest.mark.parametrize("processes", [2, 4])
def test_what_all_processes_take_at_a_step_does_not_depend_on_their_number(phantom_data, processes):
    def contents(batch):
        return [(image.tobytes(), *hole) for image, hole in zip(batch["image"], batch["hole"], strict=True)]

    single = take(phantom_data, 5, batch_size=4)
    shares = [take(phantom_data, 5, batch_size=4 // processes, process=i, processes=processes) for i in range(processes)]
    for step, batch in enumerate(single):
        assert sorted(contents(batch)) == sorted(content for share in shares for content in contents(share[step]))


def test_a_state_is_valid_for_any_number_of_processes(phantom_data):
    with batches(phantom_data, batch_size=4) as one:
        next(one)
        next(one)
        state = one.get_state()
        expected = next(one)
    with batches(phantom_data, process=1, processes=2) as second:
        second.set_state(state)
        assert second.get_state() == state
        np.testing.assert_array_equal(next(second)["image"], expected["image"][1::2])


def test_training_holes_have_the_share_of_foreground_that_is_asked_for(phantom_data):
    def lowest_share(min_foreground):
        taken = take(phantom_data, 24, batch_size=1, holes=replace(HOLES, min_foreground=min_foreground))
        foreground = [batch["image"][0, ..., 0] > HOLES.foreground for batch in taken]
        corners = [batch["hole"][0, :2] for batch in taken]
        return min(pixels[r : r + 16, c : c + 16].mean() for pixels, (r, c) in zip(foreground, corners, strict=True))

    assert lowest_share(0.0) < 0.6 <= lowest_share(0.6)


def test_about_half_of_the_slices_are_mirrored_left_to_right(phantom_data):
    plain, mirrored = (take(phantom_data, 10, mirror=mirror) for mirror in (False, True))
    pairs = list(zip(*(np.concatenate([batch["image"] for batch in taken]) for taken in (plain, mirrored)), strict=True))
    unchanged = [np.array_equal(a, b) for a, b in pairs]
    exchanged = [np.array_equal(a[:, ::-1], b) for a, b in pairs]
    assert np.logical_xor(unchanged, exchanged).all()  # the phantom is not symmetric
    assert 3 <= sum(exchanged) <= 17


def test_augmented_slices_are_the_same_whatever_the_threads_and_keep_their_shape(phantom_data):
    settings = AugmentationSettings(scale=1.3, rotation=10.0, gamma=1.3, noise=0.02)
    (plain, *_), one, four = (
        take(phantom_data, 5, augmentation=augmentation, threads=threads)
        for augmentation, threads in ((None, 1), (settings, 1), (settings, 4))
    )
    assert slices_of(one) == slices_of(four)
    assert one[0]["image"].shape == plain["image"].shape
    assert not np.array_equal(one[0]["image"], plain["image"])


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


def test_batches_resume_from_a_state(phantom_data):
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
    for slices, removed in (
        (pipeline.evaluation_slices(repeated_scan_data, "validation", HOLES), lambda item: tuple(item.hole)),
        (pipeline.damaged_slices(repeated_scan_data, "validation", finder), lambda item: item.mask.tobytes()),
    ):
        found = {}
        for item in slices:
            if getattr(item, "kind", "") != INTACT:
                found.setdefault(item.record.volume, []).append(removed(item))
        first, again = found["sub-003_ct"], found["sub-003_run-2_ct"]
        assert len(first) == len(again) > 3
        assert first != again


def test_evaluation_holes_do_not_depend_on_how_many_slices_are_taken(phantom_data):
    holes = {item.record.index: item.hole.tolist() for item in pipeline.evaluation_slices(phantom_data, "test", HOLES)}
    few = list(pipeline.evaluation_slices(phantom_data, "test", HOLES, at_most=2))
    assert 0 < len(few) <= 2
    for item in few:
        assert holes[item.record.index] == item.hole.tolist()


def test_slices_without_a_place_for_a_hole_are_skipped(phantom_data):
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
    item = pipeline.EvaluationSlice(None, np.zeros((8, 8), np.float32), np.array([2, 3, 2, 2]), 1.0)
    context = item.context(-1.0)
    assert (context[2:4, 3:5] == -1).all()
    assert context.sum() == -4
    assert not item.image.any()


def test_a_damaged_shard_is_named(phantom_data, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(phantom_data, copy)
    shard = next((copy / "train").glob("*.arrayrecord"))
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(UserError, match=rf"{shard.name}: missing or damaged shard.*prepare the data again"):
        slice_source.SliceSource(copy, "train")


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
        content[300] ^= 0xFF  # in the first record; the file's header and index stay intact
        shard.write_bytes(content)
    with pytest.raises(UserError, match=r"sub-00\d_ct.arrayrecord: damaged .*prepare the data again"):
        take(copy, 20, batch_size=1)


# ------------------------------------------------------------------ pixels to avoid


@pytest.fixture(scope="module")
def avoiding_data(phantom_data, tmp_path_factory):
    """The phantoms with the head's left half to avoid in two of three slices; in one slice of each volume, all of it."""
    folder = tmp_path_factory.mktemp("avoid") / "prepared"
    shutil.copytree(phantom_data, folder)
    for path in folder.glob("*/*.arrayrecord"):
        kept = []
        for record in records.read_shard(path):
            avoid = np.zeros(record.codes.shape, bool)
            avoid[:, 16:] = record.index % 3 > 0
            avoid |= record.index == 1
            kept.append(replace(record, avoid=avoid))
        records.write_shard(path, kept)
    return folder


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("min_foreground", [0.0, 0.3])
def test_training_holes_keep_clear_and_batches_say_what_is_no_target(avoiding_data, mirror, min_foreground):
    holes = replace(HOLES, size=8, avoids=True, min_foreground=min_foreground, shapes=ShapeSettings(("blob",), (1.0,), 8, 4))
    found = []
    for batch in take(avoiding_data, 20, holes=holes, mirror=mirror):
        assert {key: value.dtype for key, value in batch.items()} == {
            key: value.dtype for key, value in pipeline.abstract_batch(holes, 32, 2).items()
        }
        for avoid, (row, column, height, width) in zip(batch["avoid"], batch["hole"], strict=True):
            found.append(avoid.mean())
            assert avoid.all() or not avoid[row : row + height, column : column + width].any()
    assert set(found) == {0.0, 0.5, 1.0}


def test_evaluation_holes_keep_clear_and_slices_without_a_place_are_left_out(avoiding_data):
    slices = list(pipeline.evaluation_slices(avoiding_data, "test", HOLES))
    assert len(slices) > 3
    assert all(item.record.index != 1 for item in slices)
    assert not any(item.record.avoid[pipeline.box_mask(item.hole, (32, 32))].any() for item in slices)
    assert all(item.hole[1] == 0 for item in slices if item.record.avoid.any())


def test_a_hole_lies_on_the_head_and_not_on_what_is_bright(phantom_data, tmp_path):
    """The phantom's records say that the head is elsewhere than the bright pixels."""
    folder = tmp_path / "prepared"
    shutil.copytree(phantom_data, folder)
    for path in folder.glob("test/*.arrayrecord"):
        found = [replace(record, head=np.arange(32) + 0 * record.codes >= 16) for record in records.read_shard(path)]
        records.write_shard(path, found)
    slices = list(pipeline.evaluation_slices(folder, "test", replace(HOLES, evaluation_min_foreground=1.0)))
    assert slices
    assert all(item.hole[1] == 16 and item.foreground == 1 for item in slices)


@pytest.mark.parametrize("state", [{}, {"next_index": "4"}, {"next_index": True}, {"next_index": -1}, {"next_index": 2**63}])
def test_a_place_that_no_run_has_is_refused_in_one_line(phantom_data, state):
    with batches(phantom_data) as iterator, pytest.raises(UserError, match="expected next_index, a number"):
        iterator.set_state(state)
