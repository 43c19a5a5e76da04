"""Runs the steps of a session one after the other, each in its own process and within its own time.

A step that fails or exceeds its time never stops the next. Standard library only.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.context import LOG_FILE, NO_GPU, Context

GRACE_S = 5.0
"""Seconds from SIGTERM to SIGKILL for a step that exceeds its time."""

_LAUNCHER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
os.nice(int(sys.argv[1]))
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""A program that asks Linux (PR_SET_PDEATHSIG) for SIGKILL when the session ends, then becomes the step: a step must not keep
the GPU. Not a `preexec_fn`, which would fork this process."""

BACKGROUND_NICE = 10
"""Niceness of a background step, for the step beside it is waited for."""


@dataclass(frozen=True)
class Step:
    """A module that is run as a program with a context and options.

    Attributes:
      seconds: the step's limit, unless `share` is set.
      share: of the time that is left when the step begins; replaces `seconds`.
      least: seconds without which the step is not worth its start.
      environment: variables of this step alone.
      background: runs beside the next step and is ended with it, for work that must not disturb a timing.
      command: replaces the module's command line, for tests.
    """

    name: str
    module: str
    seconds: float = 0.0
    share: float | None = None
    least: float = 5.0
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    background: bool = False
    command: Sequence[str] | None = None


class Interrupted(Exception):
    """Raised by a signal to the session; the step in progress is ended first."""


@dataclass
class Running:
    """A step's process, started at `start` in seconds since the epoch."""

    step: Step
    context: Context
    process: subprocess.Popen
    start: float


def run_steps(steps: Sequence[Step], context: Context, environment: dict[str, str]) -> bool:
    """Runs the steps until `context.end` and reports each one's end; returns whether all succeeded.

    Ends early, with False, if the step `machine` finds no GPU. A background step need not reach its end to succeed.
    """
    succeeded = True
    running: list[Running] = []
    try:
        for step in steps:
            left = context.end - time.time()
            limit = min(left, step.seconds if step.share is None else step.share * left)
            own = Context(step.name, context.output, context.scratch, context.start, time.time() + limit, context.rehearsal)
            if limit < min(step.least, step.seconds or step.least):
                own.report(event="skipped", reason=f"{max(limit, 0):.0f} s left, it needs {step.least:.0f}")
                succeeded = False
                continue
            running.append(start(step, own, environment))
            if step.background:
                continue
            codes = [finish(item, item.context.left() if item.step is step else 0.0) for item in reversed(running)]
            running.clear()
            succeeded &= not any(codes)
            if NO_GPU in codes:
                return False
        codes = [finish(item, item.context.left()) for item in running]  # a background step without a next one
    except BaseException:
        for item in running:
            end(item.process)
            item.context.report(event="interrupted", seconds=time.time() - item.start)
        raise
    return succeeded and not any(codes)


def start(step: Step, context: Context, environment: dict[str, str]) -> Running:
    """Starts a step, with its output in the session's log."""
    command = step.command or [sys.executable, "-m", step.module]
    launcher = [sys.executable, "-S", "-c", _LAUNCHER, str(BACKGROUND_NICE if step.background else 0)]
    arguments = [*launcher, *command, context.as_argument(), json.dumps(step.options)]
    with (Path(context.output) / LOG_FILE).open("a") as log:
        log.write(f"\n==== {step.name}, at most {context.left():.0f} s\n")
        log.flush()
        process = subprocess.Popen(
            arguments,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment | step.environment,
            start_new_session=True,
        )
    return Running(step, context, process, time.time())


def finish(running: Running, patience: float) -> int:
    """Waits for a step, ends it after `patience` seconds, and reports its end; returns its exit code, 0 in the background."""
    timed_out = False
    try:
        code = running.process.wait(max(patience, 0.1))
    except subprocess.TimeoutExpired:
        timed_out = True
        code = end(running.process)
    running.context.report(event="end", seconds=time.time() - running.start, exit_code=code, timed_out=timed_out)
    return 0 if timed_out and running.step.background else code


def end(process: subprocess.Popen) -> int:
    """Ends a process and all that it started; returns its exit code."""
    for number, patience in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, 60.0)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # what the process left running
    return process.wait()
