"""Single faults in exported models of both kinds. A model must be refused, or fill bit for bit as it did.

The kinds are a compiled program with weights, and weights alone with a config.
"""

import hashlib
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.soak import file_faults
from benchmarks.soak.tally import Plan, Tally
from ipmedgan_jax.configs import demo
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.experiment import run_folder, saved_config
from ipmedgan_jax.experiment.build import build_inference
from ipmedgan_jax.inpainting import exported, exported_weights
from ipmedgan_jax.inpainting.model import Generator, Trained
from ipmedgan_jax.inpainting.model_card import Terms
from ipmedgan_jax.inpainting.network import Network

TERMS = Terms("CC BY 4.0", ("Made-up weights.",))


def run(plan: Plan, kinds: Collection[str] = ()) -> Tally:
    """Injects faults into copies of the models, of all kinds in turn or of some."""
    tally, models = Tally(), Models(plan.folder)
    rng = np.random.default_rng(plan.seed)
    names = sorted(kinds or FAULTS)
    for i in range(plan.count):
        name, form = names[i // 2 % len(names)], ("program", "weights")[i % 2]
        folder = shutil.copytree(models.folder(form), plan.folder / "faulty")
        what = f"{name}: {FAULTS[name](models, form, folder, rng)}"
        try:
            same = models.digest(form, folder) == models.whole[form]
            tally.harmless += same
            if not same:
                tally.silent.append(f"fault {i}, {form}, {what}: another model is read")
        except UserError:
            tally.noticed += 1
        except Exception as error:  # any: it is what the soak looks for
            tally.silent.append(f"fault {i}, {form}, {what}: {type(error).__name__}: {str(error)[:200]}")
        shutil.rmtree(folder)
    return tally


class Models:
    """A model of each kind, another of each with weights of the same shapes, and what the first ones are."""

    def __init__(self, folder: Path):
        self._folder = folder
        for seed, name in enumerate(("models", "others")):
            network, config = _network(seed)
            exported.write(folder / name / "program", _generator(network), _program, [jnp.float32(seed + 2)], "card", TERMS)
            exported_weights.write(folder / name / "weights", network, config, "card", TERMS)
        self.whole = {form: self.digest(form, self.folder(form)) for form in ("program", "weights")}

    def folder(self, form: str) -> Path:
        """The model of a kind."""
        return self._folder / "models" / form

    def other(self, form: str) -> Path:
        """The other model of a kind."""
        return self._folder / "others" / form

    def digest(self, form: str, folder: Path) -> str:
        """Reads a model and returns a digest of its settings and weights, and of what a program fills."""
        if form == "weights":
            generator, filled = exported_weights.read(folder), np.zeros(1, np.float32)
        else:
            generator = exported.read(folder)
            filled = generator.inpaint(_batch(generator))
        known = (generator.name, generator.step, generator.trained, generator.training_data, generator.weights_sha256)
        return hashlib.sha256(repr(known).encode() + filled.tobytes()).hexdigest()


def _network(seed: int) -> tuple[Network, dict[str, Any]]:
    """Returns a small network with drawn weights, and its config as JSON."""
    config = demo.get_config().unlock()
    config.update_from_flattened_dict(
        {"system": "unet", "data.image_size": 32, "holes.size": 16, "generator.width": 2, "generator.blocks": 1}
    )
    inference = build_inference(config.lock())
    rng = np.random.default_rng(seed)
    shapes = run_folder.generator_shapes(inference.system, inference.preparation.image_size)
    params, statistics = jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(0.1, 0.3, leaf.shape), leaf.dtype), shapes)
    trained = Trained(inference.preparation, inference.hole_size, inference.trained_on_any_shape, 2, inference.inputs)
    training_data = {"phantom": False, "slices_seen": 5000}
    return Network(inference, 7, "runs/x", trained, training_data, params, statistics), saved_config.as_json(config)


def _generator(network: Network) -> Generator:
    return Generator("unet", 7, "runs/x", network.trained, network.training_data, lambda batch: batch["image"])


def _program(weights: list[jax.Array], image: jax.Array, *others: jax.Array) -> jax.Array:
    return image * weights[0]


def _batch(generator: Generator) -> dict[str, np.ndarray]:
    trained = generator.trained
    count, size, side = trained.batch_size, trained.preparation.image_size, trained.hole_size
    return {
        "image": np.ones((count, size, size, 1), np.float32),
        "hole": np.zeros((count, 4), np.int32),
        "hole_mask": np.ones((count, side, side), np.uint8),
    }


# ------------------------------------------------------------------ faults

Fault = Callable[[Models, str, Path, np.random.Generator], str]


def _in(pattern: str, fault: Callable[[Path, np.random.Generator], str]) -> Fault:
    """Returns a fault of one file of the model that the pattern matches."""

    def of_a_file(models: Models, form: str, folder: Path, rng: np.random.Generator) -> str:
        paths = sorted(folder.glob(pattern))
        return fault(paths[int(rng.integers(len(paths)))], rng)

    return of_a_file


def _swap(pattern: str) -> Fault:
    """Returns a fault that takes files of the other model."""

    def from_the_other(models: Models, form: str, folder: Path, rng: np.random.Generator) -> str:
        names = [path.name for path in sorted(folder.glob(pattern))]
        for name in names:
            shutil.copy(models.other(form) / name, folder / name)
        return f"{', '.join(names)} of another model"

    return from_the_other


def _other_kind(models: Models, form: str, folder: Path, rng: np.random.Generator) -> str:
    other = "weights" if form == "program" else "program"
    shutil.copy(models.folder(other) / "model.json", folder / "model.json")
    return f"model.json of a model of the kind {other}"


FAULTS: dict[str, Fault] = {
    **{f"weights {fault.__name__}": _in("weights.*", fault) for fault in file_faults.BYTES},
    **{f"any file {fault.__name__}": _in("*", fault) for fault in file_faults.BYTES},
    **{f"description {fault.__name__}": _in("model.json", fault) for fault in file_faults.BYTES},
    "field": _in("model.json", file_faults.change_field),
    "another field": _in("model.json", file_faults.change_field),
    "weights of another model": _swap("weights.*"),
    "description of another model": _swap("model.json"),
    "description of another kind": _other_kind,
}
