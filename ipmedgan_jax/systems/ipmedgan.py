"""ip-MedGAN (Armanious et al., arXiv 1810.06621), and MedGAN (arXiv 1806.06397), which is ip-MedGAN with lambda_2 = 0.

A CasNet fills the context image. The global discriminator, a 70x70 PatchGAN, sees the complete image and its context; the
local discriminator, a 34x34 PatchGAN, sees the hole alone. The loss (Eq. 5) adds to the two adversarial terms a style term
on VGG-19 features and a perceptual term on the global discriminator's features.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.networks.vgg19 import VGG19
from ipmedgan_jax.systems import losses, masking
from ipmedgan_jax.systems.building_blocks import LOCAL_LAYERS, BuildingBlocks, LossSettings
from ipmedgan_jax.systems.interface import Batch, Discriminate, Term, Tree


def make(blocks: BuildingBlocks) -> "IpMedGAN":
    """Makes ip-MedGAN, or MedGAN if `loss.local` is 0. UserError for sizes that leave a discriminator no logit."""
    loss, layers = blocks.loss, blocks.discriminator_layers
    blocks.check_patches(layers)
    discriminators = {"global": blocks.patch_discriminator(layers)}
    if loss.local:
        if blocks.hole_size % 2**LOCAL_LAYERS:
            raise UserError(
                f"config.holes.size is {blocks.hole_size}: expected a multiple of {2**LOCAL_LAYERS} for the local "
                "discriminator"
            )
        discriminators["local"] = blocks.patch_discriminator(LOCAL_LAYERS)
    return IpMedGAN(
        blocks.casnet(), discriminators, blocks.vgg19, blocks.hole_size, loss, fill=blocks.fill, sees_mask=blocks.sees_mask
    )


@dataclass(frozen=True)
class IpMedGAN:
    """The system. A weight of 0 omits its term, and the network that only this term needs.

    Attributes:
      discriminators: `global`, conditional on the context; and `local`, unless `loss.local` is 0.
      loss: `adversarial`, `local`, `style` and `perceptual` are lambda_1 .. lambda_4 of Eq. 5. `perceptual_layers` are
        lambda_p0 .. lambda_pB of Eq. 4, `style_layers` are lambda_s1 .. lambda_sN of Eq. 3; the papers do not state them,
        and 1 is second-hand. Nor do they state where D's features are taken; here it is after the activation.
        `reconstruction` weighs the mean absolute error in the hole, a term that the paper does not have.
      fill: the context's value in the hole.
      sees_mask: adds the mask as a second channel to the generator's input; the paper's generator does not see it.
    """

    generator: nn.Module
    discriminators: Mapping[str, nn.Module]
    vgg19: VGG19
    hole_size: int
    loss: LossSettings
    fill: float = -1.0
    sees_mask: bool = False

    def without_discriminators(self) -> "IpMedGAN":
        return replace(self, loss=self.loss.without("adversarial", "local", "perceptual"))

    def generator_input(self, batch: Batch) -> Array:
        context = batch.context(self.fill)
        return jnp.concatenate([context, batch.mask], axis=-1) if self.sees_mask else context

    def discriminator_input(self, name: str, batch: Batch, image: Array, frozen: Tree = None) -> Array:
        if name == "global":
            return jnp.concatenate([batch.context(self.fill), image], axis=-1)
        return masking.crop(image, batch.hole[:, :2], self.hole_size)

    def generator_loss(self, frozen: Tree, batch: Batch, output: Array, discriminate: Discriminate) -> dict[str, Term]:
        terms: dict[str, Term] = {}
        loss = self.loss
        if loss.adversarial or loss.perceptual:
            logits, features = discriminate("global", output)
            if loss.adversarial:
                terms["adversarial"] = Term(loss.adversarial, losses.adversarial_loss(logits))
            if loss.perceptual:
                terms["perceptual"] = Term(loss.perceptual, self._perceptual(batch, output, features, discriminate))
        if loss.local:
            terms["local"] = Term(loss.local, losses.adversarial_loss(discriminate("local", output)[0]))
        if loss.style:
            terms["style"] = Term(loss.style, self._style(frozen, batch, output))
        if loss.reconstruction:
            error = losses.mean_in_hole(jnp.abs(output - batch.image), batch.mask)
            terms["reconstruction"] = Term(loss.reconstruction, error)
        return terms

    def targets(self, frozen: Tree, image: Array) -> tuple[Array, ...] | None:
        """Returns the packed Gram matrix `[B, n]` of each VGG-19 layer; None without the style term."""
        if not self.loss.style:
            return None
        maps: Any = self.vgg19.apply({"params": frozen}, image)
        return tuple(losses.packed_gram_matrix(features) for features in maps)

    def _style(self, frozen: Tree, batch: Batch, output: Array) -> Array:
        fake_maps: Any = self.vgg19.apply({"params": frozen}, output)
        if batch.targets is not None:
            return losses.style_loss_to_packed(fake_maps, batch.targets, weights=self.loss.style_layers)
        real_maps: Any = self.vgg19.apply({"params": frozen}, batch.image)
        return losses.style_loss(fake_maps, lax.stop_gradient(real_maps), weights=self.loss.style_layers)

    def _perceptual(self, batch: Batch, output: Array, features: tuple[Array, ...], discriminate: Discriminate) -> Array:
        _, real_features = lax.stop_gradient(discriminate("global", batch.image))
        return losses.perceptual_loss(
            (output, *features),
            (batch.image, *real_features),
            weights=self.loss.perceptual_layers,
            reduction=self.loss.perceptual_reduction,
        )
