"""Altered compiled programs in model folders whose digests are right: each must be refused by one line, or run.

`program_check` reads each in a process of its own, so a program that crashes its reader does not end the soak.
"""

import hashlib
import json
import random
from pathlib import Path

import numpy as np

from benchmarks.soak.tally import Plan, Tally
from ipmedgan_jax.core import json_fields
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging.settings import PreparationSettings
from ipmedgan_jax.inpainting import exported
from ipmedgan_jax.inpainting.model import Generator, Trained

TRAINED = Trained(PreparationSettings("mri", 32), 16, False, 2)


def run(plan: Plan) -> Tally:
    """Alters 1 to 4 bytes of a small program, signs the folder, and loads and runs the model, `plan.count` times."""
    tally, rng = Tally(), random.Random(plan.seed)
    model = make_model(plan.folder / "model")
    content = (model / exported.PROGRAM_FILE).read_bytes()
    for i in range(plan.count):
        altered = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            altered[rng.randrange(len(altered))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        give(model, bytes(altered))
        try:
            exported.read(model).inpaint(batch())
            tally.harmless += 1  # another program, whose digest is right
        except UserError:
            tally.noticed += 1
        except Exception as error:  # any: it is what the soak looks for
            tally.silent.append(f"program {i}: {type(error).__name__}: {str(error)[:200]}")
    return tally


def make_model(folder: Path) -> Path:
    """Writes a compiled model that adds its one weight to the image."""
    generator = Generator("unet", 3, "run", TRAINED, {}, lambda batch: batch["image"])
    exported.write(folder, generator, lambda weights, image, *_: image + weights[0], [np.float32(1)], "card")
    return folder


def give(folder: Path, program: bytes) -> None:
    """Puts a program into a model folder whose digests fit it."""
    (folder / exported.PROGRAM_FILE).write_bytes(program)
    sign(folder)


def sign(folder: Path) -> None:
    """Gives `model.json` the digests of the files as they are."""
    path = folder / "model.json"
    files = (exported.PROGRAM_FILE, exported.WEIGHTS_FILE)
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}
    path.write_text(json.dumps(json_fields.sealed(json.loads(path.read_text()) | {"sha256": digests})))


def batch() -> dict[str, np.ndarray]:
    """Returns a batch of the model's inputs."""
    return {"image": np.zeros((2, 32, 32, 1)), "hole": np.zeros((2, 4)), "hole_mask": np.zeros((2, 16, 16))}
