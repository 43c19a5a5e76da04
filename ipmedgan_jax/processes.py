"""Several processes as one run: how they find each other, what each one's part is, and how they agree.

A process is alone unless flags or its cluster's environment say that it has companions: --coordinator, --processes and
--process_id, or SLURM's and Open MPI's variables, or a Kubernetes Job's index. They first meet over a plain socket, so that a
missing process, another configuration or other code is said in one line; then `jax.distributed` takes over. Where one is lost
later, the others are stopped within about `HEARTBEAT_S`, and whatever started them starts them again.
"""

import contextlib
import hashlib
import itertools
import json
import os
import pickle
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from absl import flags, logging

import ipmedgan_jax
from ipmedgan_jax.errors import UserError

T = TypeVar("T")

MEETING_S = 50
"""Seconds that processes wait for each other at the start."""

HEARTBEAT_S = 30
"""Seconds without a sign of life after which a process counts as lost."""


@dataclass(frozen=True)
class Place:
    """Where a process stands: the address of the first one, how many there are, and which it is."""

    host: str
    port: int
    count: int
    index: int


def define_flags() -> None:
    flags.DEFINE_string("coordinator", None, "of several processes: HOST:PORT of the first; SLURM and Open MPI say it")
    flags.DEFINE_integer("processes", None, "how many processes there are; SLURM and Open MPI say it")
    flags.DEFINE_integer("process_id", None, "which of them this one is, from 0; SLURM, Open MPI and Kubernetes say it")


def start(settings: Mapping[str, Any]) -> None:
    """Joins the processes that the flags or the environment name; does nothing for a process that is alone.

    `settings` must be the same in all of them. UserError, in all of them, where they are not, where their code differs, or
    where not all are there within `MEETING_S`.
    """
    given = flags.FLAGS
    place = find_place(given.coordinator, given.processes, given.process_id, os.environ)
    if place is None:
        return
    meet(place, {"settings": dict(settings), "code": code_digest()})
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # signals are the training loop's own business
    jax.distributed.initialize(
        f"{place.host}:{place.port}",
        place.count,
        place.index,
        initialization_timeout=MEETING_S,
        heartbeat_timeout_seconds=HEARTBEAT_S,
        shutdown_timeout_seconds=HEARTBEAT_S,
    )
    if place.index:
        logging.set_verbosity(logging.WARNING)  # the first one says what is to be said of the run
    logging.warning(
        "process     %d of %d on %s: %d device(s) of %d",
        *(place.index, place.count, socket.gethostname(), jax.local_device_count(), jax.device_count()),
    )


def find_place(
    coordinator: str | None, processes: int | None, process_id: int | None, environment: Mapping[str, str]
) -> Place | None:
    """From the flags, and what they leave open from the cluster's variables; None for a process that is alone.

    UserError for a place that is not whole.
    """
    if coordinator is None and processes is None and process_id is None:
        found = _of_cluster(environment)
        if found is None or found.count < 2:
            return None
        return found
    cluster = _of_cluster(environment)
    if process_id is None:
        index = environment.get("JOB_COMPLETION_INDEX")  # of a Kubernetes Indexed Job
        process_id = int(index) if index is not None else cluster.index if cluster else None
    if processes is None and cluster is not None:
        processes = cluster.count
    known = {"--coordinator": coordinator, "--processes": processes, "--process_id": process_id}
    if missing := [name for name, value in known.items() if value is None]:
        raise UserError(f"{' and '.join(missing)} missing: a process of several needs to be told, or started by a cluster")
    assert coordinator is not None
    assert processes is not None
    assert process_id is not None
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"--coordinator={coordinator}: wanted HOST:PORT")
    if not 0 <= process_id < processes:
        raise UserError(f"--process_id={process_id}: wanted 0 to {processes - 1}, for --processes={processes}")
    return Place(host, int(port), processes, process_id) if processes > 1 else None


