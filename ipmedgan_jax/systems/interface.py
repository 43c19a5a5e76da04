"""What a system is: the batch it gets, the networks it has, its loss's terms.

Shapes: images `[B, H, W, 1]` in [-1, 1], holes `[B, 4]`; B is one device's share of the batch.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from jax import Array

from ipmedgan_jax.data.holes import context_image
from ipmedgan_jax.systems.masking import hole_masks, place

Tree = Any
"""A pytree of arrays: parameters, gradients, statistics."""


Metrics = dict[str, Array]


class Batch(struct.PyTreeNode):
    """Complete slices and the holes to be cut in them: boxes, or shapes `[B, h, w]` in boxes, 1 where pixels are removed."""

    image: Array
    hole: Array
    hole_mask: Array | None = None

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
        """`output` in the hole; elsewhere the image, bit for bit."""
        return jnp.where(self.mask > 0, output.astype(self.image.dtype), self.image)


class Discriminate(Protocol):
    """A discriminator's verdict on `image`: logits `[B, h, w]` and feature maps."""

    def __call__(self, name: str, image: Array) -> tuple[Array, tuple[Array, ...]]: ...


class Term(struct.PyTreeNode):
    """One term of a generator's loss: its value without its weight."""

    weight: float = struct.field(pytree_node=False)
    value: Array


class System(Protocol):
    """What a published system is: networks, what its discriminators are shown, and its generator's loss."""

    @property
    def generator(self) -> nn.Module: ...

    @property
    def discriminators(self) -> Mapping[str, nn.Module]: ...

    def without_discriminators(self) -> "System":
        """The same, without what the generator learns from its discriminators."""

    def generator_input(self, batch: Batch) -> Tree:
        """What the generator sees, an array or a tuple of them; never a removed pixel."""

    def discriminator_input(self, name: str, batch: Batch, image: Array) -> Tree:
        """What discriminator `name` is shown of `image`, the batch's own (real) or the generator's output (fake)."""

    def generator_loss(self, frozen: Tree, batch: Batch, output: Array, discriminate: Discriminate) -> dict[str, Term]:
        """The loss's terms by name; `frozen` are weights that never learn (VGG-19)."""
