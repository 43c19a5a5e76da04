"""Kills a training at seeded moments, starts it again until it is finished, and compares it with an undisturbed run.

A moment is the n-th time that the process opens, renames or makes a file in its run's folder, and up to 20 milliseconds more:
most lie within the writing of a checkpoint. All arrays of the last checkpoint must be equal to the bit.
"""

import os
import random
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import several
from benchmarks.soak.tally import Plan, Tally
from benchmarks.soak.tiny_run import Start

SETTINGS: Mapping[str, Any] = {
    "train.steps": 12,
    "train.checkpoint_every": 3,
    "train.validate_every": 6,
    "train.log_every": 2,
    "train.keep": 2,
}

EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")
"""Python's audit events that count."""

LONGEST_DELAY_S = 0.02


def run(plan: Plan, system: str = "ipmedgan") -> Tally:
    """Kills `plan.count` starts of runs of the system; a run that finishes before its next kill is followed by another."""
    rng, tally = random.Random(plan.seed), Tally()
    settings = {"system": system} | SETTINGS
    quiet = Start(plan.folder / "quiet", settings, partial(_count_events, plan.folder / "events", plan.folder / "quiet"))
    if code := quiet.run():
        tally.silent.append(f"the undisturbed run ended with {code}: {quiet.last_words()}")
        return tally
    events = int((plan.folder / "events").read_text())
    left, number = plan.count, 0
    while left:
        number += 1
        workdir, moments, code = plan.folder / f"killed-{number}", list[str](), -signal.SIGKILL
        while left and code:
            moment = Moment(rng.randrange(events * 2 // 3), rng.choice((0.0, rng.uniform(0, LONGEST_DELAY_S))))
            code = Start(workdir, settings, partial(_kill_at, moment, workdir)).run()
            moments += [str(moment)] if code else []
            left -= bool(code)
            if code not in (0, -signal.SIGKILL):
                tally.silent.append(f"{moments}: a start ended with {code}: {Start(workdir, settings).last_words()}")
                return tally
        last = Start(workdir, settings)
        code = code and last.run()
        problem = f"the last start ended with {code}: {last.last_words()}" if code else _differs(quiet, last)
        if problem:
            tally.silent += [f"kill at {moment}: {problem}" for moment in moments]
        else:
            tally.harmless += len(moments)
    return tally


@dataclass(frozen=True)
class Moment:
    """The number of an audit event in the run's folder, and seconds after it."""

    event: int
    delay_s: float

    def __str__(self) -> str:
        return f"file operation {self.event} + {1000 * self.delay_s:.0f} ms"


def _on_events(workdir: Path, act: Any) -> None:
    """Calls `act(n)` at the n-th event in the run's folder."""
    folder, lock, count = str(workdir), threading.Lock(), [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS and isinstance(arguments[0], str | os.PathLike) and os.fspath(arguments[0]).startswith(folder):
            with lock:
                count[0] += 1
                number = count[0]
            act(number)

    sys.addaudithook(hook)


def _count_events(result: Path, workdir: Path) -> None:
    """Keeps the number of events so far in the file `result`."""
    _on_events(workdir, lambda number: result.write_text(str(number)))


def _kill_at(moment: Moment, workdir: Path) -> None:
    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def act(number: int) -> None:
        if number == moment.event:
            threading.Timer(moment.delay_s, kill).start() if moment.delay_s else kill()

    _on_events(workdir, act)


def _differs(one: Start, other: Start) -> str:
    """Says how the last checkpoints of two runs differ; empty if they are equal."""
    step = SETTINGS["train.steps"]
    arrays = [several.arrays(start.workdir, step) for start in (one, other)]
    differing = sum(a.dtype != b.dtype or a.tobytes() != b.tobytes() for a, b in zip(*arrays, strict=True))
    inputs = [(run.workdir / "checkpoints" / str(step) / "input" / "metadata").read_text() for run in (one, other)]
    if differing or inputs[0] != inputs[1]:
        return f"{differing} of {len(arrays[0])} arrays differ, input state {inputs[0]} and {inputs[1]}"
    left = [path.name for path in (other.workdir / "checkpoints").iterdir() if not path.name.isdigit()]
    return f"files of killed writers are left: {left}" if left else ""