def _of_cluster(environment: Mapping[str, str]) -> Place | None:
    """What SLURM or Open MPI say; ports are chosen by the job's number, so that jobs on one machine do not meet."""
    try:
        if "SLURM_PROCID" in environment and "SLURM_STEP_NODELIST" in environment:
            first = re.sub(r"\[(\d+).*", r"\1", environment["SLURM_STEP_NODELIST"]).split(",")[0]
            port = _port(int(environment["SLURM_JOB_ID"]))
            return Place(first, port, int(environment["SLURM_NTASKS"]), int(environment["SLURM_PROCID"]))
        if "OMPI_COMM_WORLD_SIZE" in environment:
            launcher = environment.get("PMIX_SERVER_URI2", environment.get("OMPI_MCA_orte_hnp_uri", ""))
            address = re.search(r"tcp4?://([\d.]+)", launcher)
            count, index = int(environment["OMPI_COMM_WORLD_SIZE"]), int(environment["OMPI_COMM_WORLD_RANK"])
            port = _port(int(hashlib.sha256(launcher.split(".")[0].encode()).hexdigest()[:8], 16))
            return Place(address.group(1) if address else "", port, count, index)
    except (KeyError, ValueError) as error:
        raise UserError(f"the cluster's variables do not say where this process stands ({error!r})") from error
    return None


def _port(job: int) -> int:
    return 61440 + job % 4096


def code_digest() -> str:
    """Of the package's own files: processes that run other code make another network, or none."""
    digest = hashlib.sha256(ipmedgan_jax.__version__.encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


# ------------------------------------------------------------------ meeting


def meet(place: Place, mine: Mapping[str, Any]) -> None:
    """Returns when all processes are there and say the same of themselves; else UserError in all of them."""
    deadline = time.monotonic() + MEETING_S
    verdict = _receive(place, mine, deadline) if place.index == 0 else _ask(place, mine, deadline)
    if verdict:
        raise UserError(verdict)


def _receive(place: Place, mine: Mapping[str, Any], deadline: float) -> str:
    """The first process: hears all others, judges, and tells them; returns what is wrong, or nothing."""
    heard: dict[int, Mapping[str, Any]] = {0: {**mine, "index": 0, "count": place.count, "host": socket.gethostname()}}
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(socket.create_server(("", place.port), backlog=place.count))
        except OSError as error:
            raise UserError(f"port {place.port}: cannot be used ({error.strerror}); give another --coordinator") from error
        others, verdict = [], ""
        while len(heard) < place.count and not verdict:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                other = stack.enter_context(server.accept()[0])
                other.settimeout(5)
                said = json.loads(_read_line(other))
                verdict = _against(heard, said, place.count)
                heard[said["index"]] = said
                others.append(other)
            except TimeoutError:
                missing = ", ".join(str(i) for i in range(place.count) if i not in heard)
                verdict = f"process {missing} of {place.count} did not come within {MEETING_S} s; nothing was started"
            except (OSError, ValueError, KeyError, TypeError):
                continue  # not one of ours
        for other in others:
            with contextlib.suppress(OSError):
                other.sendall(json.dumps({"verdict": verdict}).encode() + b"\n")
                other.recv(1)  # they close first, so that the port is free at once
    return verdict


def _against(heard: Mapping[int, Mapping[str, Any]], said: Mapping[str, Any], count: int) -> str:
    """What is wrong with what one more process says of itself."""
    name = f"process {said['index']} on {said['host']}"
    if said["count"] != count:
        return f"{name} was started as one of {said['count']}, process 0 as one of {count}: give all the same --processes"
    if said["index"] in heard:
        return f"{name} has the number of another on {heard[said['index']]['host']}: give each its own --process_id"
    if said["code"] != heard[0]["code"]:
        return f"{name} runs other code than process 0: install the same version of ipmedgan_jax for all"
    mine, other = (each["settings"] for each in (heard[0], said))
    differing = sorted(key for key in mine.keys() | other.keys() if mine.get(key) != other.get(key))
    if differing:
        return f"{name} has other settings than process 0: {', '.join(differing)}"
    return ""


def _ask(place: Place, mine: Mapping[str, Any], deadline: float) -> str:
    """Any other process: tells the first one about itself and waits for its verdict."""
    message = json.dumps({**mine, "index": place.index, "count": place.count, "host": socket.gethostname()}).encode()
    while True:
        try:
            with socket.create_connection((place.host, place.port), timeout=2) as first:
                first.sendall(message + b"\n")
                first.settimeout(MEETING_S + 10)
                return str(json.loads(_read_line(first))["verdict"])
        except (OSError, ValueError) as error:
            if time.monotonic() > deadline:
                return f"process 0 at {place.host}:{place.port} cannot be reached ({error})"
            time.sleep(0.2)


def _read_line(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        return stream.readline()


# ------------------------------------------------------------------ agreeing


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
    result, problem = None, ""
    try:
        result = work()
    except UserError as error:
        problem = str(error)
    problems = [f"process {i}: {each}" for i, each in enumerate(gather(problem)) if each]
    if problems:
        raise UserError(problems[0])
    return result  # type: ignore[return-value]


class Vote:
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
