"""The entries of the report of fills: for each scan a folder with its pictures and a JSON file."""

import contextlib
import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from ipmedgan_jax.core import files, json_fields

ENTRY = "entry.json"

VERSION = 2
"""Version of the entries; those of another are made anew."""

STATES = ("filled", "empty", "failed")
"""What became of a scan: it was filled, there was nothing to fill, or an error came."""

_CODING: dict[str, dict[str, Any]] = {
    "before": {"quality": 80, "method": 3},
    "filled": {"quality": 85, "method": 3},
    "difference": {"lossless": True, "method": 2},
    "outline": {"lossless": True, "method": 2},
}
"""How the layers are saved as WebP."""


def save(path: Path, entry: Mapping[str, Any], layers: Mapping[str, Image.Image]) -> None:
    """Writes an entry with its pictures, or replaces it; of several processes the last one wins."""
    pictures = {name: _encoded(picture, name) for name, picture in layers.items()}
    with files.atomic_folder(path, replace=True) as unfinished:
        for name, content in pictures.items():
            (unfinished / f"{name}.webp").write_bytes(content)
        files.write_json(unfinished / ENTRY, {"version": VERSION, **entry})


def _encoded(picture: Image.Image, layer: str) -> bytes:
    content = io.BytesIO()
    picture.save(content, "WEBP", **_CODING[layer])
    return content.getvalue()


def read(path: Path) -> dict[str, Any]:
    """Returns an entry; empty if it is none."""
    try:
        entry = json_fields.read(path / ENTRY)
    except (OSError, ValueError):
        return {}
    return entry if entry.get("version") == VERSION and entry.get("state") in STATES else {}


def folders(pictures: Path) -> list[Path]:
    """Returns the folders of all entries."""
    return sorted(path for path in pictures.iterdir() if path.is_dir() and not path.name.startswith("."))


def times(pictures: Path) -> dict[str, int]:
    """Returns the names of the entries with the times when they were made."""
    found = {}
    for path in folders(pictures):
        with contextlib.suppress(OSError):  # replaced at this moment
            found[path.name] = path.stat().st_mtime_ns
    return found


def is_of(entry: Mapping[str, Any], sidecar: Path | None) -> bool:
    """Whether an entry was made of the output that a sidecar describes now."""
    return sidecar is not None and bool(digest := digest_of(sidecar)) and entry.get("sidecar_sha256") == digest


def digests_of(sidecars: Iterable[Path]) -> set[str]:
    """Returns the digests of several sidecars."""
    return {digest for path in sidecars if (digest := digest_of(path))}


def digest_of(sidecar: Path) -> str:
    """Returns a digest of a sidecar; empty if there is none."""
    try:
        return hashlib.sha256(sidecar.read_bytes()).hexdigest()[:16]
    except OSError:
        return ""
