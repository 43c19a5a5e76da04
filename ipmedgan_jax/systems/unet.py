"""A plain U-Net trained with L1 alone: one U-block of the CasNet, no discriminator.

It is not in the paper. It serves to check that data, training loop and scores are right, and as the baseline that won the
2024 BraTS inpainting task.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from ipmedgan_jax.systems import losses
from ipmedgan_jax.systems.building_blocks import BuildingBlocks, LossSettings
from ipmedgan_jax.systems.interface import Batch, Discriminate, Term, Tree


def make(blocks: BuildingBlocks) -> "UNet":
    return UNet(blocks.casnet(), blocks.loss, blocks.fill)


@dataclass(frozen=True)
class UNet:
    """The system. `loss.l1_region` says where the mean absolute error is taken: in the `hole`, or in the complete `image`."""

    generator: nn.Module
    loss: LossSettings
    fill: float = -1.0
    discriminators: Mapping[str, nn.Module] = field(default_factory=dict)

    def without_discriminators(self) -> "UNet":
        return self

    def generator_input(self, batch: Batch) -> Array:
        return batch.context(self.fill)

    def discriminator_input(self, name: str, batch: Batch, image: Array, frozen: Tree = None) -> Array:
        raise KeyError(f"the U-Net has no discriminator {name!r}")

    def generator_loss(self, frozen: Tree, batch: Batch, output: Array, discriminate: Discriminate) -> dict[str, Term]:
        error = jnp.abs(output - batch.image)
        l1 = losses.mean_in_hole(error, batch.mask) if self.loss.l1_region == "hole" else error.mean()
        return {"l1": Term(self.loss.reconstruction, l1)}
