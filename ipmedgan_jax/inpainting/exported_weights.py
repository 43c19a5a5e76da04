"""Models as weights alone: a folder whose network the package's own code builds, from the run's config.

`weights.safetensors` holds parameters as bfloat16 and running statistics as float32. A tensor's name is its path in Flax's
variables, such as `params/block_0/down_0/kernel`. `model.json` holds the run's `config.json` under `config`, and the rest.
Nothing of VGG-19, of the discriminators or of the optimiser is in the folder.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from ipmedgan_jax.core import regular_files
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.provenance import digest_of_bytes
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.experiment import run_folder
from ipmedgan_jax.experiment.build import Inference, build_inference
from ipmedgan_jax.experiment.saved_config import completed, from_json, without_folders
from ipmedgan_jax.inpainting import model_files, shipped
from ipmedgan_jax.inpainting.model import Generator, Trained
from ipmedgan_jax.inpainting.model_card import NOT_STATED, Terms
from ipmedgan_jax.inpainting.network import Network
from ipmedgan_jax.systems.interface import Tree

WEIGHTS_FILE = "weights.safetensors"

_STORED = {"params": jnp.bfloat16, "batch_stats": np.float32}
"""The type in which each of Flax's collections is stored."""

_TYPES = {"BF16": jnp.bfloat16, "F32": np.float32}
"""Types of a safetensors file by their names there."""


def write(folder: Path, network: Network, config: dict[str, Any], card: str, terms: Terms = NOT_STATED) -> None:
    """Writes a network as a model folder, atomically; UserError if the folder exists or cannot be written.

    Args:
      folder: the folder to write.
      network: the network; its parameters are rounded to bfloat16.
      config: the run's config, as `config.json` holds it; paths in it lose their folders.
      card: the text of the model card.
      terms: licence and attribution.
    """
    named = _by_name(_variables(network.params, network.statistics))
    tensors = {name: np.ascontiguousarray(leaf, _STORED[name.partition("/")[0]]) for name, leaf in named.items()}

    def write_content(unfinished: Path) -> dict[str, Any]:
        (unfinished / WEIGHTS_FILE).write_bytes(save(tensors))  # safetensors' own writer keeps others from reading the file
        parameters = run_folder.parameter_count(network.params)
        return {"format_version": model_files.WEIGHTS_FORMAT, "parameters": parameters, "config": without_folders(config)}

    model_files.write_folder(folder, network.generator(), write_content, card, terms)


def read(folder: Path) -> Generator:
    """Reads a model's generator; see `read_network`."""
    return read_network(folder).generator()


def read_network(folder: Path) -> Network:
    """Builds the network of a model folder and restores its weights, as float32.

    Raises UserError if the folder is missing, damaged or of another version.
    """
    description = model_files.read_description(folder)
    with model_files.model_errors(folder):
        inference = _build(folder, description)
        step, training_data = description["step"], description["training_data"]
        trained = Trained.from_json(description["trained"])
        size = inference.preparation.image_size
        built_for = (size, inference.hole_size, inference.inputs)
        if (trained.preparation.image_size, trained.hole_size, trained.inputs) != built_for:
            raise ValueError("its config is for images or holes of other sizes, or for other inputs")
        tensors = _read_tensors(folder, description["sha256"][WEIGHTS_FILE])
        params, statistics = _restored(tensors, *run_folder.generator_shapes(inference.system, size))
        return Network(inference, step, shipped.label(folder), trained, training_data, params, statistics)


def _build(folder: Path, description: dict[str, Any]) -> Inference:
    """Builds the network's system from the config; UserError for a config of another version, or of a finder."""
    config = completed(description["config"], folder / shipped.MODEL_FILE)
    try:
        inference = build_inference(from_json(config))
    except UserError as error:
        made = description.get("ipmedgan_jax")
        raise UserError(
            f"{folder}: of another version, ipmedgan_jax {made} ({error}); {model_files.remedy(folder)}"
        ) from error
    if inference.is_finder:
        raise UserError(f"{folder}: is a model of {inference.name}, which fills nothing")
    return inference


def _read_tensors(folder: Path, digest: str) -> dict[str, np.ndarray]:
    """Returns the tensors of the weights file by name; UserError if the file has another digest."""
    path = folder / WEIGHTS_FILE
    content = regular_files.read_bytes(path)
    if digest_of_bytes(content) != digest:
        raise UserError(f"{path}: damaged (not the file whose SHA-256 model.json has); {model_files.remedy(folder)}")
    try:
        return {
            name: np.frombuffer(tensor["data"], _TYPES[tensor["dtype"]]).reshape(tensor["shape"])
            for name, tensor in deserialize(content)
        }
    except SafetensorError as error:
        raise ValueError(f"{WEIGHTS_FILE}: {error}") from error


def _restored(tensors: dict[str, np.ndarray], params: Tree, statistics: Tree) -> tuple[Tree, Tree]:
    """Returns parameters and statistics of these shapes and types from tensors by name; ValueError unless all fit."""
    variables = _variables(params, statistics)
    expected = _by_name(variables)
    for problem, found in (("lacks", expected.keys() - tensors.keys()), ("has unknown", tensors.keys() - expected.keys())):
        if found:
            raise ValueError(f"{WEIGHTS_FILE} {problem} {counted(len(found), 'tensor')}: {sorted(found)[0]}")
    for name, shape in expected.items():
        if tensors[name].shape != shape.shape:
            raise ValueError(f"{name}: expected shape {shape.shape}, found {tensors[name].shape}")
    leaves = [jnp.asarray(tensors[name], shape.dtype) for name, shape in expected.items()]
    restored = jax.tree.unflatten(jax.tree.structure(variables), leaves)
    return restored["params"], restored["batch_stats"]


def _variables(params: Tree, statistics: Tree) -> dict[str, Tree]:
    return {"params": params, "batch_stats": statistics}


def _by_name(variables: Tree) -> dict[str, Any]:
    """Returns the leaves by their paths, in the order of `jax.tree.leaves`."""
    leaves = jax.tree.leaves_with_path(variables)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
