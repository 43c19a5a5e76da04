"""Configs as JSON files: reading, writing, and which keys may change when a run resumes."""

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import PurePath
from typing import Any

from ml_collections import ConfigDict

import ipmedgan_jax
from ipmedgan_jax.configs import base
from ipmedgan_jax.core import json_fields, provenance
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.spelling import suggestion
from ipmedgan_jax.core.user_paths import without_homes
from ipmedgan_jax.data.augmentation import AugmentationSettings
from ipmedgan_jax.systems.building_blocks import LossSettings
from ipmedgan_jax.systems.registry import FINDERS, SYSTEMS

LENGTH_KEYS = ("train.epochs", "train.images", "train.steps")
"""Keys of a run's length. They may change when a run resumes, unless shares of its length decide what a step does."""


KEYS_FREE_ON_RESUME = (
    *(*LENGTH_KEYS, "train.minutes", "train.log_every", "train.validate_every"),
    *("train.validation_slices", "train.checkpoint_every", "train.keep"),
    *("data.dir", "data.assume_axial", "data.workers", "data.threads", "data.prefetch", "phantom", "evaluation"),
    *("data.foreground", "data.fold", "holes.avoid", "train.on_nonfinite", "train.deterministic", "train.wandb_project"),
)
"""Keys, or groups of keys, that may change when a run resumes: they do not change what a step computes.

The data may lie in another folder, but must be the same (`DATASET`). What they were prepared with is used, not
`data.foreground`, `data.fold` or `holes.avoid`.
"""


SWITCHES_ON_RESUME = ("train.target_cache_gib",)
"""Keys that may change when a run resumes, but not to or from 0: only being on or off changes what a step computes."""


KEYS_FREE_BETWEEN_SEEDS = (
    *("seed", "train.minutes", "train.log_every", "train.keep", "train.steps_per_dispatch", "train.deterministic"),
    *("train.wandb_project", "train.target_cache_gib", "generator.remat", "data.dir", "data.assume_axial", "data.foreground"),
    *("data.workers", "data.threads", "data.prefetch", "holes.avoid", "phantom"),
    *("evaluation.split", "evaluation.batch_size", "evaluation.examples"),
)
"""Keys, or groups of keys, that may differ between the seeds of one system.

Beside the seed itself they are folders, logs, speed and memory. What the data were prepared with is in their fingerprint.
Unlike KEYS_FREE_ON_RESUME, the length and what chooses the best checkpoint are not among them.
"""


DATASET = "dataset"
"""Key of `config.json` that is not in the config: the fingerprint of the prepared data."""


LESION_SHAPES, VGG19_SOURCE = "lesion_shapes", "vgg19_source"
"""Two more such keys: the digest of the lesions in `holes.lesions`, and where the weights in `vgg19.weights` come from.

Runs of older versions have neither.
"""


RECORDED = (DATASET, LESION_SHAPES, VGG19_SOURCE)
"""The keys of `config.json` that say what a run's input files held."""


PATH_KEYS = ("data.dir", "holes.avoid", "holes.lesions", "vgg19.weights", "train.start_from")
"""Keys that hold paths; `config.json` has `~` there for a home folder."""


def as_json(config: ConfigDict) -> dict[str, Any]:
    """Returns the config as nested dicts and lists, as `config.json` holds it."""
    return without_home_paths(json.loads(json.dumps(config.to_dict())))


def without_home_paths(saved: dict[str, Any]) -> dict[str, Any]:
    """Returns a config with `~` for home folders; commands replace it again."""
    return _with_paths(saved, lambda text: without_homes(text, expandable=True))


def without_folders(saved: dict[str, Any]) -> dict[str, Any]:
    """Returns a config whose paths are names alone, for models: the folders of a training machine mean nothing elsewhere."""
    return _with_paths(saved, lambda text: ",".join(PurePath(path).name for path in text.split(",")))


