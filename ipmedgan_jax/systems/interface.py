"""The interface of a system: the batch it receives, the networks it has, and the terms of its generator's loss.

A system is a generator, its discriminators and a loss. `update.py` trains any object with the members of `System`;
`unet.py` and `ipmedgan.py` are a short and a complete example.

Shapes: images `[B, H, W, 1]` in [-1, 1], holes `[B, 4]`; B is one device's share of the batch.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from jax import Array

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data.holes import context_image
from ipmedgan_jax.systems.masking import hole_masks, place

Tree = Any
"""A pytree of arrays: parameters, gradients, statistics."""


Metrics = dict[str, Array]
"""Scalars by name, for example `loss/generator/style`."""


class Batch(struct.PyTreeNode):
    """Complete slices, and the pixels to remove from each.

    Attributes:
      image: `[B, H, W, 1]` in [-1, 1].
      hole: `[B, 4]`, boxes `[row, column, height, width]` in pixels.
      hole_mask: `[B, h, w]`, 1 where a pixel of the box is removed. None removes all pixels of the box.
      avoid: `[B, H, W]`, 1 where the image is no target (a lesion); None: it is one everywhere.
      noise: `[B, H, W]`, drawn from N(0, 1), for a generator that draws texture from it; None: 0 everywhere.
      opposite: `[B, H, W, 2]`, the slice mirrored about the head's midline, and 1 where that is known; None: nowhere.
      targets: what `HasTargets.targets` returned for each image. None: the update computes it.
    """

    image: Array
    hole: Array
    hole_mask: Array | None = None
    avoid: Array | None = None
    noise: Array | None = None
    opposite: Array | None = None
    targets: Tree | None = None

    @property
    def mask(self) -> Array:
        """`[B, H, W, 1]`, 1 where pixels are removed."""
        if self.hole_mask is None:
            return hole_masks(self.hole, self.image.shape[1], self.image.shape[2])
        return place(jnp.zeros(self.image.shape, jnp.float32), self.hole_mask[..., None], self.hole[:, :2])

    def context(self, fill: float) -> Array:
        """The image with `fill` in the hole."""
        return context_image(self.image, self.mask > 0, fill)

    def inpainted(self, output: Array) -> Array:
        """`output` in the hole; the image, bit for bit, elsewhere."""
        return jnp.where(self.mask > 0, output.astype(self.image.dtype), self.image)

    def without_avoided(self, output: Array) -> Array:
        """`output` with the image's own pixels where the image is no target, so that no loss compares anything there."""
        if self.avoid is None:
            return output
        return jnp.where(self.avoid[..., None] > 0, self.image.astype(output.dtype), output)


class Discriminate(Protocol):
    """Runs discriminator `name` on `image` `[B, H, W, 1]`, real or fake; returns logits and feature maps.

    The logits are `[B, h, w]`, or a tuple of these if the discriminator has several heads.
    """

    def __call__(self, name: str, image: Array) -> tuple[Any, tuple[Array, ...]]: ...


class Term(struct.PyTreeNode):
    """One term of the generator's loss: its weight, and its value before weighting."""

    weight: float = struct.field(pytree_node=False)
    value: Array


def weighted_values(terms: Mapping[str, Term]) -> dict[str, Array]:
    """Returns each term's value times its weight. UserError if no term has a weight other than 0: nothing would learn."""
    if not any(term.weight for term in terms.values()):
        raise UserError(
            "every term of the generator's loss has weight 0: set one of config.loss; those of a discriminator do not count "
            "while the generator learns alone (config.train.generator_alone)"
        )
    return {name: term.weight * term.value for name, term in terms.items()}


class System(Protocol):
    """A method that can be trained: its networks, what its discriminators see, and its generator's loss."""

    @property
    def generator(self) -> nn.Module:
        """The network that makes the output from `generator_input`."""

    @property
    def discriminators(self) -> Mapping[str, nn.Module]:
        """The discriminators by name; empty if the system has none."""

    def without_discriminators(self) -> "System":
        """Returns this system without the terms of the generator's loss that need a discriminator."""

    def generator_input(self, batch: Batch) -> Tree:
        """Returns what the generator sees: an array, or a tuple of arrays.

        The input of a system that fills never holds a removed pixel.
        """

    def discriminator_input(self, name: str, batch: Batch, image: Array, frozen: Tree = None) -> Tree:
        """Returns what discriminator `name` sees of `image`: the batch's image (real) or the generator's output (fake).

        `frozen` are the weights that are never trained; None while networks are initialised, when only shapes count.
        """

    def generator_loss(self, frozen: Tree, batch: Batch, output: Array, discriminate: Discriminate) -> dict[str, Term]:
        """Returns the terms of the generator's loss by name.

        Args:
          frozen: weights that are never trained (VGG-19).
          batch: the images and their holes.
          output: what the generator returned for the batch, `[B, H, W, 1]`.
          discriminate: runs a discriminator on the output or on the batch's image.
        """


@runtime_checkable
class HasDiscriminatorLoss(Protocol):
    """What a system may have beside the members of `System`, in place of the paper's `losses.discriminator_loss`."""

    def discriminator_loss(self, name: str, batch: Batch, real: Tree, fake: Tree) -> Array:
        """Returns the loss of discriminator `name` for its logits on the batch's images (real) and on the output (fake)."""


@runtime_checkable
class HasTargets(Protocol):
    """What a system may have beside the members of `System`, so that training computes its targets once a slice."""

    def targets(self, frozen: Tree, image: Array) -> Tree | None:
        """Returns what the loss compares with and the image alone decides, not its hole; None if the loss has no such term.

        Args:
          frozen: weights that are never trained (VGG-19).
          image: complete slices, `[B, H, W, 1]`. The targets are a tree of arrays `[B, ...]`.
        """
