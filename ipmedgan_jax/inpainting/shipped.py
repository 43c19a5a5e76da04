"""The trained models that the package holds, by name: the folders of `ipmedgan_jax/models/`."""

from pathlib import Path

from absl import logging

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.spelling import suggestion
from ipmedgan_jax.core.user_paths import user_path

MODEL_FILE = "model.json"
"""The file by which a folder is known as a model."""

CARD_FILE = "MODEL_CARD.md"
"""The file in a model's folder that says what the model is for, from what it was made, and what it cannot do."""

FOLDER = Path(__file__).parents[1] / "models"


def names() -> list[str]:
    """Returns the names of the package's models, in order."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{MODEL_FILE}"))


def find(model: str) -> Path:
    """Returns the folder that --model names: a folder that holds a model, or else a model of the package.

    A user's own model wins over the package's model of the same name, with a warning, because --model is a path first. A
    folder without a model, such as one with scans, does not. UserError if there is neither.
    """
    folder, shipped = user_path(model), names()
    if (folder / MODEL_FILE).exists():
        if model in shipped:
            logging.warning("--model=%s: takes the folder %s, not the model of the package", model, folder.resolve())
        return folder
    if model in shipped:
        return FOLDER / model
    if folder.is_dir():
        return folder  # the reader says which file is missing
    known = f", or one of the package's models: {', '.join(shipped)}" if shipped else ""
    raise UserError(
        f"--model={model}: not found; expected a folder of python -m ipmedgan_jax.export{known}{suggestion(model, shipped)}"
    )


def label(folder: Path) -> str:
    """Returns a model's folder as sidecars name it: one of the package without the place of the installation."""
    return f"ipmedgan_jax/models/{folder.name}" if folder.parent == FOLDER else str(folder)


def flag_text() -> str:
    """Returns the choices of --model, for its help."""
    shipped = names()
    return f"{', '.join(shipped)}, or a folder" if shipped else "folder"
