"""Estimates the parameters, memory, steps and hours of a training run from a few steps, whose results are discarded."""

import contextlib
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from ipmedgan_jax.data.batches import NumpyBatch
from ipmedgan_jax.experiment import run_folder
from ipmedgan_jax.experiment.build import Experiment
from ipmedgan_jax.systems.interface import Batch
from ipmedgan_jax.training import devices, loop, start

TIMED = 2
"""Dispatches timed in each phase, after a first one that is not timed."""


def estimate(experiment: Experiment, workdir: Path) -> Iterator[str]:
    """Yields the lines of the estimate, each as soon as it is known.

    Compiles the update of every phase that is left and runs it on the run's own batches, from a fresh state. Writes nothing
    to the run's folder. Uses one process with all its devices.
    """
    settings = experiment.training
    devices.check_batch_size(settings.batch_size, experiment.phases[-1].update.accumulate)
    start.check_first_run(experiment, workdir)
    initial = start.InitialState(experiment)
    yield from start.description(experiment, initial.shapes)
    done = latest_step(experiment, workdir)
    yield f"left        {max(settings.steps - done, 0)} steps" + (f"; {done} are done in {workdir}" if done else "")
    state, frozen = devices.replicate(initial.values()), devices.replicate(experiment.features.params)
    seconds, first = 0.0, done
    add_targets = loop.make_add_targets(experiment)
    with contextlib.closing(loop.training_batches(experiment)) as batches:
        for phase in experiment.phases:
            if phase.last <= first:
                continue
            update = loop.compile_update(experiment, phase.update, initial)
            complete = map(add_targets, batches)
            state, times = time_dispatches(update, state, frozen, complete, settings.steps_per_dispatch)
            per_step = statistics.mean(times) / settings.steps_per_dispatch
            seconds += (phase.last - first) * per_step
            yield f"step        {per_step:.3g} s, mean of {len(times)}; {phase.name}, steps {first + 1} to {phase.last}"
            yield f"memory      {used_memory(update)}"
            first = phase.last
    yield f"time        {seconds / 3600:.3g} hours left on this machine, beside validation, checkpoints and evaluation"


def latest_step(experiment: Experiment, workdir: Path) -> int:
    """Returns the latest step of the run in the folder, 0 without a run. UserError if the run has another config."""
    if not (workdir / "checkpoints").is_dir():
        return 0
    with run_folder.open_checkpoints(experiment.training, workdir, create=False) as checkpoints:
        if checkpoints.latest_step() is None:
            return 0
        run_folder.check_same_run(experiment, workdir)
        return checkpoints.latest_step() or 0


def time_dispatches(
    update: Callable[..., Any], state: Any, frozen: Any, batches: Iterator[NumpyBatch], steps: int
) -> tuple[Any, list[float]]:
    """Runs a few dispatches; returns the state after them, and the seconds that each took except the first.

    The time includes reading the batch and, as in the first epoch, computing its targets (`train.target_cache_gib`).
    """
    times = []
    for _ in range(1 + TIMED):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(update(state, frozen, Batch(**devices.split_over_devices(next(batches), steps))))
        times.append(time.perf_counter() - start)
    return state, times[1:]


def used_memory(compiled: Any) -> str:
    """Describes the memory that the compiled update needs on a device, and the peak in use by a device or (CPU) process."""
    planned = loop.memory_gib(compiled)
    device_statistics = jax.local_devices()[0].memory_stats()
    if device_statistics:
        peak = device_statistics["peak_bytes_in_use"]
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    plan = "" if planned is None else f"{planned:.3g} GiB a device as compiled; "
    return f"{plan}{peak / 2**30:.3g} GiB at most in use by {'a device' if device_statistics else 'the process'} so far"
