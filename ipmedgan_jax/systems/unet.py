"""A plain U-Net trained with L1 alone: one U-block of the CasNet, no discriminator.

Not in the paper: the check that data, loop and scores are right, and the baseline that won the 2024 BraTS inpainting task.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from ipmedgan_jax.steps import Batch, Judge, Term, Tree


@dataclass(frozen=True)
class UNet:
    """The system. `region` is where the mean absolute error is taken: the `hole`, or the whole `image`."""

    generator: nn.Module
    fill: float = -1.0
    region: str = "hole"
    discriminators: Mapping[str, nn.Module] = field(default_factory=dict)

    def generator_input(self, batch: Batch) -> Array:
        return batch.context(self.fill)

    def shown(self, name: str, batch: Batch, image: Array) -> Array:
        raise KeyError(f"the U-Net has no discriminator {name!r}")

    def generator_loss(self, frozen: Tree, batch: Batch, output: Array, judge: Judge) -> dict[str, Term]:
        error = jnp.abs(output - batch.image)
        if self.region == "hole":
            mask = batch.mask
            return {"l1": Term(1.0, (error * mask).sum() / mask.sum())}
        return {"l1": Term(1.0, error.mean())}
