"""Exported models: a folder with a generator's program, weights and settings, which runs without training code.

`generator.stablehlo` is the program (StableHLO). It takes the weights in order, images `[B, H, W, 1]` in [-1, 1], holes
`[B, 4]`, hole masks `[B, h, w]` inside these boxes, and the arrays that `trained.inputs` names. It returns inpainted images.
`weights.npz` holds the weights under the names `0`, `1`, ...; `model.json` holds the rest.
"""

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

import ipmedgan_jax
from ipmedgan_jax.core import files, provenance
from ipmedgan_jax.core.errors import UserError, reason
from ipmedgan_jax.core.provenance import digest_of_arrays, digest_of_path
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.imaging.settings import PreparationSettings
from ipmedgan_jax.inpainting.model import Generator, Trained

MODEL_FILE, PROGRAM_FILE, WEIGHTS_FILE, CARD_FILE = "model.json", "generator.stablehlo", "weights.npz", "MODEL_CARD.md"

FORMAT_VERSION = 2

_KEYS_OF_FORMAT_1 = {"seen": "training_data", "any_shape": "trained_on_any_shape"}
"""Keys of `model.json` and of its `trained` in format 1, with their present names."""

PLATFORMS = ("cpu", "cuda")
"""Platforms that the program is compiled for; a machine of either kind can export for both."""


