"""Rank and number of processes, from flags or from the environment of SLURM, Open MPI or Kubernetes.

Processes that train together need a connection, and therefore the address of process 0 (`given_place`). Processes that
divide a command's files need none (`Shard`).
"""

import contextlib
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from absl import flags

from ipmedgan_jax.core.errors import UserError

T = TypeVar("T")

_RANK_AND_COUNT = (
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"),  # Kubernetes Indexed Job; the Job's author must set the second
)


def scheduled_rank() -> tuple[int | None, int | None]:
    """Returns rank and number of processes in SLURM, Open MPI or Kubernetes; None for each that is unknown."""
    for rank_name, count_name in _RANK_AND_COUNT:
        rank, count = _read_number(rank_name), _read_number(count_name)
        # SLURM gives a batch script a rank too, although it is not a task of a step.
        if rank is not None and (count is not None or rank_name != "SLURM_PROCID"):
            return rank, count
    return None, None


def _read_number(variable: str) -> int | None:
    """Reads a whole number from an environment variable; None if it is not set."""
    value = os.environ.get(variable)
    if value is not None and not value.isdecimal():
        raise UserError(f"{variable}={value} in the environment: expected a whole number")
    return None if value is None else int(value)


# ------------------------------------------------------------------ shares of files


@dataclass(frozen=True)
class Shard:
    """One of `count` equal shares of a command's files; `index` starts at 0.

    `origin` says where it comes from, for messages: the flag or a scheduler.
    """

    index: int = 0
    count: int = 1
    origin: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"share {self.index + 1} of {self.count} ({self.origin})"

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Returns every `count`-th item, from `index` on."""
        return items[self.index :: self.count]


def define_shard_flag() -> None:
    flags.DEFINE_string(
        "shard",
        None,
        "which of several equal shares to do, for example 3/8 for the third of eight; by default from SLURM, Open MPI or "
        "Kubernetes, else all",
    )


def given_shard() -> Shard:
    """Returns this process's shard: that of the flag or, without it, `scheduled_shard`. UserError if either is wrong."""
    return flag_shard() or scheduled_shard()


def flag_shard() -> Shard | None:
    """Returns the shard that the flag names; None without it. UserError if it is out of range."""
    given = flags.FLAGS.shard
    if given is None:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", given)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"--shard={given}: expected 1/N to N/N, for example 3/8")
    return Shard(int(match[1]) - 1, int(match[2]), "--shard")


def scheduled_shard() -> Shard:
    """Returns this process's shard in a SLURM array, a SLURM step, Open MPI or a Kubernetes Job; everything outside of these.

    UserError if the environment is incomplete or out of range.
    """
    rank, count = scheduled_rank()
    if rank is not None and count is None:
        raise UserError(
            "JOB_COMPLETION_INDEX without JOB_COMPLETIONS: set JOB_COMPLETIONS to the Job's completions, or give --shard"
        )
    if (rank or 0) >= (count or 1):
        raise UserError(f"rank {rank} of {count} in the environment: expected 0 to {(count or 1) - 1}; give --shard")
    array_id, first, jobs = (_read_number(f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN", "COUNT"))
    if array_id is None or first is None or jobs is None:
        return Shard(rank or 0, count or 1, "tasks of the scheduler")
    if array_id - first >= jobs:
        raise UserError("the numbers of the SLURM array have gaps: use consecutive numbers, or give --shard")
    count = count or 1  # a job of the array may have several tasks
    return Shard((array_id - first) * count + (rank or 0), jobs * count, "SLURM array")


# ------------------------------------------------------------------ processes that train together


def define_flags() -> None:
    flags.DEFINE_string("coordinator", None, "address of process 0, HOST:PORT; by default from SLURM or Open MPI")
    flags.DEFINE_integer("processes", None, "number of processes; by default from SLURM, Open MPI or Kubernetes, else 1")
    flags.DEFINE_integer(
        "process_id", None, "number of this process, starting at 0; by default from SLURM, Open MPI or Kubernetes"
    )


def given_place() -> tuple[str, int, int] | None:
    """Returns the address of process 0 (HOST:PORT), the number of processes and this one's rank; None for a single process.

    Flags come first; the scheduler's environment gives the rest. UserError if a value is missing or wrong.
    """
    coordinator, count, rank = flags.FLAGS.coordinator, flags.FLAGS.processes, flags.FLAGS.process_id
    scheduled, scheduled_count = scheduled_rank()
    if coordinator is None and count is None and rank is None and (scheduled_count or 1) < 2:
        return None
    coordinator = coordinator or _detected_coordinator()
    rank, count = scheduled if rank is None else rank, scheduled_count if count is None else count
    if coordinator is None or count is None or rank is None:
        found = {"--coordinator=HOST:PORT": coordinator, "--processes": count, "--process_id": rank}
        missing = ", ".join(flag for flag in found if found[flag] is None)
        raise UserError(f"missing for a run of several processes: {missing}")
    if not coordinator.rpartition(":")[0] or not coordinator.rpartition(":")[2].isdecimal():
        raise UserError(f"--coordinator={coordinator}: expected HOST:PORT")
    if not 0 <= rank < count:
        raise UserError(f"--process_id={rank}: expected 0 to {count - 1}, for --processes={count}")
    return (coordinator, count, rank) if count > 1 else None


def _detected_coordinator() -> str | None:
    """Returns HOST:PORT of process 0 in SLURM and Open MPI, or None if the environment does not give it.

    JAX detects it in SLURM and Open MPI 4. Open MPI 5 does not give the host of process 0; if all processes are on one
    machine, it is this one. In Kubernetes JAX would have to ask the API server, which needs another package and a permission.
    """
    from jax._src.clusters import OmpiCluster, SlurmCluster

    for cluster in (SlurmCluster, OmpiCluster):
        with contextlib.suppress(RuntimeError):  # JAX 0.12 raises it in Open MPI 5
            if cluster.is_env_present():
                return cluster.get_coordinator_address(None, os.environ.get("JAX_COORDINATOR_PORT"))
    if os.environ.get("OMPI_COMM_WORLD_SIZE", "?") != os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE"):
        return None
    return f"127.0.0.1:{61440 + zlib.crc32(os.environ.get('PMIX_NAMESPACE', '').encode()) % 4096}"
