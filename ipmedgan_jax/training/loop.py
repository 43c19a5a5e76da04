"""The training loop: one for every system.

A run lives in its folder: `config.json`, `checkpoints/`, `tensorboard/`, `examples/`. A run that exists is gone on with,
bit for bit, from its latest checkpoint: state, order of the slices and holes included.
"""

import contextlib
import enum
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from ipmedgan_jax.core import runtime
from ipmedgan_jax.core.errors import NOT_FINITE, TRY_AGAIN, UserError
from ipmedgan_jax.data import pipeline
from ipmedgan_jax.distributed import processes
from ipmedgan_jax.experiment import run_folder
from ipmedgan_jax.experiment.build import Experiment, Phase
from ipmedgan_jax.experiment.checkpoints import Checkpoints
from ipmedgan_jax.systems.interface import Batch, Metrics
from ipmedgan_jax.systems.update import TrainState, Update, init_state, train_steps
from ipmedgan_jax.training import devices, validation
from ipmedgan_jax.training.summaries import Progress, Summaries

OUT_OF_TIME, SIGNALLED = 1, 2
"""Reasons to stop; the graver one is the higher."""

EARLY_STEPS = 3
"""Steps until the first report: the first steps of a large network take long, and people wait for the time left."""


class Outcome(enum.Enum):
    """Why training returned."""

    FINISHED = "finished"
    ALREADY_DONE = "already done"
    OUT_OF_TIME = "out of time"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"


def train(experiment: Experiment, workdir: Path) -> Outcome:
    """Trains until the run is finished, its minutes are over, or a signal asks it to stop; always ends on a checkpoint.

    Raises:
      UserError: the folder is another config's or cannot be written, a checkpoint is damaged, or a number is not finite.
    """
    settings = experiment.training
    devices.check_batch_size(settings.batch_size, experiment.phases[-1].update.accumulate)
    with contextlib.ExitStack() as stack:
        stack.enter_context(run_folder.lock_run(experiment, workdir))
        checkpoints = stack.enter_context(run_folder.open_checkpoints(settings, workdir))
        processes.assert_equal(TRY_AGAIN, latest_checkpoint=checkpoints.latest_step())  # listings may be old
        if (checkpoints.latest_step() or 0) >= settings.steps:
            logging.info("%s: already trained for %d steps", workdir, checkpoints.latest_step())
            return Outcome.ALREADY_DONE
        is_first = jax.process_index() == 0
        summaries = processes.run_on_all(lambda: Summaries(workdir / "tensorboard" if is_first else None))
        stack.enter_context(summaries)
        first = checkpoints.latest_step() or 0
        progress = stack.enter_context(Progress(first, settings.steps, shown=is_first))
        stop = stack.enter_context(stop_signals())
        batches = stack.enter_context(contextlib.closing(training_batches(experiment)))

        initial = InitialState(experiment)
        updates, at_once = Updates(experiment, initial), settings.steps_per_dispatch
        compiling = stack.enter_context(ThreadPoolExecutor(1)).submit(updates.at, first + at_once)
        state = start_or_resume(initial, checkpoints, batches)
        frozen = devices.replicate(experiment.features.params)
        for line in description(experiment, initial.shapes):
            logging.info("%s", line)
        validate = validation.make_validation(experiment, workdir, summaries)
        compiling.result()
        runtime.give_back_freed_memory()
        watch, highest_reason = MetricsWatch(), devices.DelayedMax()
        progress.start()
        deadline = time.monotonic() + 60 * settings.minutes if settings.minutes else math.inf

        for step in range(first + at_once, settings.steps + 1, at_once):
            batch = Batch(**devices.split_over_devices(next(batches), at_once))
            state, metrics = updates.at(step)(state, frozen, batch)
            watch.add(step, metrics)
            last = step == settings.steps
            # Once, a signal may come at any line; and in all processes alike.
            reason = highest_reason.update(SIGNALLED if stop else OUT_OF_TIME if time.monotonic() > deadline else 0)
            signalled, out_of_time = reason == SIGNALLED, reason == OUT_OF_TIME
            if step % settings.log_every == 0 or 0 <= step - first - EARLY_STEPS < at_once or last:
                report(step, watch.means(), progress, summaries, settings.batch_size)
            validating = last or (not signalled and (step % settings.validate_every == 0 or out_of_time))
            if validating or step % settings.checkpoint_every == 0 or signalled:
                start = time.monotonic()
                watch.check()  # nothing that is not finite is ever saved
                progress.pause()
                scores = validate(step, state) if validating else None
                checkpoints.save(step, devices.as_one(state), batches.get_state(), scores)
                progress.exclude(time.monotonic() - start)
            if (signalled or out_of_time) and not last:
                logging.info("stopped at step %d of %d, saved", step, settings.steps)
                return outcome_of(stop) if signalled else Outcome.OUT_OF_TIME
        everyone = [number for each in processes.gather(stop) for number in each]
        return outcome_of(everyone) if everyone else Outcome.FINISHED


