"""Processes find each other, or say in one line why not."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.distributed import meeting
from ipmedgan_jax.distributed.meeting import Place

SLURM = {"SLURM_PROCID": "3", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "4097", "SLURM_STEP_NODELIST": "gpu[017-019,022],cpu1"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
    "PMIX_NAMESPACE": "prterun-a-7@1",
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
    assert meeting.find_place(*given, environment) == place


def test_open_mpi_says_where_the_first_process_is():
    place = meeting.find_place(None, None, None, OPEN_MPI)
    assert (place.host, place.count, place.index) == ("127.0.0.1", 4, 2)
    assert place == meeting.find_place(None, None, None, OPEN_MPI)  # the same port in every process
    of_two_machines = OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
    with pytest.raises(UserError, match="give --coordinator=HOST:PORT"):
        meeting.find_place(None, None, None, of_two_machines)
    launcher = {"OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.1.2.3,192.168.0.3:41523"}  # Open MPI 4's
    assert meeting.find_place(None, None, None, of_two_machines | launcher).host == "10.1.2.3"
    assert meeting.find_place("a:5", None, None, of_two_machines) == Place("a", 5, 4, 2)


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
        meeting.find_place(*given, environment)


# ------------------------------------------------------------------ meeting


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


SETTINGS = {"train.batch_size": 4, "seed": 0}


def meet(*places, port=None):
    """What each of several processes `(index, count, settings)` gets to hear: None, or the message of its UserError."""
    port = port or free_port()

    def one(index, count, settings):
        place = Place("127.0.0.1", port, count, index)
        try:
            meeting.part(place, meeting.meet(place, settings))
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(len(places)) as pool:
        return [said.result() for said in [pool.submit(one, *place) for place in places]]


def test_processes_that_say_the_same_meet_again_and_again():
    port = free_port()
    for _ in range(3):
        assert meet(*((i, 3, SETTINGS) for i in range(3)), port=port) == [None] * 3


@pytest.mark.parametrize(
    ("count", "settings", "message"),
    [
        (2, SETTINGS | {"train.batch_size": 8}, "has other settings than process 0: train.batch_size"),
        (3, SETTINGS, "was started as one of 3, process 0 as one of 2"),
    ],
)
def test_processes_that_differ_hear_why_nothing_starts(count, settings, message):
    heard = meet((0, 2, SETTINGS), (1, count, settings))
    assert len(set(heard)) == 1
    assert message in heard[0]


def test_processes_with_other_code_hear_so(monkeypatch):
    digests = iter(["abc", "abd"])
    monkeypatch.setattr(meeting, "code_digest", lambda: next(digests))
    heard = meet((0, 2, SETTINGS), (1, 2, SETTINGS))
    assert all("runs other code than process 0" in each for each in heard)


def test_two_processes_of_one_number_are_told():
    heard = meet((0, 3, SETTINGS), (1, 3, SETTINGS), (1, 3, SETTINGS))
    assert any("has the number of another" in each for each in heard if each)


def test_a_process_that_does_not_come_is_named(monkeypatch):
    monkeypatch.setattr(meeting, "MEETING_S", 1)
    heard = meet((0, 3, SETTINGS), (1, 3, SETTINGS))
    assert heard == ["process 2 of 3 did not come within 1 s; nothing was started"] * 2


def test_a_first_process_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(meeting, "MEETING_S", 0.5)
    (heard,) = meet((1, 2, SETTINGS))
    assert "process 0 at 127.0.0.1:" in heard
    assert "cannot be reached" in heard


def test_a_port_in_use_and_strangers_are_no_process(monkeypatch):
    with socket.create_server(("", 0)) as taken, pytest.raises(UserError, match="cannot be used"):
        meeting.meet(Place("127.0.0.1", taken.getsockname()[1], 2, 0), SETTINGS)
    monkeypatch.setattr(meeting, "MEETING_S", 10)
    port = free_port()

    def stranger():
        for _ in range(50):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                    connection.sendall(b"GET / HTTP/1.1\n")
                return
            except OSError:
                time.sleep(0.05)

    with ThreadPoolExecutor(1) as pool:
        heard = pool.submit(meet, (0, 2, SETTINGS), port=port)
        stranger()
        assert meet((1, 2, SETTINGS), port=port) == [None]
        assert heard.result() == [None]
