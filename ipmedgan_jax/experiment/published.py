"""A run's settings beside those that its system was published with: `configs/mri.py` or `configs/ct.py`.

Each system reads a part of the settings (`UNUSED_KEYS`); the others change nothing in its runs.
"""

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ipmedgan_jax.configs import base, ct, mri
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.experiment.saved_config import KEYS_FREE_ON_RESUME, flattened, without_folders

OWN_SYSTEMS = frozenset({"ipmedgan_plus", "casnet_plus", "unet", "finder"})
"""Systems without a paper of their own; their settings are compared with the config's for them."""

_CASNET = ("generator.blocks", "generator.dropout", "generator.stacked", "generator.remat")

_OF_PLUS = ("generator.smooth_start", "generator.noise", "generator.opposite")

_OF_FEATURES = ("loss.content", "loss.structure", "loss.l1_region")

_ADVERSARIAL = ("discriminator", "optimiser.discriminator_rate", "loss.adversarial", "loss.local", "vgg19")

_OF_PAPER = (
    "loss.style",
    "loss.style_layers",
    "loss.perceptual",
    "loss.perceptual_reduction",
    "loss.perceptual_scale_by_size",
    "loss.perceptual_layers",
)

_WINDOWED = (
    *("damage", "discriminator.layers", "vgg19", "generator.sees_mask", "loss.local"),
    *(*_CASNET, *_OF_PLUS, *_OF_FEATURES, *_OF_PAPER),
)

UNUSED_KEYS: dict[str, tuple[str, ...]] = {
    "ipmedgan": ("damage", *_OF_PLUS, *_OF_FEATURES),
    "medgan": ("damage", *_OF_PLUS, *_OF_FEATURES),
    "casnet_plus": (
        *("damage", "generator.noise", "generator.opposite", "loss.structure", "loss.l1_region"),
        *("loss.style_layers", "loss.perceptual_layers"),
    ),
    "ipmedgan_plus": (
        *("damage", "discriminator.layers", "holes.fill", "normalisation", "generator.sees_mask", "generator.smooth_start"),
        *("loss.local", "loss.l1_region", *_CASNET, *_OF_PAPER),
    ),
    "context_encoder": _WINDOWED,
    "glcic": (*_WINDOWED, "holes.fill"),
    "glcic_cited": _WINDOWED,
    "unet": (
        *("damage", "generator.sees_mask", "loss.content", "loss.structure"),
        *(*_OF_PLUS, *_ADVERSARIAL, *_OF_PAPER),
    ),
    "finder": (
        *("holes.fill", "holes.kinds", "holes.shares", "holes.lesions", "generator.sees_mask", "loss.reconstruction"),
        *("generator.blocks", "generator.stacked", "generator.remat"),
        *(*_OF_PLUS, *_OF_FEATURES, *_ADVERSARIAL, *_OF_PAPER),
    ),
}
"""For each system the keys, or groups of keys, that no step of its training reads."""


@dataclass(frozen=True)
class Setting:
    """A setting of a run as text: its value, the one it is compared with, and its comment in `configs/base.py`.

    `is_used` tells whether the run's system reads it.
    """

    key: str
    value: str
    published: str
    meaning: str
    is_used: bool = True

    @property
    def is_changed(self) -> bool:
        return self.value != self.published

    @property
    def changes_results(self) -> bool:
        """Whether what a step computes depends on it; other settings say where data lie, how long a run is, what it logs."""
        return self.is_used and not _is_among(self.key, KEYS_FREE_ON_RESUME)


def _is_among(key: str, groups: Iterable[str]) -> bool:
    """Whether a key is one of these, or in one of these groups."""
    return f"{key}.".startswith(tuple(f"{group}." for group in groups))


def column_title(config: Mapping[str, Any]) -> str:
    """Returns the heading of the values that settings are compared with."""
    return "default" if config["system"] in OWN_SYSTEMS else "published"


def published_name(config: Mapping[str, Any]) -> str:
    """Returns what the settings are compared with, in words."""
    file = f"configs/{config['modality']}.py"
    return f"{file}:{config['system']}" if config["system"] in OWN_SYSTEMS else f"the paper ({file}:{config['system']})"


def beside_published(config: Mapping[str, Any]) -> list[Setting]:
    """Returns all settings of a run's config (`as_json`), changed ones first: those that change results lead.

    Those that the system does not read are the last of the changed ones.
    """
    published = (ct if config["modality"] == "ct" else mri).get_config(config["system"])
    values, originals = (flattened(without_folders(dict(nested))) for nested in (config, published.to_dict()))
    meanings, unused = _meanings(), UNUSED_KEYS.get(config["system"], ())
    settings = [
        Setting(
            key,
            _as_text(_without_names(key, value)),
            _as_text(originals[key]),
            meanings.get(key, ""),
            not _is_among(key, unused),
        )
        for key, value in values.items()
        if key in originals
    ]
    return sorted(settings, key=_place)


def _place(setting: Setting) -> tuple[bool, bool, bool, str]:
    return not setting.is_changed, not setting.changes_results, not setting.is_used, setting.key


def markdown(settings: list[Setting], compared_with: str) -> str:
    """Returns the settings as a Markdown table, for TensorBoard."""
    rows = [f"| {'**' * s.is_changed}{s.key}{'**' * s.is_changed} | {s.value} | {s.published} |" for s in settings]
    return "\n".join([f"| setting (changed ones first) | this run | {compared_with} |", "|---|---|---|", *rows])


def _meanings() -> dict[str, str]:
    """Returns the comment of each key in `configs/base.py`."""
    lines = re.findall(r"^    (?:config\.)?(\w+(?:\.\w+)?) = .*?  # (.+)$", inspect.getsource(base), re.MULTILINE)
    return dict(lines)


def _without_names(key: str, value: Any) -> Any:
    """Returns how many subjects a setting names in place of their names, which may be patients'; other values as they are."""
    return counted(len(value), "name") if key.endswith("_subjects") and value else value


def _as_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_as_text, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:g}" if abs(value) < 1e6 else str(value)
    return str(value) or "none"
