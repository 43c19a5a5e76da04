"""The digests of a checkpoint: of each array of the state, of the input state, and of the digests themselves.

They are written with the checkpoint, as its item `digests`, and compared whenever a part of it is read. The item also holds
a copy of the validation scores, and the step, so that a checkpoint under another one's name is noticed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from ipmedgan_jax.core import digests

Tree = Any

ITEM = "digests"
"""Name of the item of a checkpoint."""


@dataclass(frozen=True)
class Leaf:
    """One array of the state: its type and shape in words, such as `float32 (3, 4)`, and its digest."""

    kind: str
    digest: str


@dataclass(frozen=True)
class Record:
    """What is recorded of a checkpoint: its step, its arrays by name, the digest of the input state, and the scores."""

    step: int
    leaves: Mapping[str, Leaf]
    input_digest: str
    scores: Mapping[str, float] | None

    def as_json(self) -> dict[str, Any]:
        """Returns the record as JSON, with a digest of itself."""
        content = {
            "algorithm": digests.ALGORITHM,
            "step": self.step,
            "leaves": {name: [leaf.kind, leaf.digest] for name, leaf in self.leaves.items()},
            "input": self.input_digest,
            "scores": self.scores if self.scores is None else dict(self.scores),
        }
        return content | {"digest": digests.of_json(content)}


def make(step: int, state: Tree, input_state: Mapping[str, Any], scores: Mapping[str, float] | None) -> Record:
    """Returns the record of a checkpoint that is about to be written."""
    return Record(step, of_leaves(state), digests.of_json(dict(input_state)), scores)


def from_json(content: Mapping[str, Any], step: int) -> Record:
    """Returns a record that was read for a step. ValueError, with the reason, if it is damaged or of another step."""
    without = {key: value for key, value in content.items() if key != "digest"}
    if content.get("digest") != digests.of_json(without):
        raise ValueError("not what was saved")
    if content["step"] != step:
        raise ValueError(f"of step {content['step']}")
    leaves = {name: Leaf(kind, digest) for name, (kind, digest) in content["leaves"].items()}
    return Record(content["step"], leaves, content["input"], content["scores"])


def kinds(tree: Tree) -> dict[str, str]:
    """Returns the type and shape of each array of a tree by its name; reads no values."""
    return {name: _kind(leaf) for name, leaf in _leaves(tree).items()}


def of_leaves(tree: Tree) -> dict[str, Leaf]:
    """Returns the digest of each array of a tree by its name. Of an array on several devices, the first copy is read."""
    leaves = _leaves(tree)
    found = digests.of_arrays(partial(_on_host, leaf) for leaf in leaves.values())
    return {name: Leaf(_kind(leaf), digest) for (name, leaf), digest in zip(leaves.items(), found, strict=True)}


def _leaves(tree: Tree) -> dict[str, Any]:
    """Returns the arrays of a tree by their names, `generator/params/a`, whether its nodes are dicts or dataclasses."""
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def _kind(leaf: Any) -> str:
    return f"{leaf.dtype} {tuple(leaf.shape)}"


def _on_host(leaf: Any) -> np.ndarray:
    """Returns an array's values, or those of a JAX key, on the host; on a CPU they are a view."""
    if not isinstance(leaf, jax.Array):
        return np.asarray(leaf)
    # One copy, as an object of its own: JAX keeps the values on the host as long as the object that they were asked of.
    copy = leaf.addressable_data(0)
    return np.asarray(jax.random.key_data(copy) if jax.dtypes.issubdtype(copy.dtype, jax.dtypes.prng_key) else copy)
