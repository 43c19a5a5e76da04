"""GLCIC (Iizuka et al., SIGGRAPH 2017): as published, and as in the code that the ip-MedGAN paper used (github tadax/glcic).

| | as published | as cited |
|---|---|---|
| generator's loss | squared error in the hole + 0.0004 * adversarial loss | squared error alone; D is trained apart |
| generator's input | image with its mean in the hole, and the mask | image with 0 in the hole |
| optimiser | Adadelta | Adam 1e-3 |
| phases | generator, discriminator, both: 18, 2 and 80 % | generator, then both |

As published, the hole holds the training set's mean colour. Here it holds each image's own mean over its known pixels, so
that a trained network needs no number beside its weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from ipmedgan_jax.networks.glcic import CompletionNetwork, JointDiscriminator
from ipmedgan_jax.systems import losses, masking
from ipmedgan_jax.systems.building_blocks import BuildingBlocks, LossSettings
from ipmedgan_jax.systems.interface import Batch, Discriminate, Term, Tree


def make(blocks: BuildingBlocks) -> "GLCIC":
    """Makes GLCIC as published. UserError for a hole size that its networks do not take."""
    return _make(blocks, fill=None, sees_mask=True)


def make_cited(blocks: BuildingBlocks) -> "GLCIC":
    """Makes GLCIC as in the code that the ip-MedGAN paper used. UserError for a hole size that its networks do not take."""
    return _make(blocks, fill=blocks.fill, sees_mask=False)


def _make(blocks: BuildingBlocks, *, fill: float | None, sees_mask: bool) -> "GLCIC":
    blocks.check_window("GLCIC")
    return GLCIC(
        CompletionNetwork(blocks.width, blocks.normalise, blocks.dtype),
        {"joint": JointDiscriminator(blocks.discriminator_width, blocks.normalise, blocks.dtype)},
        blocks.hole_size,
        blocks.loss,
        fill=fill,
        sees_mask=sees_mask,
    )


@dataclass(frozen=True)
class GLCIC:
    """The system. Its discriminator `joint` sees the inpainted image, and its window of twice the hole's side.

    Attributes:
      loss: with an `adversarial` weight of 0 the generator learns nothing from the discriminator.
      fill: the context's value in the hole; None for the mean of the image's known pixels.
      sees_mask: adds the mask as a second channel to the generator's input.
    """

    generator: nn.Module
    discriminators: Mapping[str, nn.Module]
    hole_size: int
    loss: LossSettings
    fill: float | None = None
    sees_mask: bool = True

    def without_discriminators(self) -> "GLCIC":
        return replace(self, loss=self.loss.without("adversarial"))

    def generator_input(self, batch: Batch) -> Array:
        context = self._fill_with_mean(batch) if self.fill is None else batch.context(self.fill)
        return jnp.concatenate([context, batch.mask], axis=-1) if self.sees_mask else context

    def discriminator_input(self, name: str, batch: Batch, image: Array, frozen: Tree = None) -> tuple[Array, Array]:
        inpainted = batch.inpainted(image)
        return inpainted, masking.crop_window(inpainted, batch.hole, self.hole_size)

    def generator_loss(self, frozen: Tree, batch: Batch, output: Array, discriminate: Discriminate) -> dict[str, Term]:
        squares = jnp.square(output - batch.image)
        terms = {"reconstruction": Term(self.loss.reconstruction, losses.mean_in_hole(squares, batch.mask))}
        if self.loss.adversarial:
            terms["adversarial"] = Term(self.loss.adversarial, losses.adversarial_loss(discriminate("joint", output)[0]))
        return terms

    def _fill_with_mean(self, batch: Batch) -> Array:
        known = 1.0 - batch.mask
        mean = (batch.image * known).sum((1, 2, 3), keepdims=True) / known.sum((1, 2, 3), keepdims=True)
        return jnp.where(batch.mask > 0, mean, batch.image)
