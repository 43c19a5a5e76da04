"""Loading a run's network to fill volumes, to find damage, or to export it; the training data are not needed."""

from pathlib import Path
from typing import Any

import jax

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.provenance import digest_of_arrays
from ipmedgan_jax.experiment import run_folder
from ipmedgan_jax.experiment.build import Inference
from ipmedgan_jax.imaging.settings import PreparationSettings
from ipmedgan_jax.inpainting.find_damage import LoadedFinder
from ipmedgan_jax.inpainting.model import Generator, Trained
from ipmedgan_jax.inpainting.network import Network
from ipmedgan_jax.systems.inference import LearnedFind

BATCH_SIZE = 8
"""Number of slices filled, or searched for damage, at once."""


def load(workdir: Path, checkpoint: str) -> Generator:
    """Loads a run's generator from its `best`, `latest` or a step's checkpoint. UserError for a finder's run."""
    return load_network(workdir, checkpoint).generator()


def load_finder(workdir: Path, checkpoint: str) -> LoadedFinder:
    """Loads a run's finder from its `best`, `latest` or a step's checkpoint; UserError for a run that fills holes."""
    inference = run_folder.read_inference(workdir)
    if not inference.is_finder:
        raise UserError(f"{workdir}: is a run of {inference.name}, which finds no damage; --finder takes a run of :finder")
    step, params, statistics = run_folder.restore_for_inference(inference, workdir, checkpoint)
    preparation = _preparation(inference, run_folder.read_training_data(workdir))
    find = LearnedFind(inference.system).bind(params, statistics)
    digest = digest_of_arrays(jax.tree.leaves((params, statistics)))
    return LoadedFinder(inference.name, step, str(workdir), preparation, BATCH_SIZE, find, digest)


def load_network(workdir: Path, checkpoint: str) -> Network:
    """Loads a run's network that fills, from its `best`, `latest` or a step's checkpoint. UserError for a finder's run."""
    inference = run_folder.read_inference(workdir)
    if inference.is_finder:
        raise UserError(f"{workdir}: is a run of {inference.name}, which fills nothing; inpaint takes it as --finder")
    step, params, statistics = run_folder.restore_for_inference(inference, workdir, checkpoint)
    seen = {"phantom": inference.phantom, "slices_seen": step * inference.batch_size}
    training_data = run_folder.read_training_data(workdir) | seen
    preparation = _preparation(inference, training_data)
    trained = Trained(preparation, inference.hole_size, inference.trained_on_any_shape, BATCH_SIZE, inputs=inference.inputs)
    return Network(inference, step, str(workdir), trained, training_data, params, statistics)


def _preparation(inference: Inference, training_data: dict[str, Any]) -> PreparationSettings:
    """Returns the settings that the training data were prepared with, which may differ from the config's."""
    return inference.preparation.as_recorded(training_data.get("preparation", {}))
