"""A run's network, loaded to fill volumes, to find damage in them, or to be exported; needs no training data."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.experiment import run_folder
from ipmedgan_jax.experiment.build import Inference
from ipmedgan_jax.imaging.settings import PreparationSettings
from ipmedgan_jax.inpainting.find_damage import LoadedFinder
from ipmedgan_jax.inpainting.model import Generator, Trained
from ipmedgan_jax.systems.inference import LearnedFind, LearnedInpaint
from ipmedgan_jax.systems.interface import Batch, Tree

BATCH_SIZE = 8
"""Slices filled, or searched for damage, at once."""

Program = Callable[..., jax.Array]
"""(weights, image, hole, shape) -> inpainted images; all arrays, the weights in order."""


def load(workdir: Path, checkpoint: str) -> Generator:
    """The generator of a run: its `best` checkpoint by validation, or its `latest`."""
    return load_program(workdir, checkpoint)[0]


def load_finder(workdir: Path, checkpoint: str) -> LoadedFinder:
    """The network of a run that finds damage; UserError for one that fills holes."""
    inference = run_folder.read_inference(workdir)
    if not inference.is_finder:
        raise UserError(f"{workdir}: is a run of {inference.name}, which finds no damage; --finder wants one of :finder")
    step, params, statistics = _restore(inference, workdir, checkpoint)
    preparation = _preparation(inference, run_folder.read_training_data(workdir))
    find = LearnedFind(inference.system).bind(params, statistics)
    return LoadedFinder(inference.name, step, str(workdir), preparation, BATCH_SIZE, find)


def load_program(workdir: Path, checkpoint: str) -> tuple[Generator, Program, Sequence[jax.Array]]:
    """The generator, and what it does as a function of plain arrays, with its weights. UserError for a finder's run."""
    inference = run_folder.read_inference(workdir)
    if inference.is_finder:
        raise UserError(f"{workdir}: is a run of {inference.name}, which fills nothing; inpaint takes it as --finder")
    step, params, statistics = _restore(inference, workdir, checkpoint)
    training_data = run_folder.read_training_data(workdir)
    preparation = _preparation(inference, training_data)
    fill = LearnedInpaint(inference.system)
    weights, structure = jax.tree.flatten((params, statistics))

    def program(weights: Sequence[jax.Array], image: jax.Array, hole: jax.Array, shape: jax.Array) -> jax.Array:
        return fill.inpainted(*jax.tree.unflatten(structure, weights), Batch(image, hole, shape))

    generator = Generator(
        name=inference.name,
        step=step,
        source=str(workdir),
        trained=Trained(preparation, inference.hole_size, inference.trained_on_any_shape, BATCH_SIZE),
        training_data=training_data,
        inpaint=fill.bind(params, statistics),
    )
    return generator, program, weights


def _restore(inference: Inference, workdir: Path, checkpoint: str) -> tuple[int, Tree, Tree]:
    """The step of the run's checkpoint, and its network's parameters and statistics."""
    with run_folder.open_checkpoints(inference, workdir, create=False) as checkpoints:
        step = run_folder.chosen_step(checkpoints, checkpoint)
        params, statistics = run_folder.restore_generator(
            inference.system,
            inference.preparation.image_size,
            uses_ema=inference.uses_ema,
            checkpoints=checkpoints,
            step=step,
        )
    return step, params, statistics


def _preparation(inference: Inference, training_data: dict[str, Any]) -> PreparationSettings:
    """As the training data were prepared: with other settings than the config's, maybe, which then stood."""
    return inference.preparation.as_recorded(training_data.get("preparation", {}))
