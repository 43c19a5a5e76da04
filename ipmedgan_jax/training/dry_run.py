"""What a training run would take: parameters, memory, steps and hours, measured on a few steps that are thrown away."""

import contextlib
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from ipmedgan_jax.data import pipeline
from ipmedgan_jax.experiment import run_folder
from ipmedgan_jax.experiment.build import Experiment
from ipmedgan_jax.systems.interface import Batch
from ipmedgan_jax.training import devices, loop

TIMED = 2
"""Dispatches that are timed in each phase, after a first one that is not."""


def estimate(experiment: Experiment, workdir: Path) -> Iterator[str]:
    """Lines, each as soon as it is known.

    Compiles the update of every phase that lies ahead and runs it on the run's own batches, from a fresh state. Nothing is
    written to the run's folder. One process with all its devices.
    """
    settings = experiment.training
    devices.check_batch_size(settings.batch_size, experiment.phases[-1].update.accumulate)
    initial = loop.InitialState(experiment)
    yield from loop.description(experiment, initial.shapes)
    done = latest_step(experiment, workdir)
    yield f"left        {max(settings.steps - done, 0)} steps" + (f"; {done} are done in {workdir}" if done else "")
    state, frozen = devices.replicate(initial.values()), devices.replicate(experiment.features.params)
    seconds, start = 0.0, done
    with contextlib.closing(loop.training_batches(experiment)) as batches:
        for phase in experiment.phases:
            if phase.last <= start:
                continue
            update = loop.compile_update(experiment, phase.update, initial)
            state, times = timed(update, state, frozen, batches, settings.steps_per_dispatch)
            per_step = statistics.mean(times) / settings.steps_per_dispatch
            seconds += (phase.last - start) * per_step
            yield f"step        {per_step:.3g} s, mean of {len(times)}; {phase.name}, steps {start + 1} to {phase.last}"
            yield f"memory      {used_memory(update)}"
            start = phase.last
    yield f"time        {seconds / 3600:.3g} hours left on this machine, beside validation, checkpoints and evaluation"


def latest_step(experiment: Experiment, workdir: Path) -> int:
    """Of the run in the folder; 0 where there is none. UserError where it is another config's."""
    if not (workdir / "checkpoints").is_dir():
        return 0
    with run_folder.open_checkpoints(experiment.training, workdir, create=False) as checkpoints:
        if checkpoints.latest_step() is None:
            return 0
        run_folder.check_same_run(experiment, workdir)
        return checkpoints.latest_step() or 0


def timed(
    update: Callable[..., Any], state: Any, frozen: Any, batches: pipeline.Batches, steps: int
) -> tuple[Any, list[float]]:
    """The state after some dispatches, and how many seconds each took but the first, reading its batch included."""
    times = []
    for _ in range(1 + TIMED):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(update(state, frozen, Batch(**devices.split_over_devices(next(batches), steps))))
        times.append(time.perf_counter() - start)
    return state, times[1:]


def used_memory(compiled: Any) -> str:
    """What the update takes of a device, and the most that was in use: of a device, or of this process (CPU)."""
    planned = loop.memory_gib(compiled)
    statistics_of_device = jax.local_devices()[0].memory_stats()
    if statistics_of_device:
        most = statistics_of_device["peak_bytes_in_use"]
    else:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    plan = "" if planned is None else f"{planned:.3g} GiB a device as compiled; "
    return f"{plan}{most / 2**30:.3g} GiB at most in use by {'a device' if statistics_of_device else 'the process'} so far"
