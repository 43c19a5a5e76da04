"""Checkpoints of the first days, up to commit 5d1c16e, whose arrays have other names than those of today.

| then | today |
|---|---|
| `discriminators/global/params/logits/Conv_0/kernel` | `discriminators/global/params/logits/kernel` |
| `average/block_0/down_0/kernel` | `average/params/block_0/down_0/kernel` |
| `generator/statistics/...` | `average/statistics/...`, which was not averaged then |
"""

import contextlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from ipmedgan_jax.core import json_fields
from ipmedgan_jax.core.errors import UserError

Tree = Any

_NAMES_FILE = "_METADATA"
"""Orbax's list of the arrays of a state."""


def is_one(folder: Path) -> bool:
    """Whether the state in a folder has names of the first days. A damaged one is taken for one of today."""
    try:
        entries = json_fields.read(folder / _NAMES_FILE, finite=False)["tree_metadata"].values()
        paths = [[part["key"] for part in entry["key_metadata"]] for entry in entries]
        return any("Conv_0" in path or (path[0] == "average" and path[1] not in ("params", "statistics")) for path in paths)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, UserError):
        return False


def read(folder: Path, like: Tree) -> Tree:
    """Returns the state, or the parts of it, that `like` names, with its types and shardings. Reads the whole state.

    Raises KeyError if an array is missing, ValueError if it has another type or shape, and Orbax's errors.
    """
    with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
        names = handler.metadata(epath.Path(folder)).tree
        args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), names)
        found = _by_name(handler.restore(epath.Path(folder), args=ocp.args.PyTreeRestore(restore_args=args)))

    def place(path: tuple[Any, ...], leaf: Any) -> jax.Array:
        name = _name(path)
        array = found[next((other for other in (name, *_names_then(name)) if other in found), name)]
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            array = jax.random.wrap_key_data(array, impl=jax.random.key_impl(jax.random.key(0)))
        if (array.dtype, array.shape) != (leaf.dtype, leaf.shape):
            raise ValueError(f"{name} is {array.dtype} {array.shape}, expected {leaf.dtype} {leaf.shape}")
        return jax.device_put(array, leaf.sharding)

    return jax.tree.map_with_path(place, like)


def _names_then(name: str) -> list[str]:
    """Returns the names that an array may have had in the first days."""
    names = [name.removesuffix("/kernel") + "/Conv_0/kernel"]
    if name.startswith("average/params/"):
        names.append(name.replace("/params/", "/", 1))
    if name.startswith("average/statistics/"):
        names.append(name.replace("average/", "generator/", 1))
    return names


def _by_name(tree: Tree) -> dict[str, Any]:
    return {_name(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
