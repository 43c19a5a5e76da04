"""How several processes find each other: each one's place by flags or by its cluster's variables, and a first meeting.

A process is alone unless flags or its cluster's environment say that it has companions: --coordinator, --processes and
--process_id, or SLURM's and Open MPI's variables, or a Kubernetes Job's index. They meet over a plain socket of the first, so
that a missing process, other settings or other code are said in one line, in all of them.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import flags

import ipmedgan_jax
from ipmedgan_jax.core.errors import BAD_INPUT, TRY_AGAIN, UserError

MEETING_S = int(os.environ.get("IPMEDGAN_MEETING_S", "50"))
"""Seconds that processes wait for each other at the start."""

BEAT_S, SILENCE_S = 5, 60
"""Seconds between signs of life while a process works, and without any after which it counts as lost."""


class Line:
    """A connection to another process, for one JSON value a line. Both ways raise OSError or ValueError where it is gone."""

    def __init__(self, connection: socket.socket):
        self._connection, self._stream = connection, connection.makefile("rb")
        self._sending, self._closed = threading.Lock(), threading.Event()

    def patience(self, seconds: float | None) -> None:
        """How long to wait for the other; None: for ever."""
        self._connection.settimeout(seconds)

    def beat(self) -> None:
        """From now on gives signs of life (empty lines), and wants them: a silent other counts as gone."""
        self.patience(SILENCE_S)
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        with contextlib.suppress(OSError):
            while not self._closed.wait(BEAT_S):
                self._send(b"\n")

    def send(self, value: Any) -> None:
        self._send(json.dumps(value).encode() + b"\n")

    def _send(self, line: bytes) -> None:
        with self._sending:
            self._connection.sendall(line)

    def hear(self) -> Any:
        while (line := self._stream.readline()) == b"\n":
            pass
        if not line.endswith(b"\n"):
            raise ConnectionResetError("closed by the other")
        return json.loads(line)

    def close(self) -> None:
        self._closed.set()
        self._stream.close()
        self._connection.close()


Connections = dict[int, Line]
"""{process: connection}: the first's to all others, or another's to the first."""


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


def flags_of_all() -> dict[str, str]:
    """A command's flags that all its processes must be given alike."""
    own = ("coordinator", "processes", "process_id")
    return {f"--{name}": str(value) for name, value in flags.FLAGS.flag_values_dict().items() if name not in own}


def given_place() -> Place | None:
    """By this command's flags and environment; None for a process that is alone."""
    given = flags.FLAGS
    return find_place(given.coordinator, given.processes, given.process_id, os.environ)


def find_place(
    coordinator: str | None, processes: int | None, process_id: int | None, environment: Mapping[str, str]
) -> Place | None:
    """From the flags, and what they leave open from the cluster's variables; None for a process that is alone.

    UserError for a place that is not whole.
    """
    if coordinator is None and processes is None and process_id is None:
        found = _cluster_place(environment)
        if found is None or found.count < 2:
            return None
        if not found.host:
            raise UserError(
                "Open MPI does not say where the first process is: give --coordinator=HOST:PORT of rank 0's machine"
            )
        return found
    cluster = _cluster_place(environment)
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


def _cluster_place(environment: Mapping[str, str]) -> Place | None:
    """What SLURM or Open MPI say; ports are chosen by the job's and the step's number, so that none on one machine meet."""
    try:
        if "SLURM_PROCID" in environment and "SLURM_STEP_NODELIST" in environment:
            first = re.sub(r"\[(\d+).*", r"\1", environment["SLURM_STEP_NODELIST"]).split(",")[0]
            port = _port(int(environment["SLURM_JOB_ID"]) + 1021 * int(environment.get("SLURM_STEP_ID", "0")))
            return Place(first, port, int(environment["SLURM_NTASKS"]), int(environment["SLURM_PROCID"]))
        if "OMPI_COMM_WORLD_SIZE" in environment:
            count, index = int(environment["OMPI_COMM_WORLD_SIZE"]), int(environment["OMPI_COMM_WORLD_RANK"])
            job = environment.get("PMIX_NAMESPACE", environment.get("OMPI_MCA_orte_hnp_uri", ""))
            port = _port(int(hashlib.sha256(job.encode()).hexdigest()[:8], 16))
            if int(environment["OMPI_COMM_WORLD_LOCAL_SIZE"]) == count:
                return Place("127.0.0.1", port, count, index)
            launcher = re.search(r"tcp4?://([\d.]+)", environment.get("OMPI_MCA_orte_hnp_uri", ""))  # Open MPI 4's
            return Place(launcher.group(1) if launcher else "", port, count, index)
    except (KeyError, ValueError) as error:
        raise UserError(f"the cluster's variables do not say where this process stands ({error!r})") from error
    return None


