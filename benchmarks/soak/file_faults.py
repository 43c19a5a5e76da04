"""Faults of one file, each drawn by a generator: what disks, copies and editors do to bytes and to fields of JSON."""

import json
from pathlib import Path
from typing import Any

import numpy as np

OTHER_VALUES = (None, True, -1, 3, 0.25, 10**30, "x", "", [], {}, [0, 1], {"a": 1})
"""What a field of JSON is changed to: of its own type or of another."""


def flip_bit(path: Path, rng: np.random.Generator) -> str:
    """Flips one bit."""
    content = bytearray(path.read_bytes())
    place = int(rng.integers(len(content)))
    content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    return f"a bit of byte {place} of {path.name}"


def cut(path: Path, rng: np.random.Generator) -> str:
    """Cuts the file short, to nothing at the least."""
    content = path.read_bytes()
    kept = int(rng.integers(len(content)))
    path.write_bytes(content[:kept])
    return f"{path.name} cut to {kept} of {len(content)} bytes"


def zero(path: Path, rng: np.random.Generator) -> str:
    """Makes a run of bytes zero, as a block that was never written."""
    content = bytearray(path.read_bytes())
    start = int(rng.integers(len(content)))
    end = min(len(content), start + int(rng.integers(1, 4097)))
    content[start:end] = bytes(end - start)
    path.write_bytes(content)
    return f"bytes {start} to {end} of {path.name} zero"


def append(path: Path, rng: np.random.Generator) -> str:
    """Adds bytes at the end."""
    count = int(rng.integers(1, 200))
    path.write_bytes(path.read_bytes() + rng.bytes(count))
    return f"{count} bytes after the end of {path.name}"


def delete(path: Path, rng: np.random.Generator) -> str:
    """Removes the file."""
    path.unlink()
    return f"{path.name} deleted"


def rename(path: Path, rng: np.random.Generator) -> str:
    """Gives the file a name that nothing expects."""
    path.rename(path.with_name(f"copy of {path.name}"))
    return f"{path.name} renamed"


def change_field(path: Path, rng: np.random.Generator) -> str:
    """Changes, removes or renames one field at any depth of a JSON file; half of the changes keep its type."""
    content = json.loads(path.read_text())
    holders = [holder for holder in _containers(content) if holder]
    holder = holders[int(rng.integers(len(holders)))]
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    key = keys[int(rng.integers(len(keys)))]
    kind = rng.choice(["change", "change to another type", "remove", "rename"], p=[0.5, 0.2, 0.15, 0.15])
    if kind == "rename" and isinstance(holder, dict):
        holder[f"{key}_"] = holder.pop(key)
    elif kind == "change":
        holder[key] = _changed(holder[key])
    elif kind == "change to another type":
        holder[key] = OTHER_VALUES[int(rng.integers(len(OTHER_VALUES)))]
    else:
        del holder[key]
    path.write_text(json.dumps(content, indent=1) + "\n")
    return f"{kind} of field {key} in {path.name}"


def _changed(value: Any) -> Any:
    """Returns another value of the same type; an object or a list loses its last item, and null stays."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{value}x"
    return dict(list(value.items())[:-1]) if isinstance(value, dict) else value[:-1] if isinstance(value, list) else value


def _containers(value: Any) -> list[Any]:
    """Returns the objects and lists in a JSON value, itself among them."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [value] if isinstance(value, dict | list) else []
    return found + [container for item in inner for container in _containers(item)]


BYTES = (flip_bit, cut, zero, append, delete, rename)
"""Faults that any file may have."""
