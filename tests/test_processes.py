"""Processes find each other, or say in one line why not; what they do together is what one would do alone."""

import json
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ipmedgan_jax import processes
from ipmedgan_jax.errors import UserError
from ipmedgan_jax.processes import Place

SLURM = {"SLURM_PROCID": "3", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "4097", "SLURM_STEP_NODELIST": "gpu[017-019,022],cpu1"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "2",
    "PMIX_SERVER_URI2": "prterun-a-7@0.0;tcp4://10.1.2.3:41523",
}


@pytest.mark.parametrize(
    ("given", "environment", "place"),
    [
        ((None, None, None), {}, None),
        ((None, None, None), SLURM, Place("gpu017", 61441, 8, 3)),
        ((None, None, None), SLURM | {"SLURM_STEP_NODELIST": "node4,node7"}, Place("node4", 61441, 8, 3)),
        ((None, None, None), SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, None),
        (("a:5", None, None), SLURM, Place("a", 5, 8, 3)),
        (("a:5", 2, 1), {}, Place("a", 5, 2, 1)),
        (("a:5", 3, None), {"JOB_COMPLETION_INDEX": "2"}, Place("a", 5, 3, 2)),
        (("a:5", 1, 0), {}, None),
    ],
)
def test_a_process_learns_its_place(given, environment, place):
    assert processes.find_place(*given, environment) == place


def test_open_mpi_says_where_the_first_process_is():
    place = processes.find_place(None, None, None, OPEN_MPI)
    assert (place.host, place.count, place.index) == ("10.1.2.3", 4, 2)
    assert place == processes.find_place(None, None, None, OPEN_MPI)  # the same port in every process


@pytest.mark.parametrize(
    ("given", "environment", "message"),
    [
        (("a:5", None, None), {}, "--processes and --process_id missing"),
        ((None, 2, 0), {}, "--coordinator missing"),
        (("a", 2, 0), {}, "wanted HOST:PORT"),
        (("a:b", 2, 0), {}, "wanted HOST:PORT"),
        (("a:5", 2, 2), {}, "wanted 0 to 1"),
        ((None, None, None), SLURM | {"SLURM_NTASKS": "many"}, "do not say where this process stands"),
    ],
)
def test_a_place_that_is_not_whole_is_refused(given, environment, message):
    with pytest.raises(UserError, match=message):
        processes.find_place(*given, environment)


# ------------------------------------------------------------------ meeting


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def meet(*said, count=None, indices=None):
    """What each of several processes gets to hear: None, or the message of its UserError."""
    port, count = free_port(), count or len(said)

    def one(index, about):
        try:
            processes.meet(Place("127.0.0.1", port, about.pop("count", count), index), about)
            return None
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(len(said)) as pool:
        return list(pool.map(one, indices or range(len(said)), said))


def about(**changes):
    return {"settings": {"train.batch_size": 4, "seed": 0}, "code": "abc"} | changes


def test_processes_that_say_the_same_meet():
    assert meet(about(), about(), about()) == [None] * 3


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (about(settings={"train.batch_size": 8, "seed": 0}), "has other settings than process 0: train.batch_size"),
        (about(code="abd"), "runs other code than process 0"),
        (about(count=3), "was started as one of 3, process 0 as one of 2"),
    ],
)
def test_processes_that_differ_hear_why_nothing_starts(other, message):
    heard = meet(about(), other)
    assert len(set(heard)) == 1
    assert message in heard[0]


def test_two_processes_of_one_number_are_told():
    heard = meet(about(), about(), about(), indices=[0, 1, 1])
    assert any("has the number of another" in each for each in heard if each)


def test_a_process_that_does_not_come_is_named(monkeypatch):
    monkeypatch.setattr(processes, "MEETING_S", 1)
    assert meet(about(), about(), count=3) == ["process 2 of 3 did not come within 1 s; nothing was started"] * 2


def test_a_first_process_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(processes, "MEETING_S", 0.5)
    (heard,) = meet(about(), count=2, indices=[1])
    assert "process 0 at 127.0.0.1:" in heard
    assert "cannot be reached" in heard


def test_a_port_in_use_and_strangers_are_no_process(monkeypatch):
    with socket.create_server(("", 0)) as taken, pytest.raises(UserError, match="cannot be used"):
        processes.meet(Place("127.0.0.1", taken.getsockname()[1], 2, 0), about())
    monkeypatch.setattr(processes, "MEETING_S", 5)
    port = free_port()
    first = threading.Thread(target=processes.meet, args=(Place("127.0.0.1", port, 2, 0), about()))
    first.start()
    for _ in range(50):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\n")
            break
        except OSError:
            continue
    processes.meet(Place("127.0.0.1", port, 2, 1), about())
    first.join()


# ------------------------------------------------------------------ agreeing


def test_alone_all_of_it_is_one_s_own():
    assert processes.gather("mine") == ["mine"]
    assert processes.gather_lists([1, 2]) == [1, 2]
    assert list(processes.share("abc")) == ["a", "b", "c"]
    assert processes.together(lambda: 3) == 3
    assert processes.Vote().cast(2) == 2
    assert processes.first()


SCRIPT = """
import json, sys
import numpy as np
from absl import flags
from ipmedgan_jax import parallel, processes
from ipmedgan_jax.checkpoint import Checkpoints
from ipmedgan_jax.errors import UserError
from pathlib import Path

processes.define_flags()
flags.FLAGS(sys.argv[:4])
processes.start({"a": 1})
import jax
me = processes.index()
vote = processes.Vote()
out = {
    "gathered": processes.gather(f"of {me}"),
    "lists": processes.gather_lists([10 * i for i in processes.share(range(5))]),
    "numbers": [processes.number(i) for i in range(2)],
    "votes": [vote.cast(1 if me == 1 and i == 1 else 0) for i in range(4)],
}
def fails():
    if me == 1:
        raise UserError("nothing there")
try:
    processes.together(fails)
except UserError as error:
    out["error"] = str(error)
state = parallel.replicate({"w": np.arange(3.0, dtype=np.float32)})
with Checkpoints(Path(sys.argv[4]), keep=1, best="psnr") as checkpoints:
    checkpoints.save(1, parallel.as_one(state), {"next_index": 8}, {"psnr": 1.0})
with Checkpoints(Path(sys.argv[4]), keep=1, best="psnr") as checkpoints:
    restored, place = checkpoints.restore(1, parallel.as_one_like(state))
    out["restored"] = np.asarray(parallel.own(restored)["w"]).tolist()
out["place"] = place
print(json.dumps(out))
"""


def test_two_processes_agree(tmp_path):
    port = free_port()
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    started = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", SCRIPT, f"--coordinator=127.0.0.1:{port}", "--processes=2", f"--process_id={i}"),
                str(tmp_path / "checkpoints"),
            ],
            cwd=Path(__file__).parents[1],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    ended = [process.communicate(timeout=200) for process in started]
    assert [process.returncode for process in started] == [0, 0], ended
    first, second = (json.loads(output.splitlines()[-1]) for output, _ in ended)
    assert first.pop("numbers") == [0, 2]
    assert second.pop("numbers") == [1, 3]
    assert first == second
    assert first["gathered"] == ["of 0", "of 1"]
    assert first["lists"] == [0, 10, 20, 30, 40]
    assert first["votes"] == [0, 0, 1, 0]  # known to both one step later
    assert first["error"] == "process 1: nothing there"
    assert first["restored"] == [0.0, 1.0, 2.0]
    assert first["place"] == {"next_index": 8}
