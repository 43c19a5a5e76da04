"""Targets: what a system's loss compares with and a real slice alone decides. Computed once a slice, kept on the host.

A program for one slice computes them, whether they are kept or not. So they depend neither on the rest of the batch nor on
what is kept, and a resumed run, which starts with nothing kept, gets the same bits. A slice is known by its pixels: a
mirrored slice is another slice.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ipmedgan_jax.data.batches import NumpyBatch
from ipmedgan_jax.systems.interface import HasTargets, System, Tree


class TargetCache:
    """The targets of slices, of which at most `limit` bytes are kept; those that no longer fit are computed every time.

    Args:
      compute: compiled function from an image `[1, H, W, 1]` to a tree of arrays `[1, ...]`.
      shapes: shapes and types of that tree.
      slices: number of different slices, at most; there is no room for more.
    """

    def __init__(self, compute: Callable[[np.ndarray], Tree], shapes: Tree, *, limit: float, slices: int) -> None:
        size = sum(shape.size * shape.dtype.itemsize for shape in jax.tree.leaves(shapes))
        self._capacity = min(slices, int(limit // size))
        # One block from the start: arrays between those of the steps would scatter the free memory. Unused pages take none.
        self._kept = jax.tree.map(lambda shape: np.empty((self._capacity, *shape.shape[1:]), shape.dtype), shapes)
        self._compute = compute
        self._rows: dict[bytes, int] = {}

    def __len__(self) -> int:
        """The number of slices whose targets are kept."""
        return len(self._rows)

    def add_to(self, batch: NumpyBatch) -> NumpyBatch:
        """Returns the batch with the targets of its images, a tree of arrays `[B, ...]`."""
        per_image = [self._targets(image) for image in batch["image"]]
        return batch | {"targets": jax.tree.map(lambda *arrays: np.concatenate(arrays), *per_image)}

    def _targets(self, image: np.ndarray) -> Tree:
        """The targets of one image, a tree of arrays `[1, ...]`."""
        digest = hashlib.blake2b(image.data, digest_size=16).digest()
        if digest not in self._rows:
            targets = self._compute_targets(image)
            row = len(self)
            if row == self._capacity:
                return targets
            jax.tree.map(lambda kept, array: np.copyto(kept[row : row + 1], array), self._kept, targets)
            self._rows[digest] = row
        row = self._rows[digest]
        return jax.tree.map(lambda kept: kept[row : row + 1], self._kept)

    def _compute_targets(self, image: np.ndarray) -> Tree:
        return jax.device_get(self._compute(image[None]))


def make_add_targets(
    system: System, frozen: Tree, *, gib: float, image_size: int, slices: int
) -> Callable[[NumpyBatch], NumpyBatch]:
    """Returns a function batch -> the batch with its targets; the batch as it is if `gib` is 0 or the system has none.

    Args:
      frozen: the system's frozen weights, on the one device that computes the targets.
      gib: GiB to keep, at most.
      slices: number of different slices, at most.
    """
    shapes = _target_shapes(system, frozen, gib, image_size, 1)
    if shapes is None:
        return lambda batch: batch
    assert isinstance(system, HasTargets)
    compute = jax.jit(system.targets).lower(frozen, _images(image_size, 1)).compile()
    return TargetCache(lambda image: compute(frozen, image), shapes, limit=gib * 2**30, slices=slices).add_to


def blank_targets(system: System, frozen: Tree, *, gib: float, image_size: int, count: int) -> NumpyBatch:
    """Returns what `make_add_targets` adds to a batch of `count` slices, as zeros."""
    shapes = _target_shapes(system, frozen, gib, image_size, count)
    return {} if shapes is None else {"targets": jax.tree.map(lambda shape: np.zeros(shape.shape, shape.dtype), shapes)}


def _target_shapes(system: System, frozen: Tree, gib: float, image_size: int, count: int) -> Any:
    """The shapes and types of the targets of `count` slices; None if there are none to add."""
    if not gib or not isinstance(system, HasTargets):
        return None
    return jax.eval_shape(system.targets, frozen, _images(image_size, count))


def _images(size: int, count: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((count, size, size, 1), np.float32)
