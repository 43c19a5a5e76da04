"""What both kinds of model folder share: their files, `model.json`, and its errors.

A model folder holds `model.json`, the weights, and a model card. Format 2, and 1 before it, is a compiled program
(`exported.py`). Format 3 is weights alone, for the networks of this package (`exported_weights.py`).
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax

import ipmedgan_jax
from ipmedgan_jax.core import files, json_fields, provenance
from ipmedgan_jax.core.errors import UserError, reason
from ipmedgan_jax.core.provenance import digest_of_path
from ipmedgan_jax.data import training_data
from ipmedgan_jax.inpainting import shipped
from ipmedgan_jax.inpainting.model import Generator
from ipmedgan_jax.inpainting.model_card import INTENDED_USE, Terms
from ipmedgan_jax.inpainting.shipped import CARD_FILE, MODEL_FILE

PROGRAM_FORMAT, WEIGHTS_FORMAT = 2, 3

_KEYS_OF_FORMAT_1 = {"seen": "training_data", "any_shape": "trained_on_any_shape"}
"""Keys of `model.json` and of its `trained` in format 1, with their present names."""

FORMATS = (1, PROGRAM_FORMAT, WEIGHTS_FORMAT)


def write_folder(
    folder: Path, generator: Generator, write_content: Callable[[Path], dict[str, Any]], card: str, terms: Terms
) -> None:
    """Writes a model folder atomically; UserError if the folder exists or cannot be written.

    Args:
      folder: the folder to write.
      generator: its name, step, training data and `trained` go to `model.json`.
      write_content: writes the other files to the folder that it gets. Returns further entries of `model.json`, among them
        `format_version`. The digests of its files are added.
      card: the text of the model card.
      terms: licence and attribution.
    """
    folder = folder.resolve()
    if folder.exists():
        raise UserError(f"{folder}: exists; choose another --output")
    try:
        with files.atomic_folder(folder) as unfinished:
            content = write_content(unfinished)
            description = {
                "format_version": content.pop("format_version"),
                "ipmedgan_jax": ipmedgan_jax.__version__,
                "jax": jax.__version__,
                provenance.KEY: provenance.provenance(jax.devices()),
                "system": generator.name,
                "step": generator.step,
                "trained": asdict(generator.trained),
                "training_data": generator.training_data,
                "sha256": {path.name: digest_of_path(path) for path in sorted(unfinished.iterdir())},
                "licence": terms.licence,
                "attribution": list(terms.attribution),
                "intended_use": INTENDED_USE,
            }
            files.write_json(unfinished / MODEL_FILE, json_fields.sealed(description | content))
            files.write_text(unfinished / CARD_FILE, card)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error


@dataclass(frozen=True)
class _Description:
    """The fields of `model.json` and their types; an earlier version did not write those that have a default."""

    format_version: int
    ipmedgan_jax: str
    jax: str
    system: str
    step: int
    trained: dict[str, Any]
    training_data: dict[str, Any]
    sha256: dict[str, str]
    provenance: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    attribution: tuple[str, ...] = ()
    intended_use: str = ""
    weights_sha256: str = ""
    fields_sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class _DescriptionWithConfig(_Description):
    """The fields of format 3."""

    parameters: int
    config: dict[str, Any]


def read_description(folder: Path) -> dict[str, Any]:
    """Returns the content of `model.json`, under its present names.

    UserError if the file is missing, of an unknown format or damaged, or has a changed, missing or unknown field. `trained`
    and `config` are checked by their readers.
    """
    with model_errors(folder):
        description = json_fields.read(folder / MODEL_FILE, finite=False)
        version = description.get("format_version")
        if type(version) is not int or version not in FORMATS:
            raise UserError(
                f"{folder}: has format {version!r}, of ipmedgan_jax {description.get('ipmedgan_jax')}; this version, "
                f"{ipmedgan_jax.__version__}, reads formats 1 to {FORMATS[-1]}; update the package"
            )
        json_fields.check_seal(description)
        if version == 1:
            description = _renamed(description)
            if isinstance(description.get("trained"), dict):
                description["trained"] = _renamed(description["trained"])
        found = json_fields.build(_DescriptionWithConfig if version == WEIGHTS_FORMAT else _Description, description)
        if found.step < 0:
            raise ValueError(f"step: a number below 0, {found.step}")
        training_data.check(found.training_data, "training_data.")
        return description


def _renamed(fields: dict[str, Any]) -> dict[str, Any]:
    """Gives the fields of format 1 their present names."""
    return {_KEYS_OF_FORMAT_1.get(name, name): value for name, value in fields.items()}


@contextlib.contextmanager
def model_errors(folder: Path) -> Iterator[None]:
    """Turns errors of reading a model folder into a UserError that names the folder or the missing file."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename}: not found; --model must name a folder of python -m ipmedgan_jax.export"
        ) from error
    except (ArithmeticError, AttributeError, EOFError, LookupError, OSError, TypeError, ValueError) as error:
        raise UserError(f"{folder}: damaged or of another version ({reason(error)}); {remedy(folder)}") from error


def remedy(folder: Path) -> str:
    """Returns what to do about a damaged model, for the end of a message."""
    return "install ipmedgan_jax again" if folder.parent == shipped.FOLDER else "export the model again"
