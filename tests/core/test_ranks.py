"""A process finds its rank, the number of processes and its shard, or names in one line what is missing."""

from types import SimpleNamespace

import pytest

from ipmedgan_jax.core import ranks
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.ranks import Shard

STEP = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8", "SLURM_NTASKS": "8", "SLURM_LOCALID": "3"}
SLURM = STEP | {"SLURM_JOB_ID": "4097", "SLURM_STEP_NODELIST": "gpu[017-019,022],cpu1"}
ARRAY = {"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_MIN": "2", "SLURM_ARRAY_TASK_COUNT": "3"}
OPEN_MPI_5 = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "2",
    "PMIX_NAMESPACE": "prterun-a-7@1",
}
OPEN_MPI_4 = OPEN_MPI_5 | {"OMPI_MCA_orte_hnp_uri": "1314521088.0;tcp://10.1.2.3,192.168.0.3:41523", "OMPI_VERSION": "4.1.4"}
POD = {"JOB_COMPLETION_INDEX": "2"}


@pytest.fixture
def given(monkeypatch):
    """Returns a function that sets a process's flags and environment, without other variables of a scheduler."""

    def set_up(environment, **values):
        for name in {*SLURM, *ARRAY, *OPEN_MPI_4, *POD, "JOB_COMPLETIONS", "JAX_COORDINATOR_PORT"}:
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        flags = {"coordinator": None, "processes": None, "process_id": None, "shard": None} | values
        monkeypatch.setattr(ranks, "flags", SimpleNamespace(FLAGS=SimpleNamespace(**flags)))

    return set_up


@pytest.mark.parametrize(
    ("flags", "environment", "place"),
    [
        ({}, {}, None),
        ({}, SLURM, ("gpu017:61441", 8, 3)),
        ({}, SLURM | {"SLURM_STEP_NODELIST": "node4,node7"}, ("node4:61441", 8, 3)),
        ({}, SLURM | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, None),
        ({}, {"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, None),  # the batch script
        ({"coordinator": "a:5"}, SLURM, ("a:5", 8, 3)),
        ({"coordinator": "a:5", "processes": 2, "process_id": 1}, {}, ("a:5", 2, 1)),
        ({"coordinator": "a:5", "processes": 2, "process_id": 1}, SLURM, ("a:5", 2, 1)),
        ({"coordinator": "a:5", "processes": 3}, POD, ("a:5", 3, 2)),
        ({}, POD, None),
        ({"coordinator": "a:5", "processes": 1, "process_id": 0}, {}, None),
        ({}, OPEN_MPI_4, ("10.1.2.3:62880", 4, 2)),
        ({"coordinator": "a:5"}, OPEN_MPI_5, ("a:5", 4, 2)),
    ],
)
def test_a_process_learns_its_place(given, flags, environment, place):
    given(environment, **flags)
    assert ranks.given_place() == place


def test_open_mpi_5_needs_the_coordinator_on_several_machines_only(given):
    given(OPEN_MPI_5)
    coordinator, count, rank = ranks.given_place()
    assert (coordinator.split(":")[0], count, rank) == ("127.0.0.1", 4, 2)
    given(OPEN_MPI_5 | {"OMPI_COMM_WORLD_RANK": "0"})
    assert ranks.given_place() == (coordinator, 4, 0)
    given(OPEN_MPI_5 | {"OMPI_COMM_WORLD_LOCAL_SIZE": "2"})
    with pytest.raises(UserError, match="missing for a run of several processes: --coordinator=HOST:PORT"):
        ranks.given_place()


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        ({"coordinator": "a:5"}, {}, "--processes, --process_id"),
        ({"processes": 2, "process_id": 0}, {}, "missing .*--coordinator=HOST:PORT"),
        ({"coordinator": "a", "processes": 2, "process_id": 0}, {}, "--coordinator=a: expected HOST:PORT"),
        ({"coordinator": "a:b", "processes": 2, "process_id": 0}, {}, "expected HOST:PORT"),
        ({"coordinator": "a:5", "processes": 2, "process_id": 2}, {}, "--process_id=2: expected 0 to 1"),
        ({}, SLURM | {"SLURM_STEP_NUM_TASKS": "many"}, "SLURM_STEP_NUM_TASKS=many in the environment"),
    ],
)
def test_a_place_that_is_not_complete_is_refused(given, flags, environment, message):
    given(environment, **flags)
    with pytest.raises(UserError, match=message):
        ranks.given_place()


@pytest.mark.parametrize(
    ("flag", "environment", "shard"),
    [
        (None, {}, Shard(0, 1)),
        ("3/8", {}, Shard(2, 8)),
        ("1/1", SLURM, Shard(0, 1)),
        (None, SLURM, Shard(3, 8)),
        (None, {"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, Shard(0, 1)),
        (None, ARRAY, Shard(2, 3)),
        (None, ARRAY | {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, Shard(2, 3)),  # an array's batch script
        (None, ARRAY | STEP, Shard(2 * 8 + 3, 3 * 8)),
        (None, OPEN_MPI_5, Shard(2, 4)),
        (None, POD | {"JOB_COMPLETIONS": "5"}, Shard(2, 5)),
    ],
)
def test_a_process_learns_its_shard(given, flag, environment, shard):
    given(environment, shard=flag)
    assert ranks.given_shard() == shard


@pytest.mark.parametrize(
    ("flag", "environment", "message"),
    [
        ("0/3", {}, "--shard=0/3: expected 1/N to N/N"),
        ("4/3", {}, "--shard=4/3"),
        ("3", {}, "--shard=3: expected"),
        (None, POD, "JOB_COMPLETION_INDEX without JOB_COMPLETIONS"),
        (None, POD | {"JOB_COMPLETIONS": "2"}, "rank 2 of 2 in the environment: expected 0 to 1"),
        (None, ARRAY | {"SLURM_ARRAY_TASK_ID": "9"}, "array have gaps"),
        (None, ARRAY | {"SLURM_ARRAY_TASK_ID": "x"}, "SLURM_ARRAY_TASK_ID=x in the environment: expected a whole number"),
    ],
)
def test_a_shard_that_cannot_be_is_refused(given, flag, environment, message):
    given(environment, shard=flag)
    with pytest.raises(UserError, match=message):
        ranks.given_shard()


def test_shards_divide_the_items():
    shares = [Shard(i, 3).share("abcdefgh") for i in range(3)]
    assert shares == ["adg", "beh", "cf"]
    assert Shard().share("abc") == "abc"
