"""How a run begins: fresh, from the generator of another run, or where it stopped."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import logging

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.data import pipeline
from ipmedgan_jax.experiment import run_folder
from ipmedgan_jax.experiment.build import Experiment
from ipmedgan_jax.experiment.checkpoints import Checkpoints, DamagedChoice
from ipmedgan_jax.systems.state import Average, TrainState, init_state
from ipmedgan_jax.training import devices


class InitialState:
    """The state of step 0. It depends on the config alone, not on the data; traced once, for its shapes and its values."""

    def __init__(self, experiment: Experiment) -> None:
        self._key = jax.random.key(experiment.training.seed)
        update = experiment.phases[-1].update
        self._function = partial(init_state, update, image_size=experiment.dataset.image_size)
        self.shapes: TrainState = jax.eval_shape(self._function, self._key)

    def values(self) -> TrainState:
        """Returns the state itself: fresh networks and optimisers."""
        return jax.jit(self._function)(self._key)


def start_or_resume(
    experiment: Experiment, initial: InitialState, checkpoints: Checkpoints, batches: pipeline.Batches
) -> tuple[int, TrainState]:
    """Returns step 0 or that of the newest whole checkpoint, and its state on every local device; sets `batches` to it.

    Raises UserError if checkpoints are there and none is whole, or if the run of `train.start_from` cannot be read or has
    another generator.
    """
    restored = checkpoints.restore_newest(devices.replicated_like(initial.shapes))
    if restored is None:
        state = initial.values()
        if experiment.training.start_from:
            state = with_generator_of(user_path(experiment.training.start_from), state)
        return 0, devices.replicate(state)
    step, state, input_state = restored
    batches.set_state(input_state)
    logging.info("resumed at step %d", step)
    return step, state


def description(experiment: Experiment, state: TrainState) -> list[str]:
    """Returns the first lines of a run's log: devices, parameters, data, length. Only the shapes of `state` are read."""
    dataset, settings = experiment.dataset, experiment.training
    all_devices = jax.devices()
    nets = {"generator": state.generator} | state.discriminators
    counts = "  ".join(f"{name} {run_folder.parameter_count(net.params):,}" for name, net in nets.items())
    slices = "  ".join(
        f"{split} {count:,} of {counted(len(dataset.subjects[split]), 'subject')}" for split, count in dataset.slices.items()
    )
    per_epoch = dataset.slices["train"] / settings.batch_size
    return [
        f"system      {experiment.name} on {len(all_devices)} x {all_devices[0].device_kind}",
        f"parameters  {counts}",
        f"slices      {slices}",
        f"VGG-19      {experiment.features.source}",
        f"length      {settings.steps} steps, {per_epoch:.1f} steps an epoch",
    ]


def check_first_run(experiment: Experiment, workdir: Path) -> None:
    """Raises UserError if a new run shall start from a folder that holds no run; a run that resumes needs it no more."""
    first = experiment.training.start_from
    if first and not (workdir / "checkpoints").exists() and not (user_path(first) / run_folder.CONFIG_FILE).exists():
        raise UserError(
            f"config.train.start_from is {first!r}: expected the folder of a run, with its {run_folder.CONFIG_FILE}"
        )


def with_generator_of(workdir: Path, state: TrainState) -> TrainState:
    """Returns a state of step 0 with the generator that fills for a run: the best by validation, averaged if the run does so.

    Raises UserError if the run cannot be read, or if its generator's arrays have other names or shapes.
    """
    inference = run_folder.read_inference(workdir)
    try:
        step, params, statistics = run_folder.restore_for_inference(inference, workdir, "best")
    except DamagedChoice as error:
        problem = f"config.train.start_from: {error.problem}"
        raise UserError(f"{problem}; move that checkpoint away to start from another") from error
    own = jax.tree.map(jnp.shape, (state.generator.params, state.generator.statistics))
    if jax.tree.map(jnp.shape, (params, statistics)) != own:
        raise UserError(f"config.train.start_from: the generator of {workdir} has other networks or widths than the config's")
    logging.info("starts from the generator of %s, step %d", workdir, step)
    average = None if state.average is None else Average(params, statistics)
    # A copy: the update may overwrite the generator's arrays, but not those of the average.
    params = jax.tree.map(jnp.copy, params)
    return state.replace(generator=state.generator.replace(params=params, statistics=statistics), average=average)