def write(
    folder: Path, generator: Generator, program: Callable[..., jax.Array], weights: Sequence[jax.Array], card: str
) -> None:
    """Writes an exported model atomically; UserError if the folder exists or cannot be written.

    Args:
      folder: the folder to write.
      generator: its name, step, training data and `trained` go to `model.json`.
      program: `program(weights, image, hole, hole_mask, *others)` returns inpainted images; the others are `trained.inputs`.
      weights: the program's weights, in order.
      card: the text of the model card.
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
    folder = folder.resolve()
    if folder.exists():
        raise UserError(f"{folder}: exists; choose another --output")
    written = jax.export.export(jax.jit(program), platforms=PLATFORMS)(abstract, *batch).serialize()
    try:
        with files.atomic_folder(folder) as unfinished:
            (unfinished / PROGRAM_FILE).write_bytes(written)
            arrays: dict[str, Any] = {str(i): np.asarray(weight) for i, weight in enumerate(weights)}
            np.savez(unfinished / WEIGHTS_FILE, **arrays)
            (unfinished / CARD_FILE).write_text(card)
            description = {
                "format_version": FORMAT_VERSION,
                "ipmedgan_jax": ipmedgan_jax.__version__,
                "jax": jax.__version__,
                provenance.KEY: provenance.provenance(jax.devices()),
                "system": generator.name,
                "step": generator.step,
                "trained": asdict(trained),
                "training_data": generator.training_data,
                "sha256": {name: digest_of_path(unfinished / name) for name in (PROGRAM_FILE, WEIGHTS_FILE)},
            }
            files.write_json(unfinished / MODEL_FILE, description)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error


def read(folder: Path) -> Generator:
    """Reads an exported model; UserError if the folder is missing, damaged or of an unknown format."""
    try:
        description = json.loads((folder / MODEL_FILE).read_text())
        if description["format_version"] not in (1, FORMAT_VERSION):
            raise UserError(
                f"{folder}: has format {description['format_version']!r}; this version reads formats 1 to {FORMAT_VERSION}"
            )
        if description["format_version"] == 1:
            description = _renamed(description | {"trained": _renamed(description["trained"])})
        for name in (PROGRAM_FILE, WEIGHTS_FILE):
            if digest_of_path(folder / name) != description["sha256"][name]:
                raise UserError(f"{folder / name}: damaged; export the model again")
        exported = jax.export.deserialize(bytearray((folder / PROGRAM_FILE).read_bytes()))
        with np.load(folder / WEIGHTS_FILE, allow_pickle=False) as arrays:
            weights = [jnp.asarray(arrays[str(i)]) for i in range(len(arrays.files))]
        fields = description["trained"]
        preparation = PreparationSettings(fields["preparation"]["modality"], fields["preparation"]["image_size"])
        described = {"preparation": preparation.as_recorded(fields["preparation"]), "inputs": tuple(fields.get("inputs", ()))}
        trained = Trained(**fields | described)
        size, side, count = trained.preparation.image_size, trained.hole_size, trained.batch_size
        shapes: list[tuple[int, ...]] = [(count, size, size, 1), (count, 4), (count, side, side)]
        shapes += _input_shapes(trained)
        if [array.shape for array in exported.in_avals[len(weights) :]] != shapes:
            raise ValueError("the program is for images or holes of other sizes")
        name, step, training_data = str(description["system"]), int(description["step"]), dict(description["training_data"])
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename}: not found; --model must name a folder of python -m ipmedgan_jax.export"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{folder}: damaged or of another version ({reason(error)}); export the model again") from error
    program = jax.jit(exported.call)

    def inpaint(batch: dict[str, Any]) -> np.ndarray:
        others = [batch[name] for name in trained.inputs]
        return np.asarray(program(weights, batch["image"].astype(np.float32), batch["hole"], batch["hole_mask"], *others))

    return Generator(name, step, str(folder), trained, training_data, inpaint, digest_of_arrays(weights))


def _input_shapes(trained: Trained) -> list[tuple[int, ...]]:
    """Returns the shapes of the arrays of `trained.inputs`."""
    size, count = trained.preparation.image_size, trained.batch_size
    shapes = {"noise": (count, size, size), "opposite": (count, size, size, 2)}
    return [shapes[name] for name in trained.inputs]


def _renamed(fields: dict[str, Any]) -> dict[str, Any]:
    """Gives the fields of format 1 their present names."""
    return {_KEYS_OF_FORMAT_1.get(name, name): value for name, value in fields.items()}


def card(generator: Generator, scores: dict[str, Any] | None) -> str:
    """Returns a model card in Markdown; `scores` is the content of the run's metrics.json, or None."""
    trained, data = generator.trained, generator.training_data
    settings = trained.preparation
    shape = "of any shape, at most" if trained.trained_on_any_shape else "that are squares of"
    lines = [
        f"# {generator.name}, step {generator.step}",
        "",
        f"Fills holes {shape} {trained.hole_size} x {trained.hole_size} pixels in {settings.modality.upper()} slices of "
        f"{settings.image_size} x {settings.image_size} pixels. Made with ipmedgan_jax {ipmedgan_jax.__version__}.",
        "",
        "## Use",
        "",
        "`python -m ipmedgan_jax.inpaint --model=THIS_FOLDER --image=in.nii.gz --mask=hole.nii.gz --output=out.nii.gz`",
        "",
        "For research: to give later steps of a pipeline an image without the masked part. What is filled in is invented. "
        "**Not for diagnosis**.",
        "",
        "## Trained on",
        "",
    ]
    if "slices" in data:
        spacing = [" x ".join(f"{value:.3g}" for value in data[key]) for key in ("lowest_spacing_mm", "highest_spacing_mm")]
        slices, volumes, subjects = (
            counted(data[key], noun) for key, noun in (("slices", "slice"), ("volumes", "scan"), ("subjects", "subject"))
        )
        lines.append(
            f"{slices} of {volumes} of {subjects}; voxels of {spacing[0]} to {spacing[1]} mm. Nothing is known of how it "
            "does on other scanners, sequences, ages or illnesses."
        )
    else:
        lines.append("Not recorded.")
    lines += ["", "## Scores", ""]
    if scores:
        hole = scores["region"]["hole"]
        subjects = counted(scores["subjects"], f"{scores['data']['split']} subject")
        lines += [f"On {counted(scores['slices'], 'square hole')} of {subjects}, mean and 95 % interval:", ""]
        lines += ["| score | mean | interval |", "|---|---|---|"]
        for name, score in hole.items():
            if not isinstance(score, dict):
                continue  # derived from the others
            interval = " to ".join(f"{end:.4g}" for end in score["ci95"] or ())
            lines.append(f"| {name} | {score['mean']:.4g} | {interval} |")
    else:
        lines.append("Not evaluated.")
    return "\n".join(lines) + "\n"
