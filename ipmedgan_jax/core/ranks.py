"""Which process of how many this is: by flags, or by the variables of SLURM, Open MPI and Kubernetes.

Processes that train together need a connection, and so the address of the first (`find_place`). Processes that divide a
command's files need none (`Shard`).
"""

import contextlib
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from absl import flags

from ipmedgan_jax.core.errors import UserError

T = TypeVar("T")

_RANK_AND_COUNT = (
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"),  # of a Kubernetes Indexed Job, whose author has to set the second
)


def scheduled_rank() -> tuple[int | None, int | None]:
    """Rank and count in SLURM, Open MPI or Kubernetes; None for what is not known."""
    for rank_name, count_name in _RANK_AND_COUNT:
        rank, count = _whole_number(rank_name), _whole_number(count_name)
        # A SLURM batch script has a rank too, but is no task of a step.
        if rank is not None and (count is not None or rank_name != "SLURM_PROCID"):
            return rank, count
    return None, None


def _whole_number(variable: str) -> int | None:
    """Of the environment; None where it is not set."""
    value = os.environ.get(variable)
    if value is not None and not value.isdecimal():
        raise UserError(f"{variable}={value} in the environment: expected a whole number")
    return None if value is None else int(value)


# ------------------------------------------------------------------ shares of files


@dataclass(frozen=True)
class Shard:
    """Share `index`, from 0, of `count`."""

    index: int = 0
    count: int = 1

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Every `count`-th item."""
        return items[self.index :: self.count]


def define_shard_flag() -> None:
    flags.DEFINE_string(
        "shard", None, "do one of several equal shares: 3/8 is the third of eight; found in SLURM, Open MPI and Kubernetes"
    )


def given_shard() -> Shard:
    """By the flag, or else by a SLURM array, a SLURM step, Open MPI or a Kubernetes Job; all of it without any of them."""
    given = flags.FLAGS.shard
    if given is not None:
        match = re.fullmatch(r"(\d+)/(\d+)", given)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UserError(f"--shard={given}: expected 1/N to N/N, for example 3/8")
        return Shard(int(match[1]) - 1, int(match[2]))
    rank, count = scheduled_rank()
    if rank is not None and count is None:
        raise UserError("JOB_COMPLETION_INDEX without JOB_COMPLETIONS: set that to the Job's completions, or give --shard")
    if (rank or 0) >= (count or 1):
        raise UserError(f"rank {rank} of {count} in the environment: expected 0 to {(count or 1) - 1}; give --shard")
    array_id, first, jobs = (_whole_number(f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN", "COUNT"))
    if array_id is None or first is None or jobs is None:
        return Shard(rank or 0, count or 1)
    if array_id - first >= jobs:
        raise UserError("the numbers of the SLURM array have gaps: number it without, or give --shard")
    return Shard((array_id - first) * (count or 1) + (rank or 0), jobs * (count or 1))  # its jobs may have several tasks


# ------------------------------------------------------------------ processes that train together


def define_flags() -> None:
    flags.DEFINE_string("coordinator", None, "of several processes: HOST:PORT of the first; found in SLURM and Open MPI")
    flags.DEFINE_integer("processes", None, "how many processes there are; found in SLURM and Open MPI")
    flags.DEFINE_integer("process_id", None, "which of them this is, from 0; found in SLURM, Open MPI and Kubernetes")


def given_place() -> tuple[str, int, int] | None:
    """HOST:PORT of the first process, how many there are, and this one's rank; None for a process that is alone.

    By the flags; what they leave open, the scheduler says. UserError where something is missing or wrong.
    """
    coordinator, count, rank = flags.FLAGS.coordinator, flags.FLAGS.processes, flags.FLAGS.process_id
    scheduled, scheduled_count = scheduled_rank()
    if coordinator is None and count is None and rank is None and (scheduled_count or 1) < 2:
        return None
    coordinator = coordinator or _detected_coordinator()
    rank, count = scheduled if rank is None else rank, scheduled_count if count is None else count
    if coordinator is None or count is None or rank is None:
        found = {"--coordinator=HOST:PORT": coordinator, "--processes": count, "--process_id": rank}
        raise UserError(f"missing, of one of several processes: {', '.join(flag for flag in found if found[flag] is None)}")
    if not coordinator.rpartition(":")[0] or not coordinator.rpartition(":")[2].isdecimal():
        raise UserError(f"--coordinator={coordinator}: expected HOST:PORT")
    if not 0 <= rank < count:
        raise UserError(f"--process_id={rank}: expected 0 to {count - 1}, for --processes={count}")
    return (coordinator, count, rank) if count > 1 else None


def _detected_coordinator() -> str | None:
    """HOST:PORT as JAX finds it in SLURM and Open MPI 4.

    Open MPI 5 does not say where the first process is, but where all are on one machine. For Kubernetes, JAX would have to
    ask the API server, with a package and a right of its own.
    """
    from jax._src.clusters import OmpiCluster, SlurmCluster

    for cluster in (SlurmCluster, OmpiCluster):
        with contextlib.suppress(RuntimeError):  # of JAX 0.12 in Open MPI 5
            if cluster.is_env_present():
                return cluster.get_coordinator_address(None, os.environ.get("JAX_COORDINATOR_PORT"))
    if os.environ.get("OMPI_COMM_WORLD_SIZE", "?") != os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE"):
        return None
    return f"127.0.0.1:{61440 + zlib.crc32(os.environ.get('PMIX_NAMESPACE', '').encode()) % 4096}"
