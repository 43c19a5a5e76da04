"""A U-Net that finds damage: pixels that no longer show the anatomy. Not in the paper, which names it as future work.

It fills nothing. Its batches hold damaged slices; the hole is the complete slice, and `hole_mask` marks the damaged pixels.
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
    """The system; its generator returns one logit per pixel, `[B, H, W, 1]`, that the pixel is damaged."""

    generator: nn.Module
    discriminators: Mapping[str, nn.Module] = field(default_factory=dict)

    def without_discriminators(self) -> "DamageFinder":
        return self

    def generator_input(self, batch: Batch) -> Array:
        """Returns the damaged slice unchanged, because the network must see the damage to find it."""
        return batch.image

    def discriminator_input(self, name: str, batch: Batch, image: Array, frozen: Tree = None) -> Array:
        raise KeyError(f"the finder has no discriminator {name!r}")

    def generator_loss(self, frozen: Tree, batch: Batch, output: Array, discriminate: Discriminate) -> dict[str, Term]:
        """Returns the terms `cross_entropy` and `dice`.

        The cross entropy calibrates the likelihoods. The Dice loss counts small damage as much as large damage.
        """
        return {
            "cross_entropy": Term(1.0, losses.pixel_cross_entropy(output, batch.mask)),
            "dice": Term(1.0, losses.dice_loss(jax.nn.sigmoid(output.astype(jnp.float32)), batch.mask)),
        }
