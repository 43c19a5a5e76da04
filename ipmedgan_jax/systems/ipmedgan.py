"""ip-MedGAN (Armanious et al., arXiv 1810.06621), and MedGAN (arXiv 1806.06397), which is ip-MedGAN with lambda_2 = 0.

A CasNet fills the context image; a 70x70 PatchGAN judges the whole image beside its context, a 34x34 one the hole alone;
style over VGG-19 features and the perceptual term over the global discriminator's features complete the loss (Eq. 5).
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
    """ip-MedGAN; with a local weight of 0, MedGAN. UserError for sizes that leave a discriminator no logit."""
    loss, layers = blocks.loss, blocks.discriminator_layers
    blocks.check_patches(layers)
    discriminators = {"global": blocks.patch_discriminator(layers)}
    if loss.local:
        if blocks.hole_size % 2**LOCAL_LAYERS:
            raise UserError(
                f"config.holes.size is {blocks.hole_size}: the local discriminator wants a multiple of {2**LOCAL_LAYERS}"
            )
        discriminators["local"] = blocks.patch_discriminator(LOCAL_LAYERS)
    return IpMedGAN(
        blocks.casnet(), discriminators, blocks.vgg19, blocks.hole_size, loss, fill=blocks.fill, sees_mask=blocks.sees_mask
    )


@dataclass(frozen=True)
class IpMedGAN:
    """The system; a weight of 0 leaves its term, and the network only that term needs, out.

    Attributes:
      discriminators: `global`, conditional on the context, and, unless `loss.local` is 0, `local`.
      loss: `adversarial`, `local`, `style`, `perceptual` are lambda_1 .. lambda_4 of Eq. 5. `perceptual_layers` are
        lambda_p0 .. lambda_pB of Eq. 4, `style_layers` lambda_s1 .. lambda_sN of Eq. 3; the papers do not give them, 1 is
        second-hand. D's features are taken after the activation, which is not known either. `reconstruction` weighs the
        mean absolute error in the hole, which the paper does not have.
      sees_mask: the mask is a second channel of the generator's input; in the paper it is not.
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

    def discriminator_input(self, name: str, batch: Batch, image: Array) -> Array:
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
            fake_maps: Any = self.vgg19.apply({"params": frozen}, output)
            real_maps: Any = self.vgg19.apply({"params": frozen}, batch.image)
            style = losses.style_loss(fake_maps, lax.stop_gradient(real_maps), weights=loss.style_layers)
            terms["style"] = Term(loss.style, style)
        if loss.reconstruction:
            error = losses.mean_in_hole(jnp.abs(output - batch.image), batch.mask)
            terms["reconstruction"] = Term(loss.reconstruction, error)
        return terms

    def _perceptual(self, batch: Batch, output: Array, features: tuple[Array, ...], discriminate: Discriminate) -> Array:
        _, real_features = lax.stop_gradient(discriminate("global", batch.image))
        return losses.perceptual_loss(
            (output, *features),
            (batch.image, *real_features),
            weights=self.loss.perceptual_layers,
            reduction=self.loss.perceptual_reduction,
        )
