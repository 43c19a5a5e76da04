"""A U-Net that finds damage: which pixels no longer show what was there. Not in the paper, which names it as future work.

Its batches hold damaged slices and, as shape of a hole that is the whole slice, what is damaged. It fills nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ipmedgan_jax.networks.casnet import UBlock
from ipmedgan_jax.systems import losses
from ipmedgan_jax.systems.building_blocks import BuildingBlocks
from ipmedgan_jax.systems.interface import Batch, Discriminate, Term, Tree


def make(blocks: BuildingBlocks) -> "DamageFinder":
    return DamageFinder(UBlock(blocks.width, blocks.dropout, blocks.normalise, blocks.dtype, bounded=False))


@dataclass(frozen=True)
class DamageFinder:
    """The system. Its generator's output are logits `[B, H, W, 1]` of each pixel's being damaged."""

    generator: nn.Module
    discriminators: Mapping[str, nn.Module] = field(default_factory=dict)

    def without_discriminators(self) -> "DamageFinder":
        return self

    def generator_input(self, batch: Batch) -> Array:
        """The damaged slice as it is: what is wrong with it is to be seen."""
        return batch.image

    def discriminator_input(self, name: str, batch: Batch, image: Array) -> Array:
        raise KeyError(f"the finder has no discriminator {name!r}")

    def generator_loss(self, frozen: Tree, batch: Batch, output: Array, discriminate: Discriminate) -> dict[str, Term]:
        """Cross entropy, which says how sure to be, and the Dice loss, which does not mind how small the damage is."""
        return {
            "cross_entropy": Term(1.0, losses.pixel_cross_entropy(output, batch.mask)),
            "dice": Term(1.0, losses.dice_loss(jax.nn.sigmoid(output.astype(jnp.float32)), batch.mask)),
        }
