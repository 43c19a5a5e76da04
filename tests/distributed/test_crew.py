"""Files shared out among processes: each made once, all heard of by the first, and a lost process named."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy as np
import pytest

from ipmedgan_jax.core.errors import TRY_AGAIN, UserError
from ipmedgan_jax.data import records
from ipmedgan_jax.distributed import crew
from ipmedgan_jax.distributed.crew import Crew
from ipmedgan_jax.distributed.meeting import Place
from tests.distributed.test_meeting import free_port


class Killed(Exception):
    """As good as: nobody is told."""


def crews(count, work, settings=None):
    """What `work(crew)` gives, or its UserError's message and exit code, in each of several processes (threads, here)."""
    port = free_port()

    def one(index):
        try:
            with crew.joined(Place("127.0.0.1", port, count, index), settings or {}) as everyone:
                return work(everyone)
        except UserError as error:
            return str(error), error.exit_code
        except Killed:
            return "killed"

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_item_is_done_once_and_its_result_is_in_its_place(count):
    done, lock = [], threading.Lock()

    def work(everyone):
        start = everyone.decide(lambda: 10)
        mine = everyone.share(range(7))
        with lock:
            done.extend(mine)
        return everyone.first, everyone.gather(range(7), [start * item for item in mine], str)

    given = crews(count, work)
    assert sorted(done) == list(range(7))
    assert given[0] == (True, [0, 10, 20, 30, 40, 50, 60])
    assert given[1:] == [(False, [])] * (count - 1)


def test_alone_all_of_it_is_one_s_own():
    alone = Crew()
    assert alone.decide(lambda: "so") == "so"
    assert alone.gather("abc", [each.upper() for each in alone.share("abc")], str) == ["A", "B", "C"]


def test_what_the_first_cannot_do_stops_all():
    def fails():
        raise UserError("no room")

    assert crews(3, lambda everyone: everyone.decide(fails)) == [("no room", 2)] + [("process 0: no room", 2)] * 2


def test_what_another_cannot_do_is_said_by_the_first_with_its_exit_code():
    def work(everyone):
        if 1 in (mine := everyone.share(range(4))):
            raise UserError("bad.nii.gz: not a NIfTI file", 3)
        return everyone.gather(range(4), mine, str)

    first, second, third = crews(3, work)
    assert second == ("bad.nii.gz: not a NIfTI file", 3)
    assert first == ("process 1: bad.nii.gz: not a NIfTI file; not all is done of 1", 3)
    assert third == []


def test_a_long_answer_arrives_whole():
    given = crews(
        2, lambda everyone: everyone.gather(range(2), [str(item) * 500_000 for item in everyone.share(range(2))], str)
    )
    assert [len(each) for each in given[0]] == [500_000, 500_000]


def test_a_lost_process_and_its_share_are_named():
    def work(everyone):
        mine = everyone.share(range(16))
        if 1 in mine:
            raise Killed
        return everyone.gather(range(16), mine, lambda item: f"scan {item}")

    first, second = crews(2, work)
    assert second == "killed"
    message, exit_code = first
    assert "process 1 was lost" in message
    assert "scan 1, scan 3, scan 5, scan 7, scan 9 and 3 more" in message
    assert exit_code == TRY_AGAIN


def test_the_others_say_that_the_first_was_lost():
    def work(everyone):
        if everyone.first:
            raise Killed
        return everyone.decide(lambda: 1)

    message, exit_code = crews(2, work)[1]
    assert "process 0 was lost" in message
    assert exit_code == TRY_AGAIN


def test_prepare_by_three_processes_makes_what_one_makes(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(5):
        path = tmp_path / "in" / f"sub-{i}" / f"sub-{i}_FLAIR.nii.gz"
        path.parent.mkdir(parents=True)
        array = np.pad(rng.integers(100, 900, (20, 20, 4)).astype(np.int16), ((6, 6), (6, 6), (0, 0)))
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    command = [
        sys.executable,
        "-m",
        "ipmedgan_jax.prepare",
        "--config=configs/small.py",
        f"--input={tmp_path}/in/**/*.nii.gz",
    ]
    command.append("--config.data.image_size=32")
    root, port = Path(__file__).parents[2], free_port()
    subprocess.run([*command, f"--output={tmp_path}/alone"], cwd=root, check=True, capture_output=True)
    several = [f"--output={tmp_path}/several", f"--coordinator=127.0.0.1:{port}", "--processes=3"]
    started = [
        subprocess.Popen([*command, *several, f"--process_id={i}"], cwd=root, stdout=subprocess.PIPE, text=True)
        for i in range(3)
    ]
    said = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert "5 mri volumes" in said[0]
    assert said[1:] == ["", ""]
    alone, together = (records.load_dataset(tmp_path / name) for name in ("alone", "several"))
    assert together.volumes == alone.volumes
    shards = sorted(path.relative_to(tmp_path / "alone") for path in (tmp_path / "alone").glob("*/*"))
    assert shards == sorted(path.relative_to(tmp_path / "several") for path in (tmp_path / "several").glob("*/*"))
