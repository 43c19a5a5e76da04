"""Several processes as one run of JAX: what each one's part is, and how they agree.

After they have met (`meeting`) `jax.distributed` takes over. Where one is lost later, the others are stopped within about
`HEARTBEAT_S`, and whatever started them starts them again.
"""

import itertools
import pickle
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from absl import logging

from ipmedgan_jax.core.errors import BAD_INPUT, UserError
from ipmedgan_jax.distributed import meeting

T = TypeVar("T")

HEARTBEAT_S = 30
"""Seconds without a sign of life after which a process counts as lost."""


def start(settings: Mapping[str, Any]) -> None:
    """Joins the processes that the flags or the environment name; does nothing for a process that is alone.

    `settings` must be the same in all of them. UserError, in all of them, where they are not, where their code differs, or
    where not all are there within `meeting.MEETING_S`.
    """
    place = meeting.given_place()
    if place is None:
        return
    meeting.part(place, meeting.meet(place, settings))
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # signals are the training loop's own business
    jax.distributed.initialize(
        f"{place.host}:{place.port}",
        place.count,
        place.index,
        initialization_timeout=meeting.MEETING_S,
        heartbeat_timeout_seconds=HEARTBEAT_S,
        shutdown_timeout_seconds=HEARTBEAT_S,
        cluster_detection_method="deactivate",  # it would take one GPU of each node for all there are
    )
    if place.index:
        logging.set_verbosity(logging.WARNING)  # the first one says what is to be said of the run
    logging.warning(
        "process     %d of %d on %s: %d device(s) of %d",
        *(place.index, place.count, socket.gethostname(), jax.local_device_count(), jax.device_count()),
    )
    devices = [len(each) for each in _by_process(jax.devices()).values()]
    if len(set(devices)) > 1:
        raise UserError(f"the processes have {', '.join(map(str, devices))} devices: wanted as many in each")


def _by_process(devices: Sequence[Any]) -> dict[int, list[Any]]:
    by_process: dict[int, list[Any]] = {}
    for device in devices:
        by_process.setdefault(device.process_index, []).append(device)
    return by_process


def count() -> int:
    import jax

    return jax.process_count()


def index() -> int:
    import jax

    return jax.process_index()


def first() -> bool:
    """Whether this is the process that writes what all have made."""
    return index() == 0


def gather(value: T) -> list[T]:
    """Every process's value, in order of the processes; called by all of them at the same place."""
    if count() == 1:
        return [value]
    from jax.experimental import multihost_utils

    mine = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.array([len(mine)]))).ravel()
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: len(mine)] = mine
    everyone = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(everyone, sizes, strict=True)]


def gather_lists(values: Sequence[T]) -> list[T]:
    """What every process has done of a list whose items were dealt out by `share`, in the list's order."""
    parts = gather(list(values))
    return [part[i] for i in range(max(map(len, parts))) for part in parts if i < len(part)]


def share(items: Iterable[T]) -> Iterator[T]:
    """This process's part: every n-th item, from its own number on."""
    return itertools.islice(items, index(), None, count())


def number(i: int) -> int:
    """The place among all items of the i-th in this process's share."""
    return index() + i * count()


def together(work: Callable[[], T]) -> T:
    """Runs each process's own `work`; where one's raises UserError, all raise it, and none waits for it in vain."""
    if count() == 1:
        return work()
    result, problem = None, None
    try:
        result = work()
    except UserError as error:
        problem = str(error), error.exit_code
    for i, each in enumerate(gather(problem)):
        if each:
            raise UserError(f"process {i}: {each[0]}", each[1])
    return result  # type: ignore[return-value]


def by_first(work: Callable[[], None]) -> None:
    """The first process does the work, and all wait for it; its UserError is raised in all."""
    together(lambda: work() if first() else None)


def agree(exit_code: int = BAD_INPUT, /, **values: Any) -> None:
    """UserError, in all of them, where the processes do not say the same; `values` are named in it."""
    for i, other in enumerate(said := gather(values)):
        if differing := [name for name in values if other[name] != said[0][name]]:
            name = differing[0]
            raise UserError(f"process {i} has {name.replace('_', ' ')} {other[name]}, process 0 {said[0][name]}", exit_code)


class DelayedMax:
    """The highest number that any process has said at a step, known to all at the next step, without waiting for a device."""

    def __init__(self) -> None:
        import jax

        self._highest = jax.pmap(lambda said: jax.lax.pmax(said, "all"), axis_name="all", out_axes=None)
        self._pending: Any = None

    def cast(self, said: int) -> int:
        """Called by all processes at the same steps; the same in all of them."""
        import jax

        if count() == 1:
            return said
        before, self._pending = self._pending, self._highest(np.full(jax.local_device_count(), said, np.int32))
        return 0 if before is None else int(before)