def _port(job: int) -> int:
    return 61440 + job % 4096


def code_digest() -> str:
    """Of the package's own files: processes that run other code make another network, or none."""
    digest = hashlib.sha256(ipmedgan_jax.__version__.encode())
    for path in sorted(Path(ipmedgan_jax.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def meet(place: Place, settings: Mapping[str, Any]) -> Connections:
    """Returns when all processes are there, with the same settings and code; else UserError in all of them."""
    deadline = time.monotonic() + MEETING_S
    mine = {"settings": dict(settings), "code": code_digest(), "count": place.count, "index": place.index}
    mine["host"] = socket.gethostname()
    verdict, connections = (_receive if place.index == 0 else _ask)(place, mine, deadline)
    if verdict is not None:
        part(place, connections)
        raise verdict
    return connections


def part(place: Place, connections: Connections) -> None:
    """Closes what `meet` has opened; the others first, so that the first one's port is free at once."""
    for line in connections.values():
        if place.index == 0:
            line.patience(2)
            with contextlib.suppress(OSError, ValueError):
                line.hear()
        line.close()


def _receive(place: Place, mine: Mapping[str, Any], deadline: float) -> tuple[UserError | None, Connections]:
    """The first process: hears all others, judges, and tells them, late ones too; returns what is wrong."""
    heard, verdict = {0: mine}, ""
    exit_code = BAD_INPUT
    others: list[tuple[int, Line]] = []
    try:
        server = socket.create_server(("", place.port), backlog=place.count)
    except OSError as error:
        busy = error.errno == errno.EADDRINUSE  # by what may be gone soon: a run that is just ending
        what = f"port {place.port}: cannot be used ({error.strerror}); give another --coordinator"
        raise UserError(what, TRY_AGAIN if busy else BAD_INPUT) from error
    with server:
        while len(others) < place.count - 1:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                other = Line(server.accept()[0])
            except TimeoutError:
                missing = ", ".join(str(i) for i in range(place.count) if i not in heard)
                if not verdict:
                    verdict = f"process {missing} of {place.count} did not come within {MEETING_S} s; nothing was started"
                    exit_code = TRY_AGAIN
                break
            other.patience(5)
            try:
                said = other.hear()
                verdict = verdict or _against(heard, said, place.count)
                heard[said["index"]] = said
                others.append((said["index"], other))
            except (OSError, ValueError, KeyError, TypeError):
                other.close()  # not one of ours
    for _, other in others:
        other.patience(None)
        with contextlib.suppress(OSError):
            other.send({"verdict": verdict, "exit_code": exit_code})
    if verdict:  # not by process: two may have said the same number
        for _, other in others:
            part(place, {0: other})
        return UserError(verdict, exit_code), {}
    return None, dict(others)


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


def _ask(place: Place, mine: Mapping[str, Any], deadline: float) -> tuple[UserError | None, Connections]:
    """Any other process: tells the first one about itself and waits for its verdict."""
    while True:
        try:
            first = Line(socket.create_connection((place.host, place.port), timeout=2))
            try:
                first.send(mine)
                first.patience(MEETING_S + 10)
                said = first.hear()
                verdict = UserError(str(said["verdict"]), int(said["exit_code"])) if said["verdict"] else None
            except (OSError, ValueError, KeyError, TypeError):
                first.close()
                raise
            first.patience(None)
            return verdict, {0: first}
        except (OSError, ValueError, KeyError, TypeError) as error:
            if time.monotonic() > deadline:
                return UserError(f"process 0 at {place.host}:{place.port} cannot be reached ({error})", TRY_AGAIN), {}
            time.sleep(0.2)
