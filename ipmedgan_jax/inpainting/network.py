"""A network that fills holes, with its weights, as a run or a model folder gives it; what exports are made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax

from ipmedgan_jax.core.provenance import digest_of_arrays
from ipmedgan_jax.experiment.build import Inference
from ipmedgan_jax.inpainting.model import Generator, Trained
from ipmedgan_jax.systems.inference import LearnedInpaint
from ipmedgan_jax.systems.interface import Batch, Tree


@dataclass(frozen=True)
class Network:
    """A system's generator with its weights.

    Attributes:
      inference: what the config says about filling.
      step: the checkpoint's step.
      source: the folder that it was loaded from.
      trained: what it was trained for.
      training_data: see `Generator`.
      params: the generator's parameters.
      statistics: its running statistics; empty if it has none.
    """

    inference: Inference
    step: int
    source: str
    trained: Trained
    training_data: dict[str, Any]
    params: Tree
    statistics: Tree

    @property
    def weights(self) -> list[jax.Array]:
        """Parameters and statistics in the order that `program` takes them."""
        return jax.tree.leaves((self.params, self.statistics))

    def generator(self) -> Generator:
        return Generator(
            name=self.inference.name,
            step=self.step,
            source=self.source,
            trained=self.trained,
            training_data=self.training_data,
            inpaint=LearnedInpaint(self.inference.system).bind(self.params, self.statistics),
            weights_sha256=digest_of_arrays(self.weights),
        )

    def program(
        self, weights: Sequence[jax.Array], image: jax.Array, hole: jax.Array, hole_mask: jax.Array, *others: jax.Array
    ) -> jax.Array:
        """Returns inpainted images as a function of arrays alone, for `jax.export`; the others are `trained.inputs`."""
        params, statistics = jax.tree.unflatten(jax.tree.structure((self.params, self.statistics)), weights)
        batch = Batch(image, hole, hole_mask, **dict(zip(self.trained.inputs, others, strict=True)))
        return LearnedInpaint(self.inference.system).inpainted(params, statistics, batch)
