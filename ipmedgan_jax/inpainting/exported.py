"""Exported models: a folder with a generator's program, weights and settings, which runs without training code.

`generator.stablehlo` is the program (StableHLO). It takes the weights in order, images `[B, H, W, 1]` in [-1, 1], holes
`[B, 4]`, hole masks `[B, h, w]` inside these boxes, and the arrays that `trained.inputs` names. It returns inpainted images.
`weights.npz` holds the weights under the names `0`, `1`, ...; `model.json` holds the rest.
"""

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.provenance import digest_of_arrays, digest_of_path
from ipmedgan_jax.inpainting.model import Generator, Trained
from ipmedgan_jax.inpainting.model_card import NOT_STATED, Terms
from ipmedgan_jax.inpainting.model_files import PROGRAM_FORMAT, model_errors, read_description, write_folder

PROGRAM_FILE, WEIGHTS_FILE = "generator.stablehlo", "weights.npz"

PLATFORMS = ("cpu", "cuda")
"""Platforms that the program is compiled for; a machine of either kind can export for both."""


def write(
    folder: Path,
    generator: Generator,
    program: Callable[..., jax.Array],
    weights: Sequence[jax.Array],
    card: str,
    terms: Terms = NOT_STATED,
) -> None:
    """Writes an exported model atomically; UserError if the folder exists or cannot be written.

    Args:
      folder: the folder to write.
      generator: its name, step, training data and `trained` go to `model.json`.
      program: `program(weights, image, hole, hole_mask, *others)` returns inpainted images; the others are `trained.inputs`.
      weights: the program's weights, in order.
      card: the text of the model card.
      terms: licence and attribution.
    """
    trained = generator.trained
    size, side, count = trained.preparation.image_size, trained.hole_size, trained.batch_size
    batch = [
        jax.ShapeDtypeStruct((count, size, size, 1), jnp.float32),
        jax.ShapeDtypeStruct((count, 4), jnp.int32),
        jax.ShapeDtypeStruct((count, side, side), jnp.uint8),
    ]
    batch += [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in _input_shapes(trained)]
    abstract = [jax.ShapeDtypeStruct(weight.shape, weight.dtype) for weight in weights]

    def write_content(unfinished: Path) -> dict[str, Any]:
        written = jax.export.export(jax.jit(program), platforms=PLATFORMS)(abstract, *batch).serialize()
        (unfinished / PROGRAM_FILE).write_bytes(written)
        arrays: dict[str, Any] = {str(i): np.asarray(weight) for i, weight in enumerate(weights)}
        np.savez(unfinished / WEIGHTS_FILE, **arrays)
        return {"format_version": PROGRAM_FORMAT, "weights_sha256": digest_of_arrays(weights)}

    write_folder(folder, generator, write_content, card, terms)


def read(folder: Path) -> Generator:
    """Reads an exported model; UserError if the folder is missing, damaged or of an unknown format."""
    description = read_description(folder)
    with model_errors(folder):
        for name in (PROGRAM_FILE, WEIGHTS_FILE):
            if digest_of_path(folder / name) != description["sha256"][name]:
                raise UserError(f"{folder / name}: damaged; export the model again")
        exported = jax.export.deserialize(bytearray((folder / PROGRAM_FILE).read_bytes()))
        weights = _read_weights(folder / WEIGHTS_FILE)
        trained = Trained.from_json(description["trained"])
        size, side, count = trained.preparation.image_size, trained.hole_size, trained.batch_size
        shapes: list[tuple[int, ...]] = [(count, size, size, 1), (count, 4), (count, side, side)]
        shapes += _input_shapes(trained)
        if [array.shape for array in exported.in_avals[len(weights) :]] != shapes:
            raise ValueError("the program is for images or holes of other sizes")
        digest = description.get("weights_sha256") or digest_of_arrays(weights)  # which takes as long as the file's digest
    program = jax.jit(exported.call)

    def inpaint(batch: dict[str, Any]) -> np.ndarray:
        others = [batch[name] for name in trained.inputs]
        return np.asarray(program(weights, batch["image"].astype(np.float32), batch["hole"], batch["hole_mask"], *others))

    system, step, seen = description["system"], description["step"], description["training_data"]
    return Generator(system, step, str(folder), trained, seen, inpaint, digest)


def _input_shapes(trained: Trained) -> list[tuple[int, ...]]:
    """Returns the shapes of the arrays of `trained.inputs`."""
    size, count = trained.preparation.image_size, trained.batch_size
    shapes = {"noise": (count, size, size), "opposite": (count, size, size, 2)}
    return [shapes[name] for name in trained.inputs]


def _read_weights(path: Path) -> list[jax.Array]:
    """Returns the weights in order; ValueError for a file that is no archive."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [jnp.asarray(arrays[str(i)]) for i in range(len(arrays.files))]
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from error
