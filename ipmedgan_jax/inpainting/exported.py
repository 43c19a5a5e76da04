"""Exported models: a folder with a generator's program, weights and settings, which runs without training code.

`generator.stablehlo` is the program (StableHLO). It takes the weights in order, images `[B, H, W, 1]` in [-1, 1], holes
`[B, 4]`, hole masks `[B, h, w]` inside these boxes, and the arrays that `trained.inputs` names. It returns inpainted images.
`weights.npz` holds the weights under the names `0`, `1`, ...; `model.json` holds the rest.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from ipmedgan_jax.core import archives, memory, processor, regular_files
from ipmedgan_jax.core.errors import UserError, reason
from ipmedgan_jax.core.provenance import digest_of_arrays, digest_of_bytes, digest_of_path
from ipmedgan_jax.inpainting import program_check
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
    abstract = [jax.ShapeDtypeStruct(weight.shape, weight.dtype) for weight in weights]

    def write_content(unfinished: Path) -> dict[str, Any]:
        written = jax.export.export(jax.jit(program), platforms=PLATFORMS)(abstract, *_batch(generator.trained)).serialize()
        (unfinished / PROGRAM_FILE).write_bytes(written)
        arrays: dict[str, Any] = {str(i): np.asarray(weight) for i, weight in enumerate(weights)}
        np.savez(unfinished / WEIGHTS_FILE, **arrays)
        return {"format_version": PROGRAM_FORMAT, "weights_sha256": digest_of_arrays(weights)}

    write_folder(folder, generator, write_content, card, terms)


def read(folder: Path) -> Generator:
    """Reads an exported model; the program is compiled when it is first used.

    UserError if the folder is missing, damaged or of an unknown format, or if its program is not one that this package
    exports: see `program_check`.
    """
    description = read_description(folder)
    with model_errors(folder):
        content = regular_files.read_bytes(folder / PROGRAM_FILE)
        regular_files.regular_file(folder / WEIGHTS_FILE)
        digests = {PROGRAM_FILE: digest_of_bytes(content), WEIGHTS_FILE: digest_of_path(folder / WEIGHTS_FILE)}
        for name, found_digest in digests.items():
            if found_digest != description["sha256"][name]:
                raise UserError(f"{folder / name}: damaged; export the model again")
        trained = Trained.from_json(description["trained"])
        weights = _read_weights(folder / WEIGHTS_FILE)
        found = program_check.inspect(folder / PROGRAM_FILE, content)
        shapes = [(weight.shape, str(weight.dtype)) for weight in weights]
        shapes += [(array.shape, str(array.dtype)) for array in _batch(trained)]
        if list(found.inputs) != shapes or found.outputs != (shapes[len(weights)],):
            raise ValueError("the program is for images, holes or weights of other sizes")
        if (here := _platform()) not in found.platforms:
            raise ValueError(f"the program is for {', '.join(found.platforms)[:80]}, not for {here}")
        digest = description.get("weights_sha256") or digest_of_arrays(weights)  # which takes as long as the file's digest
    program = _Program(folder, content, weights, trained)

    def inpaint(batch: dict[str, Any]) -> np.ndarray:
        named = [batch[name] for name in ("image", "hole", "hole_mask", *trained.inputs)]
        return program.run(*(np.asarray(array, like.dtype) for array, like in zip(named, _batch(trained), strict=True)))

    system, step, seen = description["system"], description["step"], description["training_data"]
    return Generator(system, step, str(folder), trained, seen, inpaint, digest)


class _Program:
    """A checked program with its weights, compiled when it first runs."""

    def __init__(self, folder: Path, content: bytes, weights: list[jax.Array], trained: Trained):
        self._folder, self._content, self._weights, self._trained = folder, content, weights, trained

    @functools.cached_property
    def _compiled(self) -> Callable[..., jax.Array]:
        """UserError if the program cannot be compiled, or needs more memory than there is."""
        with self._errors():
            exported = jax.export.deserialize(bytearray(self._content))
            compiled = (
                jax.jit(exported.call, compiler_options=processor.compiler_options())
                .lower(self._weights, *_batch(self._trained))
                .compile()
            )
            needed = getattr(compiled.memory_analysis(), "temp_size_in_bytes", 0)
        if jax.default_backend() == "cpu" and needed > memory.total():
            gib, has = needed >> 30, memory.total() >> 30
            raise UserError(f"{self._folder}: its program needs {gib:,} GiB of memory, this machine has {has:,} GiB")
        return compiled

    def run(self, *batch: np.ndarray) -> np.ndarray:
        """Returns inpainted images; UserError if the program fails."""
        compiled = self._compiled
        with self._errors():
            return np.asarray(compiled(self._weights, *batch))

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turns errors of reading, compiling or running the program into a UserError that names the folder."""
        try:
            yield
        except Exception as error:  # JAX raises many types for a program that it cannot compile
            problem = f"{self._folder}: its program cannot be compiled or run here ({reason(error)})"
            raise UserError(f"{problem}; export the model again, with --format=weights for other versions of JAX") from error


def _batch(trained: Trained) -> list[jax.ShapeDtypeStruct]:
    """Returns the shapes and types of the program's inputs after the weights."""
    size, side, count = trained.preparation.image_size, trained.hole_size, trained.batch_size
    batch = [
        jax.ShapeDtypeStruct((count, size, size, 1), jnp.float32),
        jax.ShapeDtypeStruct((count, 4), jnp.int32),
        jax.ShapeDtypeStruct((count, side, side), jnp.uint8),
    ]
    return batch + [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in _input_shapes(trained)]


def _platform() -> str:
    """Returns the platform of this process by its name in programs."""
    backend = jax.default_backend()
    return "cuda" if backend == "gpu" else backend


def _input_shapes(trained: Trained) -> list[tuple[int, ...]]:
    """Returns the shapes of the arrays of `trained.inputs`."""
    size, count = trained.preparation.image_size, trained.batch_size
    shapes = {"noise": (count, size, size), "opposite": (count, size, size, 2)}
    return [shapes[name] for name in trained.inputs]


def _read_weights(path: Path) -> list[jax.Array]:
    """Returns the weights in order; ValueError for a file that is no archive of them."""
    with archives.Arrays(path) as arrays:
        if arrays.shapes.keys() != {str(i) for i in range(len(arrays.shapes))}:
            raise ValueError(f"{WEIGHTS_FILE} has other arrays than the program takes")
        arrays.check_memory()
        return [jnp.asarray(arrays[str(i)]) for i in range(len(arrays.shapes))]
