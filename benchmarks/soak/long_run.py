"""Trains for many small steps and samples memory, open files and the size of the run's folder.

Memory must not rise by more than 2 %, and open files not at all, from after the start-up to the last tenth of the steps. The
start-up is the first tenth, or the first 1,000 steps of a shorter run: until then programs are compiled and the heap grows.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.soak.line_plot import Plot, line_plot
from benchmarks.soak.tally import Plan, Tally
from benchmarks.soak.tiny_run import Start, shared_number

SETTINGS = {"system": "unet", "train.checkpoint_every": 200, "train.validate_every": 500, "train.log_every": 50}

ALLOWED_RISE = 0.02
"""Share of the memory after start-up."""

START_UP = 1000
"""Steps after which every program has run: one validation and some checkpoints."""

SAMPLES_S = 0.5
"""Seconds between two samples."""


@dataclass(frozen=True)
class Sample:
    """One look at the process from outside: step, resident memory and folder in bytes, open files."""

    step: int
    memory: int
    files: int
    folder: int

    def __str__(self) -> str:
        size = f"run folder {self.folder / 2**20:.2f} MiB"
        return f"(step {self.step}) memory {self.memory / 2**20:.1f} MiB, {self.files} open files, {size}"


def run(plan: Plan, before: Callable[[], None] | None = None) -> Tally:
    """Trains for `plan.count` steps; the whole run counts as one fault. Draws `long_run.png` in `plan.pictures`.

    `before` is called in the process before it trains.
    """
    step = shared_number()
    start = Start(plan.folder / "long", SETTINGS | {"train.steps": plan.count}, partial(_share_step, step, before))
    process, samples = start.process(), list[Sample]()
    process.start()
    while process.exitcode is None:
        with contextlib.suppress(OSError):  # the process ends meanwhile, or a file is removed
            samples.append(_sample(process.pid or 0, step.value, start.workdir))
        process.join(SAMPLES_S)
    tally = Tally()
    if process.exitcode:
        tally.silent.append(f"the run ended with {process.exitcode}: {start.last_words()}")
        return tally
    early, late = after_start_up(samples, plan.count)
    print(f"  after the start-up {early}; at the end {late}")
    tally.silent += rises(early, late)
    tally.harmless += not tally.silent
    if plan.pictures:
        draw(samples, plan.pictures / "long_run.png")
    return tally


def _share_step(step: "Synchronized[int]", before: Callable[[], None] | None) -> None:
    """Lets the parent see each step that the process has taken."""
    if before:
        before()
    from ipmedgan_jax.training.metrics_watch import MetricsWatch

    add = MetricsWatch.add

    def shared(self: MetricsWatch, number: int, metrics: Any) -> None:
        step.value = number
        add(self, number, metrics)

    MetricsWatch.add = shared  # type: ignore[method-assign]


def _sample(pid: int, step: int, folder: Path) -> Sample:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    size = sum(path.lstat().st_size for path in folder.rglob("*")) if folder.exists() else 0
    return Sample(step, pages * os.sysconf("SC_PAGE_SIZE"), files, size)


def after_start_up(samples: Sequence[Sample], steps: int) -> tuple[Sample, Sample]:
    """Returns the medians of the samples in the tenth of the steps after the start-up, and in the last tenth.

    Medians, because a save needs more for a moment. A part without a sample takes the nearest one.
    """
    begin = max(steps / 10, min(START_UP, steps / 2))
    early = [sample for sample in samples if begin <= sample.step < begin + steps / 10]
    late = [sample for sample in samples if sample.step >= 0.9 * steps]
    return _median(early or samples[:1]), _median(late or samples[-1:])


def _median(samples: Sequence[Sample]) -> Sample:
    return Sample(*(int(np.median(values)) for values in zip(*map(astuple, samples), strict=True)))


def rises(early: Sample, late: Sample) -> list[str]:
    """Says what rose between the two that should not."""
    found = []
    if late.memory > early.memory * (1 + ALLOWED_RISE):
        found.append(f"memory rose by {late.memory / early.memory - 1:.1%}")
    if late.files > early.files:
        found.append(f"open files rose from {early.files} to {late.files}")
    return found


def draw(samples: list[Sample], path: Path) -> None:
    """Draws the three quantities over the steps, each from 0."""
    steps = np.array([sample.step for sample in samples])
    plots = [
        Plot("resident memory, MiB", np.array([sample.memory for sample in samples]) / 2**20),
        Plot("open files", np.array([sample.files for sample in samples], float)),
        Plot("run folder, MiB", np.array([sample.folder for sample in samples]) / 2**20),
    ]
    line_plot(steps, "steps", plots, path)
