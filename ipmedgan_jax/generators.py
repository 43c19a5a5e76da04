"""A trained generator, loaded to fill volumes: what it does, what it was trained for, and on what."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipmedgan_jax import runs
from ipmedgan_jax.scoring import Inpaint, LearnedInpaint
from ipmedgan_jax.volume_inpainting import Trained

BATCH_SIZE = 8
"""Slices filled at once."""


@dataclass(frozen=True)
class Generator:
    """Attributes: `seen`: the training scans, as `data.json` has them; empty for a run older than that file."""

    name: str
    step: int
    source: str
    trained: Trained
    seen: dict[str, Any]
    inpaint: Inpaint


def load(workdir: Path, checkpoint: str) -> Generator:
    """The generator of a run: its `best` checkpoint by validation, or its `latest`. Needs no training data."""
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
    return Generator(
        name=inference.name,
        step=step,
        source=str(workdir),
        trained=Trained(preparation, inference.hole_size, any_shape=inference.any_shape, batch_size=BATCH_SIZE),
        seen=seen,
        inpaint=LearnedInpaint(inference.system).bind(params, statistics),
    )
