"""The check, before JAX starts, that all processes are present and have equal settings and code.

JAX's coordination service cannot check this. If a process is missing or two have one rank, it aborts the others without
naming it, and its key-value store needs all processes. So each process first reports to process 0 by XML-RPC.
"""

import glob
import hashlib
import json
import os
import secrets
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xmlrpc import client, server

import ipmedgan_jax
from ipmedgan_jax.core.errors import BAD_INPUT, TRY_AGAIN, UserError

TIMEOUT_S = int(os.environ.get("IPMEDGAN_START_TIMEOUT_S", "50"))  # seconds that processes wait for each other


def check(coordinator: str, count: int, rank: int, settings: Mapping[str, Any]) -> None:
    """Returns when all processes have reported equal settings and code; otherwise raises UserError in all of them."""
    values = {**settings, "--processes": count, "the code of ipmedgan_jax": code_digest()}
    report = json.dumps({"id": secrets.token_hex(8), "rank": rank, "host": socket.gethostname(), "values": values})
    socket.setdefaulttimeout(5)  # limits the wait for a silent foreign client or a machine that is off
    try:
        problem, exit_code = (_report if rank else _collect)(coordinator, count, report)
    except OSError as error:
        problem, exit_code = f"{coordinator}: process 0 cannot listen there ({error.strerror}); give another port", TRY_AGAIN
    finally:
        socket.setdefaulttimeout(None)
    if problem:
        raise UserError(problem, exit_code)


def code_digest() -> str:
    """Returns a digest of all modules of the package; processes with different code would compute different networks."""
    root, digest = Path(ipmedgan_jax.__file__).parent, hashlib.sha256()
    for name in sorted(glob.glob("**/*.py", root_dir=root, recursive=True)):  # noqa: PTH207, rglob skips linked folders
        digest.update(name.encode() + b"\0" + (root / name).read_bytes())
    return digest.hexdigest()


class _Handler(server.SimpleXMLRPCRequestHandler):
    def log_message(self, *message: Any) -> None:
        """Logs nothing: a foreign client is of no interest, and another process's JAX that calls too early tries again."""


def _collect(coordinator: str, count: int, own: str) -> tuple[str, int]:
    """Process 0: collects reports until all are there or time is over, compares them, and waits until all have the answer."""
    port, deadline = int(coordinator.rpartition(":")[2]), time.monotonic() + TIMEOUT_S
    reports, answer, told = {own: json.loads(own)}, list[Any](), {own}

    def report(text: Any) -> Any:
        reports.setdefault(text, json.loads(text))
        told.update([text] if answer else [])
        return answer

    with server.SimpleXMLRPCServer(("", port), _Handler) as listener:
        listener.timeout = 0.2
        listener.register_function(report)
        while len(reports) < count and time.monotonic() < deadline:
            listener.handle_request()
        answer += first_disagreement(list(reports.values()), count)
        deadline = time.monotonic() + 10
        while len(told) < len(reports) and time.monotonic() < deadline:
            listener.handle_request()
    return answer[0], answer[1]


def first_disagreement(reports: list[dict[str, Any]], count: int) -> tuple[str, int]:
    """Returns the first problem in the processes' reports, process 0 first, with its exit code; ("", 0) if there is none."""
    hosts: dict[int, str] = {}
    for report in reports:
        name, first, values = f"process {report['rank']} on {report['host']}", reports[0]["values"], report["values"]
        if differing := sorted(key for key in first.keys() | values.keys() if first.get(key) != values.get(key)):
            return f"{name} differs from process 0 in {', '.join(differing)}", BAD_INPUT
        if report["rank"] in hosts:
            return f"{name} has the --process_id of another on {hosts[report['rank']]}: give each its own", BAD_INPUT
        hosts[report["rank"]] = report["host"]
    if missing := ", ".join(str(rank) for rank in range(count) if rank not in hosts):
        return f"process {missing} of {count} did not connect within {TIMEOUT_S} s; nothing was started", TRY_AGAIN
    return "", 0


def _report(coordinator: str, count: int, own: str) -> tuple[str, int]:
    """Any other process: sends its report to process 0 repeatedly until that returns the answer."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            if isinstance(answer := client.ServerProxy(f"http://{coordinator}").report(own), list) and answer:
                return answer[0], answer[1]
            deadline = max(deadline, time.monotonic() + 10)
        except Exception as error:  # process 0 is not up yet, or another server uses its port
            if time.monotonic() > deadline:
                return f"process 0 at {coordinator} cannot be reached ({error})", TRY_AGAIN
        time.sleep(0.2)
