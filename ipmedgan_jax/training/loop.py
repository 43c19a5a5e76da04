"""The training loop, one for every system.

A run lives in its folder: `config.json`, `checkpoints/`, `tensorboard/`, `examples/`. An existing run resumes bit-exactly
from its latest checkpoint: its state, the order of its slices and its holes continue as if it had not stopped.
"""

import contextlib
import enum
import math
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
from absl import logging

from ipmedgan_jax.core import provenance, runtime
from ipmedgan_jax.core.errors import TRY_AGAIN
from ipmedgan_jax.data import pipeline
from ipmedgan_jax.data.batches import NumpyBatch
from ipmedgan_jax.distributed import processes
from ipmedgan_jax.experiment import run_folder
from ipmedgan_jax.experiment.build import Experiment
from ipmedgan_jax.experiment.phases import Phase
from ipmedgan_jax.systems.interface import Batch
from ipmedgan_jax.systems.state import Update
from ipmedgan_jax.systems.update import train_steps
from ipmedgan_jax.training import devices, target_cache, validation, wandb_run
from ipmedgan_jax.training.metrics_watch import MetricsWatch
from ipmedgan_jax.training.nonfinite import NonFiniteSteps
from ipmedgan_jax.training.run_report import RunReport
from ipmedgan_jax.training.signals import stop_signals
from ipmedgan_jax.training.start import InitialState, check_first_run, description, start_or_resume
from ipmedgan_jax.training.summaries import Progress, Summaries

OUT_OF_TIME, SIGNALLED = 1, 2
"""Reasons to stop; the more urgent one is the higher, because the highest of all processes counts."""

EARLY_STEPS = 3
"""Steps until the first report: the first steps of a large network take long, and users wait for the time left."""


class Outcome(enum.Enum):
    """Why training returned."""

    FINISHED = "finished"
    ALREADY_DONE = "already done"
    OUT_OF_TIME = "out of time"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"


def train(experiment: Experiment, workdir: Path) -> Outcome:
    """Trains until the run is finished, its minutes are over, or a signal asks it to stop; it then ends on a checkpoint.

    Raises:
      UserError: the folder has a run of another config or cannot be written, no checkpoint is whole, or a number is not
        finite.
    """
    settings, per_dispatch = experiment.training, experiment.training.steps_per_dispatch
    devices.check_batch_size(settings.batch_size, experiment.phases[-1].update.accumulate)
    check_first_run(experiment, workdir)
    with contextlib.ExitStack() as stack:
        # The lock comes before anything in the folder is read: another run may be training there.
        check_place = stack.enter_context(run_folder.lock_run(experiment, workdir))
        checkpoints = stack.enter_context(run_folder.open_checkpoints(settings, workdir))
        # A file server may show one process an old listing, but all processes must start at the same step.
        processes.assert_equal(TRY_AGAIN, latest_checkpoint=checkpoints.latest_step())
        done = checkpoints.latest_step() or 0
        # From here on, during the rest of the start-up too, a signal ends the run on a checkpoint.
        signals = stack.enter_context(stop_signals())
        batches = stack.enter_context(contextlib.closing(training_batches(experiment)))

        # The initial state is traced before the thread starts: two threads would trace it at the same time.
        initial = InitialState(experiment)
        updates = Updates(experiment, initial)
        compiler = stack.enter_context(ThreadPoolExecutor(1))
        # Compiling takes longest. It starts before the state is restored or drawn, and runs in a thread beside that.
        compiling = compiler.submit(updates.at, done + per_dispatch) if done < settings.steps else None
        # A damaged checkpoint is passed over, so `done` may become less; a finished run then trains on.
        done, state = start_or_resume(experiment, initial, checkpoints, batches)
        if done >= settings.steps:
            logging.info("%s: already trained for %d steps", workdir, done)
            return outcome_of_all(signals) or Outcome.ALREADY_DONE

        is_first = jax.process_index() == 0
        twin = wandb_run.start(settings.wandb_project, workdir, experiment.config) if is_first else None
        events = workdir / "tensorboard" if is_first else None
        summaries = processes.run_on_all(lambda: Summaries(events, first=done + 1, twin=twin))
        stack.enter_context(summaries)
        summaries.text(done, provenance.KEY, provenance.one_line(provenance.provenance(jax.devices())))
        progress = stack.enter_context(Progress(done, settings.steps, shown=is_first))
        page = stack.enter_context(RunReport(experiment, workdir, summaries, progress, done, shown=is_first))
        frozen = devices.replicate(experiment.features.params)
        for line in description(experiment, initial.shapes):
            logging.info("%s", line)
        add_targets = make_add_targets(experiment)
        validate = validation.make_validation(experiment, workdir, summaries)
        if compiling:
            compiling.result()
        updates.at(done + per_dispatch)  # compiles if `done` became less, and is now in an earlier phase
        nonfinite = NonFiniteSteps(experiment, workdir, checkpoints.latest_step)
        nonfinite.check_first(done, state)
        # Start-up needed other blocks of memory than the steps will. The heap is trimmed when all of it is done.
        runtime.give_back_freed_memory()

        # The clocks start last: neither the rate nor `train.minutes` includes the start-up.
        watch, highest_reason = MetricsWatch(nonfinite), devices.DelayedMax()
        progress.start()
        deadline = time.monotonic() + 60 * settings.minutes if settings.minutes else math.inf

        for step in range(done + per_dispatch, settings.steps + 1, per_dispatch):
            batch = Batch(**devices.split_over_devices(add_targets(next(batches)), per_dispatch))
            state, metrics = updates.at(step)(state, frozen, batch)
            watch.add(step, metrics)

            # The signals are read once a step, because one may come at any line. The highest reason of all processes counts,
            # so that all stop at the same step.
            reason = highest_reason.update(SIGNALLED if signals else OUT_OF_TIME if time.monotonic() > deadline else 0)
            signalled, out_of_time, last = reason == SIGNALLED, reason == OUT_OF_TIME, step == settings.steps

            early = 0 <= step - done - EARLY_STEPS < per_dispatch
            if step % settings.log_every == 0 or early or last:
                report(step, watch.means(), progress, summaries, settings.batch_size)
                page.note(step)

            # A signal skips the validation, so that the checkpoint is saved at once.
            validating = last or (not signalled and (step % settings.validate_every == 0 or out_of_time))
            if validating or step % settings.checkpoint_every == 0 or signalled:
                start = time.monotonic()
                check_place(checkpoints.latest_step())  # before anything is written there
                watch.check()  # before saving: no checkpoint may hold a number that is not finite
                nonfinite.check_state(step, state)
                if last or signalled or out_of_time:
                    nonfinite.end(step - done, finished=last)
                progress.pause()
                scores = validate(step, state) if validating else None
                checkpoints.save(step, devices.as_one(state), batches.get_state(), scores)
                page.write(step)
                progress.exclude(time.monotonic() - start)

            if (signalled or out_of_time) and not last:
                checkpoints.wait()
                logging.info("stopped at step %d of %d, saved", step, settings.steps)
                return outcome_of_all(signals) or Outcome.OUT_OF_TIME

        # Signals are caught until the checkpoint is written: one that ended Python would lose it. A signal that came with the
        # last step counts too, in all processes alike: the command then does not begin to evaluate.
        checkpoints.wait()
        return outcome_of_all(signals) or Outcome.FINISHED


