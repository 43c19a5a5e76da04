"""Event files read back: what TensorBoard shows, through resumed and killed processes and damaged ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipmedgan_jax.training.event_reader import LARGEST_RECORD, EventReader
from ipmedgan_jax.training.summaries import Summaries
from tests.properties import property_test


def points_of(directory, name="loss"):
    reader = EventReader(directory)
    reader.update()
    return dict(zip(*(array.tolist() for array in reader.scalars[name].arrays()), strict=True))


PROCESSES = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 6)), min_size=1, max_size=5)
"""Steps that each process repeats of those before it, and steps that it takes."""


@property_test
@given(processes=PROCESSES)
def test_a_step_that_resumed_and_killed_runs_repeat_is_there_once_with_its_last_value(processes, tmp_path_factory):
    directory, expected, last = tmp_path_factory.mktemp("events"), {}, 0
    running = EventReader(directory)
    for number, (repeated, count) in enumerate(processes):
        first = max(1, last + 1 - repeated)
        expected = {step: value for step, value in expected.items() if step < first}
        with Summaries(directory, first=first) as summaries:
            for last in range(first, first + count):
                summaries.scalars(last, {"loss": 100.0 * number + last})
                expected[last] = 100.0 * number + last
                running.update()  # read on beside the writing, as the report does
    assert points_of(directory) == expected
    assert dict(zip(*(array.tolist() for array in running.scalars["loss"].arrays()), strict=True)) == expected


def test_values_are_the_float32_that_were_written(tmp_path):
    written = np.random.default_rng(0).normal(size=20).astype(np.float32)
    with Summaries(tmp_path) as summaries:
        for step, value in enumerate(written, 1):
            summaries.scalars(step, {"loss": float(value)})
    assert list(points_of(tmp_path).values()) == written.tolist()


@pytest.mark.parametrize("cut", [1, 10, 30])
def test_a_record_that_is_not_whole_yet_is_read_when_it_is(tmp_path, cut):
    with Summaries(tmp_path) as summaries:
        summaries.scalars(1, {"loss": 1.0})
        summaries.scalars(2, {"loss": 2.0})
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    reader = EventReader(tmp_path)
    reader.update()
    assert list(reader.scalars["loss"].steps) == [1]
    path.write_bytes(content)
    reader.update()
    assert list(reader.scalars["loss"].steps) == [1, 2]


def test_a_damaged_record_ends_its_file_and_no_other(tmp_path):
    for first in (1, 3):
        with Summaries(tmp_path, first=first) as summaries:
            for step in (first, first + 1):
                summaries.scalars(step, {"loss": float(step)})
    path = min(tmp_path.iterdir())
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
    assert points_of(tmp_path) == {1: 1.0, 3: 3.0, 4: 4.0}


def test_pictures_are_passed_over_and_texts_are_read(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8)
    assert noise.size > LARGEST_RECORD
    with Summaries(tmp_path) as summaries:
        summaries.image(1, "picture", noise)
        summaries.text(2, "said", "text")
        summaries.scalars(3, {"loss": 3.0})
    reader = EventReader(tmp_path)
    reader.update()
    assert reader.texts == {"said": [(2, "text")]}
    assert list(reader.scalars) == ["loss"]


def test_a_run_without_event_files_has_no_curve(tmp_path):
    reader = EventReader(tmp_path / "tensorboard")
    reader.update()
    assert reader.scalars == {}
