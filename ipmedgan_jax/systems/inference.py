"""A trained network as a function of NumPy arrays: one that fills holes, one that finds damage."""

from typing import Any

import jax
import numpy as np

from ipmedgan_jax.core import processor
from ipmedgan_jax.data.batches import Find, Inpaint
from ipmedgan_jax.systems.interface import Batch, System, Tree


class LearnedInpaint:
    """A system's generator as an `Inpaint` function, compiled once for any weights."""

    def __init__(self, system: System):
        def inpainted(params: Tree, statistics: Tree, batch: Batch) -> jax.Array:
            variables = {"params": params, "batch_stats": statistics}
            output: Any = system.generator.apply(variables, system.generator_input(batch), train=False)
            return batch.inpainted(output)

        self.inpainted = inpainted  # may be part of another program
        self._compiled = jax.jit(inpainted, compiler_options=processor.compiler_options())

    def bind(self, params: Tree, statistics: Tree) -> Inpaint:
        """Returns the function for these parameters, and running statistics if the generator has them."""
        return lambda batch: np.asarray(self._compiled(params, statistics, Batch(**batch)))


class LearnedFind:
    """A finder's network as a `Find` function, compiled once for any weights."""

    def __init__(self, system: System):
        def likelihood(params: Tree, statistics: Tree, images: jax.Array) -> jax.Array:
            logits: Any = system.generator.apply({"params": params, "batch_stats": statistics}, images, train=False)
            return jax.nn.sigmoid(logits)

        self._compiled = jax.jit(likelihood, compiler_options=processor.compiler_options())

    def bind(self, params: Tree, statistics: Tree) -> Find:
        """Returns the function for these parameters, and running statistics if the network has them."""
        return lambda images: np.asarray(self._compiled(params, statistics, images))