def _with_paths(saved: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Returns a config with `change` applied to its paths."""
    changed = {key: dict(value) if isinstance(value, dict) else value for key, value in saved.items()}
    for key in PATH_KEYS:
        group, _, name = key.partition(".")
        if isinstance(text := changed.get(group, {}).get(name), str):
            changed[group][name] = change(text)
    return changed


_FIRST_LOSS_KEYS = {
    *("adversarial", "local", "style", "style_layers", "l1_region"),
    *("perceptual", "perceptual_reduction", "perceptual_layers"),
}

ADDED_KEYS = {
    "data.assume_axial": False,
    **{f"loss.{field.name}": field.default for field in fields(LossSettings) if field.name not in _FIRST_LOSS_KEYS},
    "generator.remat": False,
    "generator.sees_mask": False,
    "generator.smooth_start": False,
    "generator.stacked": False,
    "generator.noise": False,
    "generator.opposite": False,
    "data.window": 0,
    "data.fold": "",
    "optimiser.warmup_steps": 0,
    "optimiser.decay": 0.0,
    "data.foreground": "threshold",
    "holes.avoid": "",
    "holes.kinds": ["square"],
    "holes.shares": [],
    "holes.smallest": 8,
    "holes.lesions": "",
    "evaluation.split": "test",
    **{f"augment.{field.name}": field.default for field in fields(AugmentationSettings)},
    "damage.kinds": [],
    "damage.shares": [],
    "damage.intact": 0.3,
    "optimiser.discriminator_rate": 0.0,
    "optimiser.name": "adam",
    "optimiser.rate_batch": 0,
    "train.discriminators_alone": 0.0,
    "train.generator_alone": 0.0,
    "train.images": 0,
    "train.steps_per_dispatch": 1,
    "train.mirror": False,
    "train.start_from": "",
    "train.on_nonfinite": "stop",
    "train.deterministic": False,
    "train.target_cache_gib": 0.0,
    "train.wandb_project": "",
}
"""Keys that were added after the first runs, with the value that stands for how runs without them behaved."""


_ADDED_KEYS_OF_SYSTEMS = {"unet": {"loss.reconstruction": 1.0}}
"""Values in place of those of ADDED_KEYS for runs of a system: the L1 of the first U-Nets had no weight."""


REMOVED_KEYS = ("evaluation.bootstrap",)
"""Keys that older runs have and that mean nothing any more: intervals are computed without resampling."""


RENAMED_SYSTEMS = {"ipmedgan_plus": "casnet_plus"}
"""Systems whose name another system has now, with their present names. Their configs have no `generator.noise`."""


def with_added_keys(saved: dict[str, Any]) -> dict[str, Any]:
    """Returns the config in a `config.json` of any age, with today's keys: those added since, without those removed.

    A system that has been renamed since has its present name.
    """
    beside = (provenance.KEY, json_fields.SEAL)
    completed = without_home_paths({key: value for key, value in saved.items() if key not in beside})
    if "noise" not in completed.get("generator", {}) and completed.get("system") in RENAMED_SYSTEMS:
        completed["system"] = RENAMED_SYSTEMS[completed["system"]]
    for group, _, name in (key.partition(".") for key in REMOVED_KEYS):
        if name in completed.get(group, {}):
            completed[group] = {key: value for key, value in completed[group].items() if key != name}
    own = _ADDED_KEYS_OF_SYSTEMS.get(str(completed.get("system")), {})
    for key, value in (ADDED_KEYS | own).items():
        group, _, name = key.partition(".")
        completed.setdefault(group, {}).setdefault(name, value)
    return completed


def completed(saved: dict[str, Any], path: PurePath) -> dict[str, Any]:
    """Returns `with_added_keys` of the config in the file `path`.

    Raises UserError if a newer version wrote it, ValueError if a key is missing or has a value of another kind.
    """
    for group, value in saved.items():
        if isinstance(_DEFAULTS.get(group), dict) and not isinstance(value, dict):
            raise ValueError(f"{group}: expected an object")
    config = with_added_keys(saved)
    found, known = flattened(config), flattened(_DEFAULTS)
    for key in found:
        if key not in known and key not in RECORDED:
            _refuse_as_newer(path, saved, f"has the setting {key}")
    for key, default in known.items():
        if key not in found:
            raise ValueError(f"no field {key}")
        if _kind(found[key]) != _kind(default):
            raise ValueError(f"{key}: expected {_kind(default)}, found {_kind(found[key])}")
    if (system := config["system"]) not in (*SYSTEMS, *FINDERS):
        _refuse_as_newer(path, saved, f"is of the system {system}")
    return config


_DEFAULTS: dict[str, Any] = base.get_config().to_dict()


def _refuse_as_newer(path: PurePath, saved: dict[str, Any], what: str) -> None:
    made = saved.get(provenance.KEY)
    last = made[-1] if isinstance(made, list) and made and isinstance(made[-1], dict) else {}
    commit = f" at commit {last['commit']}" if last.get("commit") else ""
    by = f"ipmedgan_jax {last.get('ipmedgan_jax')}{commit}" if last else "a newer version"
    raise UserError(
        f"{path}: {what}, which ipmedgan_jax {ipmedgan_jax.__version__} does not have: written by {by}; update the package"
    )


def _kind(value: Any) -> str:
    """Returns the kind of a setting's value, in words; whole numbers and others are of one kind."""
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list", tuple: "a list"}
    return kinds.get(type(value), "another value")


def check_known(config: ConfigDict, path: PurePath) -> None:
    """Raises UserError for a key of a config file that no setting has; suggests the nearest one."""
    known = flattened(_DEFAULTS)
    for key in flattened(config.to_dict()):
        if key not in known:
            raise UserError(f"{path}: config.{key}: no such key{suggestion(key, known, 'config.')}")


KEYS_OF_ONE_PROCESS = ("data.dir", "data.workers", "data.threads", "data.prefetch")
"""Keys that may differ between the processes of one run."""


def shared_settings(config: ConfigDict) -> dict[str, Any]:
    """Returns the settings, `{"train.steps": 3}`, that all processes of a run must agree on."""
    return {key: value for key, value in flattened(as_json(config)).items() if key not in KEYS_OF_ONE_PROCESS}


def from_json(saved: dict[str, Any]) -> ConfigDict:
    """Returns the locked config of a `config.json`; lists become tuples, as in the config that was saved."""
    return ConfigDict(_with_tuples({key: value for key, value in saved.items() if key not in RECORDED})).lock()


def _with_tuples(value: Any) -> Any:
    """Turns the lists in nested dicts into tuples."""
    if isinstance(value, dict):
        return {key: _with_tuples(entry) for key, entry in value.items()}
    return tuple(value) if isinstance(value, list) else value


def flattened(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"train": {"steps": 3}}` -> `{"train.steps": 3}`."""
    items: dict[str, Any] = {}
    for key, value in nested.items():
        items |= flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return items


def differing_keys(saved: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """Returns the keys, in order, whose values differ and may not change when a run resumes."""
    a, b = (
        {key: bool(value) if key in SWITCHES_ON_RESUME else value for key, value in flattened(config).items()}
        for config in (saved, current)
    )
    has_phases = any(a.get(key) for key in ("train.generator_alone", "train.discriminators_alone", "optimiser.decay"))
    return _differing(a, b, [key for key in KEYS_FREE_ON_RESUME if not (has_phases and key in LENGTH_KEYS)])


def differing_but_for_seed(saved: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Returns the keys, in order, by which two runs are more than two seeds of one system."""
    return _differing(flattened(saved), flattened(other), KEYS_FREE_BETWEEN_SEEDS)


def _differing(a: dict[str, Any], b: dict[str, Any], free: Sequence[str]) -> list[str]:
    """Returns the keys, in order, whose values differ, without those that are `free` or in a free group.

    Of RECORDED, only what both know is compared.
    """
    unknown = [key for key in RECORDED if key not in a or key not in b]
    prefixes = tuple(f"{key}." for key in (*free, *unknown))
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key) and not f"{key}.".startswith(prefixes))