# ------------------------------------------------------------------ before the first step


def training_batches(experiment: Experiment) -> pipeline.Batches:
    """Returns this process's share of the run's batches, one for each dispatch, from the first step on. Must be closed."""
    settings = experiment.training
    return pipeline.training_batches(
        experiment.dataset.directory,
        experiment.holes,
        batch_size=settings.batch_size * settings.steps_per_dispatch // jax.process_count(),
        seed=settings.seed,
        mirror=settings.mirror,
        augmentation=settings.augmentation,
        threads=settings.threads,
        prefetch=settings.prefetch,
        process=jax.process_index(),
        processes=jax.process_count(),
    )


def make_add_targets(experiment: Experiment) -> Callable[[NumpyBatch], NumpyBatch]:
    """Returns the function that adds to a batch what the loss compares with, where `train.target_cache_gib` asks for it."""
    return target_cache.make_add_targets(
        experiment.system,
        experiment.features.params,
        gib=experiment.training.target_cache_gib,
        image_size=experiment.dataset.image_size,
        slices=experiment.dataset.slices["train"] * (2 if experiment.training.mirror else 1),
    )


class Updates:
    """The compiled update of each step. Each phase of training has its own, which is compiled when the phase begins."""

    def __init__(self, experiment: Experiment, initial: InitialState) -> None:
        self._experiment, self._initial = experiment, initial
        self._phase: Phase | None = None
        self._compiled: Callable[..., Any]

    def at(self, step: int) -> Callable[..., Any]:
        """Returns the update of this step; compiles it if a phase begins."""
        phase = next(phase for phase in self._experiment.phases if step <= phase.last)
        if phase is not self._phase:
            if len(self._experiment.phases) > 1:
                logging.info("phase       %s, to step %d", phase.name, phase.last)
            self._compiled, self._phase = compile_update(self._experiment, phase.update, self._initial), phase
        return self._compiled


def compile_update(experiment: Experiment, update: Update, initial: InitialState) -> Callable[..., Any]:
    """Compiles the mapped train step for this run's shapes; logs the time that took and the memory it will use.

    With several processes the step is returned as it is: each process compiles its part of the program when all of them
    first run it together.
    """
    settings = experiment.training
    size, count = experiment.dataset.image_size, settings.batch_size * settings.steps_per_dispatch
    arrays = pipeline.abstract_batch(experiment.holes, size, count) | target_cache.blank_targets(
        experiment.system, experiment.features.params, gib=settings.target_cache_gib, image_size=size, count=count
    )
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
    """Returns the GiB that a compiled update needs on a device, arguments and buffers; None if XLA does not tell."""
    memory = compiled.memory_analysis()
    return None if memory is None else (memory.argument_size_in_bytes + memory.temp_size_in_bytes) / 2**30


# ------------------------------------------------------------------ during the steps


def report(step: int, means: dict[str, float], progress: Progress, summaries: Summaries, batch_size: int) -> None:
    """Shows the losses in the progress line, and writes all means and the speed to TensorBoard."""
    losses = {
        name.removeprefix("loss/").removeprefix("generator/").replace("discriminator/", "D_"): value
        for name, value in means.items()
        if name.startswith(("loss/generator/", "loss/discriminator/"))
    }
    steps_per_second = progress.report(step, losses)
    summaries.scalars(step, means | {"images_per_second": steps_per_second * batch_size})


def outcome_of(signals: list[int]) -> Outcome:
    """Returns the outcome of a stop by signals, at least one: INTERRUPTED if the first is Ctrl-C."""
    return Outcome.INTERRUPTED if signals[0] == signal.SIGINT else Outcome.TERMINATED


def outcome_of_all(signals: list[int]) -> Outcome | None:
    """Returns the outcome of a stop by the signals of all processes, None if there were none; all must call it."""
    all_signals = [number for numbers in processes.gather(signals) for number in numbers]
    return outcome_of(all_signals) if all_signals else None
