"""Progress lines in a log and on a terminal, and TensorBoard files."""

import errno
import io
import logging
import os
import struct

import numpy as np
import pytest
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.training.summaries import Progress, Summaries, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00:00"), (3661.4, "01:01:01"), (90061, "1 d 01:01:01"), (59.7, "00:01:00")]
)
def test_durations_are_formatted_as_clocks(seconds, text):
    assert duration(seconds) == text


def test_a_log_gets_a_line_each_time_with_step_loss_and_time_left(caplog):
    with caplog.at_level(logging.INFO, "absl"):
        progress = Progress(0, 10, stream=io.StringIO())
        progress.report(5, {"l1": 0.5})
    assert "step 5/10  " in caplog.text
    assert "left" in caplog.text
    assert "l1 0.5" in caplog.text


def test_a_terminal_gets_one_line_rewritten_in_place():
    terminal = Terminal()
    progress = Progress(0, 10, stream=terminal)
    progress.report(5, {"l1": 0.5})
    progress.report(6, {"l1": 0.4})
    progress.pause()
    assert terminal.getvalue().count("\r") == 2
    assert terminal.getvalue().count("\n") == 1


def test_a_line_too_long_for_the_terminal_is_cut_so_that_it_can_be_rewritten(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    terminal = Terminal()
    Progress(0, 10, stream=terminal).report(5, {f"term_{i}": 0.5 for i in range(20)})
    assert len(terminal.getvalue().lstrip("\r")) == 39


def test_the_line_in_place_is_ended_at_the_end_of_a_run():
    terminal = Terminal()
    with Progress(0, 10, stream=terminal) as progress:
        progress.report(5, {})
    assert terminal.getvalue().endswith("\n")


def test_excluded_time_does_not_lower_the_rate_but_counts_for_the_time_left(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("ipmedgan_jax.training.summaries.time.monotonic", lambda: now[0])
    terminal = Terminal()
    progress = Progress(0, 100, stream=terminal)
    now[0] = 30.0
    progress.exclude(20.0)
    assert progress.report(10, {}) == pytest.approx(1.0)
    assert "00:04:30 left" in terminal.getvalue()


def test_scalars_and_images_are_written(tmp_path):
    with Summaries(tmp_path) as summaries:
        summaries.scalars(1, {"loss": 0.25}, prefix="validation/")
        summaries.image(1, "grid", np.zeros((8, 8), np.uint8))
    (events,) = tmp_path.iterdir()
    content = events.read_bytes()
    assert b"validation/loss" in content
    assert b"grid" in content


def events_in(directory):
    """Yields the events of a folder as TensorBoard reads them: file by file, each record with length and checksums."""
    for path in sorted(directory.iterdir()):
        content, start = path.read_bytes(), 0
        while start < len(content):
            (length,) = struct.unpack_from("<Q", content, start)
            yield Event.FromString(content[start + 12 : start + 12 + length])
            start += 16 + length


def test_tensorboard_shows_a_step_that_a_resumed_run_repeats_once(tmp_path):
    for first, steps in ((1, [1, 2, 3, 4]), (3, [3, 4, 5])):  # killed after step 4, with a checkpoint of step 2
        with Summaries(tmp_path, first=first) as summaries:
            for step in steps:
                summaries.scalars(step, {"loss": 10.0 * first + step})
    shown = {}
    for event in events_in(tmp_path):
        if event.session_log.status == SessionLog.START:  # TensorBoard's rule for a restart
            shown = {step: values for step, values in shown.items() if step < event.step}
        for value in event.summary.value:
            shown.setdefault(event.step, []).append(value.simple_value)
    assert shown == {1: [11], 2: [12], 3: [33], 4: [34], 5: [35]}


def records_of(directory):
    return [event.step for event in events_in(directory) if event.summary.value]


@pytest.mark.parametrize("left", [0, 1, 40])
def test_a_full_disk_costs_one_warning_and_the_records_of_that_time(tmp_path, monkeypatch, caplog, left):
    pwrite, full = os.pwrite, []

    def on_full_disk(descriptor, content, offset):
        if not full:
            return pwrite(descriptor, content, offset)
        room, full[0] = full[0], 0
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(descriptor, content[:room], offset)

    monkeypatch.setattr(os, "pwrite", on_full_disk)
    with caplog.at_level(logging.WARNING, "absl"), Summaries(tmp_path) as summaries:
        summaries.scalars(1, {"loss": 1.0})
        full.append(left)  # bytes
        summaries.scalars(2, {"loss": 2.0, "other": 3.0})
        summaries.image(3, "picture", np.zeros((8, 8), np.uint8))
        full.clear()
        summaries.scalars(4, {"loss": 4.0})
    assert records_of(tmp_path) == [1, 4]
    assert caplog.text.count("No space left on device") == 1


def test_the_records_are_those_of_tensorboardx(tmp_path):
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    with Summaries(tmp_path / "ours") as summaries, SummaryWriter(str(tmp_path / "theirs"), purge_step=1) as theirs:
        summaries.scalars(5, {"loss/a b": 0.5})
        summaries.text(6, "said", "text")
        summaries.image(7, "picture", picture)
        theirs.add_scalar("loss/a b", 0.5, 5)
        theirs.add_text("said", "text", 6)
        theirs.add_image("picture", picture, 7, dataformats="HWC")
    ours, others = (
        [(event.step, event.summary) for event in events_in(tmp_path / name) if event.summary.value]
        for name in ("ours", "theirs")
    )
    assert ours == others


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "tensorboard").touch()
    with pytest.raises(UserError, match=r"tensorboard: cannot be written \(File exists\)"):
        Summaries(tmp_path / "tensorboard")