# ------------------------------------------------------------------ before the first step


def training_batches(experiment: Experiment) -> pipeline.Batches:
    """This process's part of the run's batches, each for one dispatch, from the first on; to be closed."""
    settings = experiment.training
    return pipeline.training_batches(
        experiment.dataset.directory,
        experiment.holes,
        batch_size=settings.batch_size * settings.steps_per_dispatch // jax.process_count(),
        seed=settings.seed,
        mirror=settings.mirror,
        threads=settings.threads,
        prefetch=settings.prefetch,
        process=jax.process_index(),
        processes=jax.process_count(),
    )


class InitialState:
    """The state of step 0: depends on the config's seed alone. Traced once, for its shapes and for its values."""

    def __init__(self, experiment: Experiment) -> None:
        self._key = jax.random.key(experiment.training.seed)
        update = experiment.phases[-1].update
        self._function = partial(init_state, update, image_size=experiment.dataset.image_size)
        self.shapes: TrainState = jax.eval_shape(self._function, self._key)

    def values(self) -> TrainState:
        return jax.jit(self._function)(self._key)


def start_or_resume(initial: InitialState, checkpoints: Checkpoints, batches: pipeline.Batches) -> TrainState:
    """The state of step 0, or of the latest checkpoint, with `batches` at its place; on every local device."""
    latest = checkpoints.latest_step()
    if latest is None:
        return devices.replicate(initial.values())
    state, input_state = checkpoints.restore(latest, devices.as_one_like(initial.shapes))
    batches.set_state(input_state)
    logging.info("resumed at step %d", latest)
    return devices.own(state)


def description(experiment: Experiment, state: TrainState) -> list[str]:
    """The first lines of a run: devices, parameters, data, length. Of the state only shapes are read."""
    dataset, settings = experiment.dataset, experiment.training
    all_devices = jax.devices()
    nets = {"generator": state.generator} | state.discriminators
    counts = "  ".join(f"{name} {run_folder.parameter_count(net.params):,}" for name, net in nets.items())
    slices = "  ".join(
        f"{split} {count:,} of {len(dataset.subjects[split])} subject(s)" for split, count in dataset.slices.items()
    )
    per_epoch = dataset.slices["train"] / settings.batch_size
    return [
        f"system      {experiment.name} on {len(all_devices)} x {all_devices[0].device_kind}",
        f"parameters  {counts}",
        f"slices      {slices}",
        f"VGG-19      {experiment.features.source}",
        f"length      {settings.steps} steps, {per_epoch:.1f} steps an epoch",
    ]


class Updates:
    """The compiled update for each step; where training has several phases, each is compiled when it begins."""

    def __init__(self, experiment: Experiment, initial: InitialState) -> None:
        self._experiment, self._initial = experiment, initial
        self._phase: Phase | None = None
        self._compiled: Callable[..., Any]

    def at(self, step: int) -> Callable[..., Any]:
        phase = next(each for each in self._experiment.phases if step <= each.last)
        if phase is not self._phase:
            if len(self._experiment.phases) > 1:
                logging.info("phase       %s, to step %d", phase.name, phase.last)
            self._compiled, self._phase = compile_update(self._experiment, phase.update, self._initial), phase
        return self._compiled


