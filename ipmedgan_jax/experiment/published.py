"""A run's settings beside those that its system was published with: `configs/mri.py` or `configs/ct.py`."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ipmedgan_jax.configs import base, ct, mri
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.experiment.saved_config import KEYS_FREE_ON_RESUME, flattened, without_folders

OWN_SYSTEMS = frozenset({"ipmedgan_plus", "casnet_plus", "unet", "finder"})
"""Systems without a paper of their own; their settings are compared with the config's for them."""


@dataclass(frozen=True)
class Setting:
    """A setting of a run: its key, its value and the published one as text, and its comment in `configs/base.py`."""

    key: str
    value: str
    published: str
    meaning: str

    @property
    def is_changed(self) -> bool:
        return self.value != self.published

    @property
    def changes_results(self) -> bool:
        """Whether what a step computes depends on it; other settings say where data lie, how long a run is, what it logs."""
        return not f"{self.key}.".startswith(tuple(f"{key}." for key in KEYS_FREE_ON_RESUME))


def published_name(config: Mapping[str, Any]) -> str:
    """Returns what the settings are compared with, in words."""
    file = f"configs/{config['modality']}.py"
    return f"{file}:{config['system']}" if config["system"] in OWN_SYSTEMS else f"the paper ({file}:{config['system']})"


def beside_published(config: Mapping[str, Any]) -> list[Setting]:
    """Returns all settings of a run's config (`as_json`), changed ones first: those that change results lead."""
    published = (ct if config["modality"] == "ct" else mri).get_config(config["system"])
    values, originals = (flattened(without_folders(dict(nested))) for nested in (config, published.to_dict()))
    meanings = _meanings()
    settings = [
        Setting(key, _as_text(_without_names(key, value)), _as_text(originals[key]), meanings.get(key, ""))
        for key, value in values.items()
        if key in originals
    ]
    return sorted(settings, key=lambda setting: (not setting.is_changed, not setting.changes_results, setting.key))


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
