"""A run's generator, loaded to fill volumes or to be exported; needs no training data."""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax

from ipmedgan_jax import runs
from ipmedgan_jax.scoring import LearnedInpaint
from ipmedgan_jax.steps import Batch
from ipmedgan_jax.volume_inpainting import Generator, Trained

BATCH_SIZE = 8
"""Slices filled at once."""

Program = Callable[..., jax.Array]
"""(weights, image, hole, shape) -> inpainted images; all arrays, the weights in order."""


def load(workdir: Path, checkpoint: str) -> Generator:
    """The generator of a run: its `best` checkpoint by validation, or its `latest`."""
    return load_program(workdir, checkpoint)[0]


def load_program(workdir: Path, checkpoint: str) -> tuple[Generator, Program, Sequence[jax.Array]]:
    """The same, and what it does as a function of plain arrays, with its weights."""
    inference, seen = runs.read_inference(workdir), runs.read_seen(workdir)
    with runs.open_checkpoints(inference, workdir, create=False) as checkpoints:
        step = runs.chosen_step(checkpoints, checkpoint)
        params, statistics = runs.restore_generator(
            inference.system,
            inference.preparation.image_size,
            averaged=inference.averaged,
            checkpoints=checkpoints,
            step=step,
        )
    # The data may have been prepared with other settings than the config's, which then stood.
    preparation = inference.preparation.as_recorded(seen.get("preparation", {}))
    fill = LearnedInpaint(inference.system)
    weights, structure = jax.tree.flatten((params, statistics))

    def program(weights: Sequence[jax.Array], image: jax.Array, hole: jax.Array, shape: jax.Array) -> jax.Array:
        return fill.inpainted(*jax.tree.unflatten(structure, weights), Batch(image, hole, shape))

    generator = Generator(
        name=inference.name,
        step=step,
        source=str(workdir),
        trained=Trained(preparation, inference.hole_size, inference.any_shape, BATCH_SIZE),
        seen=seen,
        inpaint=fill.bind(params, statistics),
    )
    return generator, program, weights