def compile_update(experiment: Experiment, update: Update, initial: InitialState) -> Callable[..., Any]:
    """The mapped train step, compiled for this run's shapes; logs how long that took and the memory it will use.

    Of several processes each compiles its part of the one program when they first run it together.
    """
    settings = experiment.training
    size, count = experiment.dataset.image_size, settings.batch_size * settings.steps_per_dispatch
    arrays = pipeline.abstract_batch(experiment.holes, size, count)
    batch = Batch(**devices.split_over_devices(arrays, settings.steps_per_dispatch))
    state = devices.replicated_like(initial.shapes)
    frozen = devices.replicated_like(experiment.features.params)
    mapped = devices.map_over_devices(partial(train_steps, update))
    if jax.process_count() > 1:
        return mapped
    start = time.monotonic()
    compiled = mapped.lower(state, frozen, batch).compile()
    used = memory_gib(compiled)
    memory = "" if used is None else f"; about {used:.2f} GiB a device"
    logging.info("compiled    in %.0f s%s", time.monotonic() - start, memory)
    return compiled


def memory_gib(compiled: Any) -> float | None:
    """What a compiled update takes of a device, its arguments and its temporary buffers; None where XLA does not tell."""
    memory = compiled.memory_analysis()
    return None if memory is None else (memory.argument_size_in_bytes + memory.temp_size_in_bytes) / 2**30


# ------------------------------------------------------------------ while it runs


class MetricsWatch:
    """Metrics of the steps since the last report, fetched one dispatch late so that the host never waits for the device.

    Raises UserError at the first number that is not finite, naming its step and term.
    """

    def __init__(self) -> None:
        self._pending: tuple[int, Metrics] = (0, {})
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, step: int, metrics: Metrics) -> None:
        """Metrics `[n]` of the n steps up to `step`."""
        self.check()
        self._pending = (step, metrics)

    def check(self) -> None:
        """Takes in the pending steps."""
        last, metrics = self._pending
        self._pending = (last, {})
        if not metrics:
            return
        values: dict[str, np.ndarray] = jax.device_get(metrics)
        count = len(next(iter(values.values())))
        for i, step in enumerate(range(last - count + 1, last + 1)):
            for name, each in values.items():
                if not np.isfinite(each[i]):
                    advice = "start again in another --workdir, with a lower optimiser.learning_rate or in float32"
                    raise UserError(f"step {step}: {name} is {each[i]}; no checkpoint holds it: {advice}", NOT_FINITE)
        for name, each in values.items():
            total, steps_so_far = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + float(each.sum(dtype=np.float64)), steps_so_far + count)

    def means(self) -> dict[str, float]:
        """Means since they were last asked for, each over the steps that had it."""
        self.check()
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return means


def report(step: int, means: dict[str, float], progress: Progress, summaries: Summaries, batch_size: int) -> None:
    """Progress line and TensorBoard scalars."""
    shown = {
        name.removeprefix("loss/").removeprefix("generator/").replace("discriminator/", "D_"): value
        for name, value in means.items()
        if name.startswith(("loss/generator/", "loss/discriminator/"))
    }
    steps_per_second = progress.report(step, shown)
    summaries.scalars(step, means | {"images_per_second": steps_per_second * batch_size})


def outcome_of(signals: list[int]) -> Outcome:
    """Of a stop by a signal, of this process or, where there is none, of another."""
    return Outcome.INTERRUPTED if signals and signals[0] == signal.SIGINT else Outcome.TERMINATED


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that Ctrl-C or SIGTERM puts its number in, for the loop to end at a step; a second Ctrl-C ends it at once."""
    caught: list[int] = []

    def note(number: int, frame: Any) -> None:
        if caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        caught.append(number)
        # A handler may interrupt any line, a half-written one of the log too: no logging here.
        os.write(2, f"\n{signal.Signals(number).name}: saving a checkpoint after this step\n".encode())

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
