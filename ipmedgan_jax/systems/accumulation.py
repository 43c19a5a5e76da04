"""Gradient accumulation: the mean of a function over the micro-batches of a batch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from ipmedgan_jax.systems.interface import Batch, Tree


def mean_over_micro_batches(function: Callable[[Batch, Array], Tree], batch: Batch, key: Array, count: int) -> Tree:
    """Mean of `function(micro_batch, key)` over `count` equal shares of `batch`, computed in sequence to save memory.

    Each micro-batch has its own key, split from `key`. With a count of 1 the function receives `batch` and `key` unchanged.
    """
    if count == 1:
        return function(batch, key)
    micro_batches = jax.tree.map(lambda x: x.reshape(count, x.shape[0] // count, *x.shape[1:]), batch)
    keys = jax.random.split(key, count)
    shapes = jax.eval_shape(function, jax.tree.map(lambda x: x[0], micro_batches), jax.ShapeDtypeStruct((), key.dtype))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def add(total: Tree, inputs: tuple[Batch, Array]) -> tuple[Tree, None]:
        return jax.tree.map(lambda t, new: t + new / count, total, function(*inputs)), None

    return lax.scan(add, zeros, (micro_batches, keys))[0]
