"""What the page offers to fill with: the models of the package, the one that the command names, and the classical fills."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipmedgan_jax.core import json_fields
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path, without_homes
from ipmedgan_jax.inpainting import shipped

if TYPE_CHECKING:
    from ipmedgan_jax.inpainting.filler import Filler

CLASSICAL = {
    "laplace": "Smooth: each voxel is the mean of its neighbours (Laplace's equation).",
    "biharmonic": "Smooth, and continues slopes across the border (biharmonic equation).",
    "surround_mean": "Flat: the mean of a ring around the hole.",
    "telea": "Marches from the border inwards (Telea, 2004).",
    "navier_stokes": "Continues edges into the hole (Bertalmio et al., 2001).",
    "rbf": "A thin-plate spline through a ring around the hole.",
    "shift_map": "Copies patches from elsewhere in the slice (He and Sun, 2012).",
}
"""The classical fills with a line about each."""

_LONGEST_CARD = 2**18


@dataclass(frozen=True)
class Source:
    """Something to fill with.

    Attributes:
      key: as the page names it: `model:flair`, `system:laplace`.
      load: loads it; takes seconds for a model. UserError if it cannot be loaded.
      title: a line about it.
      modality: `mri` or `ct`; empty if it takes both, or is not known before it is loaded.
      card: the model card, Markdown; empty if there is none.
    """

    key: str
    load: "Callable[[], Filler]"
    title: str
    modality: str = ""
    card: str = ""

    def as_json(self) -> dict[str, str]:
        """Returns what the page shows of a model."""
        return {"name": self.key.partition(":")[2], "title": self.title, "modality": self.modality, "card": self.card}


@dataclass(frozen=True)
class Sources:
    """All that the page offers; `default` is the key of what is chosen at first."""

    models: tuple[Source, ...]
    classical: tuple[Source, ...]
    default: str

    def find(self, key: str) -> Source | None:
        """Returns what has a key, or None."""
        return next((source for source in (*self.models, *self.classical) if source.key == key), None)


def offered(
    workdir: str | None = None, model: str | None = None, system: str | None = None, checkpoint: str = "best"
) -> Sources:
    """Returns what the page offers, with what the flags name, of which one is given at most, as default.

    UserError if they name several things, or one that does not exist.
    """
    if sum(name is not None for name in (workdir, model, system)) > 1:
        raise UserError("expected at most one of --workdir, --model and --system")
    if system is not None and system not in CLASSICAL:
        raise UserError(f"--system={system}: expected one of {', '.join(CLASSICAL)}")
    models = [_model(shipped.FOLDER / name, name) for name in shipped.names()]
    if model is not None and (folder := shipped.find(model)).parent != shipped.FOLDER:
        models.insert(0, _model(folder, model))
    if workdir is not None:
        models.insert(0, _run(user_path(workdir), workdir, checkpoint))
    classical = tuple(Source(f"system:{name}", _loader(system=name), text) for name, text in CLASSICAL.items())
    default = f"system:{system}" if system else f"model:{model}" if model in shipped.names() else ""
    return Sources(tuple(models), classical, default or next(source.key for source in (*models, *classical)))


def _model(folder: Path, name: str) -> Source:
    try:
        described = json_fields.read(folder / shipped.MODEL_FILE, finite=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"--model={name}: has no readable {shipped.MODEL_FILE}; expected a folder of an exported model"
        ) from error
    title = f"{described.get('system', 'model')}, step {described.get('step', '?')}"
    key = f"model:{folder.name if folder.parent == shipped.FOLDER else _own_name(folder)}"
    return Source(key, _loader(model=name), title, _modality(described), _card(folder))


def _run(folder: Path, name: str, checkpoint: str) -> Source:
    if not folder.is_dir():
        raise UserError(f"--workdir={name}: not found; expected the folder of a run")
    return Source(f"model:{_own_name(folder)}", _loader(workdir=name, checkpoint=checkpoint), f"run {folder.name}")


def _own_name(folder: Path) -> str:
    """Returns the name of a user's model: its folder's, unless a model of the package has it."""
    name = folder.resolve().name
    return f"{name} (own)" if name in shipped.names() else name


def _modality(described: dict[str, Any]) -> str:
    try:
        return str(described["trained"]["preparation"]["modality"])
    except (KeyError, TypeError):
        return ""


def _card(folder: Path) -> str:
    try:
        with (folder / shipped.CARD_FILE).open(encoding="utf-8", errors="replace") as file:
            return without_homes(file.read(_LONGEST_CARD))
    except OSError:
        return ""


def _loader(
    workdir: str | None = None, model: str | None = None, system: str | None = None, checkpoint: str = "best"
) -> "Callable[[], Filler]":
    def load() -> "Filler":
        from ipmedgan_jax.inpainting.load import load_filler

        return load_filler(workdir, model, system, checkpoint)

    return load
