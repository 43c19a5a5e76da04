"""Running several processes as one: start-up, shares of work, and collective operations on Python values."""

import itertools
import pickle
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from ipmedgan_jax.core import ranks
from ipmedgan_jax.core.errors import BAD_INPUT, UserError

T = TypeVar("T")


def start(settings: Mapping[str, Any]) -> None:
    """Joins the processes that flags or environment name; UserError in all if `settings` or code differ or one is missing."""
    if (place := ranks.given_place()) is None:
        return
    from ipmedgan_jax.distributed import rendezvous

    rendezvous.check(*place, settings)
    jax.config.update("jax_enable_preemption_service", False)  # the training loop handles signals itself
    jax.distributed.initialize(
        *place,
        # In SLURM and Open MPI, JAX would give each process one GPU. Here a process uses all GPUs that it sees: those of
        # its node or, if the scheduler assigns fewer (--gpus-per-task), of its task.
        cluster_detection_method="deactivate",
        initialization_timeout=rendezvous.TIMEOUT_S,
        heartbeat_timeout_seconds=30,  # so long after its last sign of life a lost process ends the others
        shutdown_timeout_seconds=30,
    )
    rank, sizes = jax.process_index(), Counter(device.process_index for device in jax.devices())
    if rank:
        logging.set_verbosity(logging.WARNING)  # process 0 logs the progress of the run
    described = rank, jax.process_count(), socket.gethostname(), sizes[rank], sizes.total()
    logging.warning("process     %d of %d on %s: %d device(s) of %d", *described)
    if len(set(sizes.values())) > 1:
        raise UserError(f"the processes have {', '.join(map(str, sizes.values()))} devices: expected the same number in each")


def gather(value: T) -> list[T]:
    """Returns the values of all processes, in order of rank; all must call it at the same point."""
    if jax.process_count() == 1:
        return [value]
    own = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = multihost_utils.process_allgather(np.array(len(own)))
    everyone = multihost_utils.process_allgather(np.pad(own, (0, int(sizes.max()) - len(own))))
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(everyone, sizes, strict=True)]


def share(items: Iterable[T]) -> Iterator[T]:
    """Yields this process's share: every n-th item, starting at its rank."""
    return itertools.islice(items, jax.process_index(), None, jax.process_count())


def global_index(i: int) -> int:
    """Returns the index, among all items, of the i-th item of this process's share."""
    return jax.process_index() + i * jax.process_count()


def gather_lists(values: Sequence[T]) -> list[T]:
    """Returns the results of all processes for a list divided by `share`, in the order of that list."""
    shares = gather(list(values))
    return [part[i] for i in range(max(map(len, shares))) for part in shares if i < len(part)]


def run_on_all(work: Callable[[], T]) -> T:
    """Runs `work` in each process and returns its own result; a UserError in one is raised in all, so that none waits."""
    problem = None
    try:
        result = work()
    except UserError as error:
        if jax.process_count() == 1:
            raise
        problem = str(error), error.exit_code
    for rank, other in enumerate(gather(problem)):
        if other:
            raise UserError(f"process {rank}: {other[0]}", other[1])
    return result


def run_on_first(work: Callable[[], None]) -> None:
    """Runs `work` in process 0 while all others wait; its UserError is raised in all."""
    run_on_all(lambda: work() if jax.process_index() == 0 else None)


def assert_equal(exit_code: int = BAD_INPUT, /, **values: Any) -> None:
    """Raises UserError in all processes if their `values` differ; it names the first process and value that differ."""
    everyone = gather(values)
    for rank, name in itertools.product(range(len(everyone)), values):
        if (other := everyone[rank][name]) != (first := everyone[0][name]):
            raise UserError(f"process {rank} has {name.replace('_', ' ')} {other}, process 0 {first}", exit_code)
