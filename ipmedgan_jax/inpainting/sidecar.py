"""Sidecars: the JSON file beside each output says what made it, so that a rerun can tell whether it asks for the same."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ipmedgan_jax.core import json_fields
from ipmedgan_jax.core.provenance import digest_of_path
from ipmedgan_jax.core.user_paths import without_homes

_NAMES = {
    "system": "system",
    "step": "step",
    "weights_sha256": "the weights' SHA-256",
    "run": "run",
    "image_sha256": "the image's SHA-256",
    "series": "--series",
    "mask_sha256": "the mask's SHA-256",
    "mask": "mask",
    "mask_labels": "--mask_labels",
    "mask_above_hu": "--mask_above_hu",
    "finder_sha256": "the finder's SHA-256",
    "dilated_mm": "--dilate_mm",
    "match_mask": "--match_mask",
    "planes": "--planes",
    "samples": "--samples",
}
"""Names, for messages, of the entries that determine an output."""

WRITTEN = "written_sha256"
"""Key of a sidecar that holds the digests of the outputs, by their names; earlier versions did not write it."""

_REPLACED = {"weights_sha256": "run", "mask_sha256": "mask"}
"""Digests that earlier versions did not write, and the entries that stand for them in their sidecars."""


def portable(path: Path | str) -> str:
    """Returns the absolute path of a file for a sidecar, with `~` for a home folder."""
    return without_homes(str(Path(path).resolve()))


def read(path: Path) -> dict[str, Any]:
    """Returns the content of a sidecar; empty if it is missing or no sidecar."""
    try:
        return json_fields.read(path, finite=False)
    except (OSError, ValueError):
        return {}


def digests_of_outputs(paths: Iterable[Path]) -> dict[str, dict[str, str]]:
    """Returns the entry of a sidecar that holds the SHA-256 of each file or folder that was written, by its name."""
    return {WRITTEN: {path.name: digest_of_path(path) for path in paths}}


def changed_outputs(saved: dict[str, Any], paths: Iterable[Path]) -> list[Path]:
    """Returns the outputs that are missing, or have another digest than the sidecar has; one without a digest passes."""
    recorded = saved.get(WRITTEN)
    known = recorded if isinstance(recorded, dict) else {}
    return [path for path in paths if path.name in known and not has_digest(path, known[path.name])]


def describes(saved: dict[str, Any], path: Path) -> bool:
    """Whether a file or a folder is as a sidecar says that it was written, by its digest; False without one."""
    recorded = saved.get(WRITTEN)
    return isinstance(recorded, dict) and path.name in recorded and has_digest(path, recorded[path.name])


def has_digest(path: Path, expected: Any) -> bool:
    """Whether a file or a folder can be read and has a digest."""
    try:
        return digest_of_path(path) == expected
    except OSError:
        return False


def differences(saved: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Returns how an output's sidecar differs from what is asked now, in words; empty if it would be made the same.

    Sidecars of earlier versions have no digests. Their paths of the run and the mask are compared instead.

    Args:
      saved: the content of the sidecar.
      asked: the entries that determine the output, those of `_NAMES`.
    """
    keys = [key for key in asked if key in _NAMES and key in saved and key not in _REPLACED.values()]
    lines = [_difference(key, saved[key], asked[key]) for key in keys if saved[key] != asked[key]]
    for digest_key, key in _REPLACED.items():
        if digest_key not in saved and key in saved and _path_text(saved[key]) != _path_text(asked[key]):
            lines.append(_difference(key, saved[key], asked[key]))
    return lines


def _path_text(text: str | None) -> str | None:
    """Returns the path, or the description of a mask without a file, in the form in which both are compared."""
    if text is None:
        return None
    return portable(text) if Path(text).exists() else without_homes(text)


def _difference(key: str, saved: Any, asked: Any) -> str:
    return f"{_NAMES[key]} was {_shown(saved)}, is now {_shown(asked)}"


def _shown(value: Any) -> str:
    """Returns a value for a message; of a digest its beginning, as git shows it."""
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    if value is None:
        return "none"
    return f"{value[:10]}..." if isinstance(value, str) and len(value) == 64 else f"{value}"
