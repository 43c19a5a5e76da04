"""CasNet plus: ip-MedGAN's networks with later methods of inpainting. This project's own, not a published system.

It was `ipmedgan_plus` until version 0.2, and is kept for its runs and for comparison.

| | ip-MedGAN | here |
|---|---|---|
| losses and discriminators see | the generator's output | the inpainted image, which is the result that is delivered |
| the generator sees | the context | the context and the mask (Yu et al., 2018) |
| the generator makes | the image | the difference from a smooth fill of the hole (`masking.smooth_fill`) |
| start of training | all losses at once | L1 in the hole alone, for a share of the run (Iizuka et al., 2017) |
| pixel loss | layer 0 of Eq. 4 only | L1 in the hole throughout |
| local discriminator | 34x34 patches of the hole | 34x34 patches of the window of twice the hole's side, with the mask |
| global discriminator | with the context | with the mask |
| perceptual term | sum over D's features (Eq. 4) | mean over D's features: feature matching (Wang et al., 2018) |
| VGG-19 terms | style (Eq. 3) of the complete image | style and feature distance (Zhang et al., 2018) of that window |
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from ipmedgan_jax.networks.casnet import Refinement
from ipmedgan_jax.networks.vgg19 import VGG19
from ipmedgan_jax.systems import losses, masking
from ipmedgan_jax.systems.building_blocks import LOCAL_LAYERS, BuildingBlocks, LossSettings
from ipmedgan_jax.systems.interface import Batch, Discriminate, Term, Tree
from ipmedgan_jax.systems.losses import vgg_distance


def make(blocks: BuildingBlocks) -> "CasNetPlus":
    """Makes CasNet plus. UserError for sizes that leave a discriminator no logit."""
    blocks.check_patches(blocks.discriminator_layers)
    return CasNetPlus(
        generator=Refinement(blocks.casnet()) if blocks.smooth_start else blocks.casnet(),
        discriminators={
            "global": blocks.patch_discriminator(blocks.discriminator_layers),
            "local": blocks.patch_discriminator(LOCAL_LAYERS),
        },
        vgg19=blocks.vgg19,
        hole_size=blocks.hole_size,
        fill=blocks.fill,
        sees_mask=blocks.sees_mask,
        smooth_start=blocks.smooth_start,
        loss=blocks.loss,
    )


@dataclass(frozen=True)
class CasNetPlus:
    """The system.

    Attributes:
      hole_size: side of the hole in pixels.
      fill: the context's value in the hole, unless `smooth_start`.
      sees_mask: adds the mask as a second channel to the generator's input.
      smooth_start: the generator sees a smooth fill of the hole and adds to it. Otherwise it sees `fill` in the hole and
        makes the image itself.
    """

    generator: nn.Module
    discriminators: Mapping[str, nn.Module]
    vgg19: VGG19
    hole_size: int
    fill: float
    sees_mask: bool
    smooth_start: bool
    loss: LossSettings

    def without_discriminators(self) -> "CasNetPlus":
        """Returns this system with its pixel loss alone."""
        return replace(self, loss=self.loss.without("adversarial", "local", "perceptual", "content", "style"))

    def generator_input(self, batch: Batch) -> Array:
        context = masking.smooth_fill(batch.context(0.0), batch.mask) if self.smooth_start else batch.context(self.fill)
        return jnp.concatenate([context, batch.mask], axis=-1) if self.sees_mask else context

    def discriminator_input(self, name: str, batch: Batch, image: Array, frozen: Tree = None) -> Array:
        pair = jnp.concatenate([batch.inpainted(image), batch.mask], axis=-1)
        return pair if name == "global" else masking.crop_window(pair, batch.hole, self.hole_size)

    def generator_loss(self, frozen: Tree, batch: Batch, output: Array, discriminate: Discriminate) -> dict[str, Term]:
        error = losses.mean_in_hole(jnp.abs(output - batch.image), batch.mask)
        terms = {"reconstruction": Term(self.loss.reconstruction, error)}
        feature_losses = []
        for name, weight in (("global", self.loss.adversarial), ("local", self.loss.local)):
            if weight:
                logits, features = discriminate(name, output)
                _, real_features = lax.stop_gradient(discriminate(name, batch.image))
                terms[name] = Term(weight, losses.adversarial_loss(logits))
                equal_weights = [1 / len(features)] * len(features)
                reduction = self.loss.perceptual_reduction
                feature_losses.append(
                    losses.perceptual_loss(features, real_features, weights=equal_weights, reduction=reduction)
                )
        if feature_losses:
            terms["perceptual"] = Term(self.loss.perceptual, sum(feature_losses, jnp.zeros(())) / len(feature_losses))
        return terms | (self._vgg19_terms(frozen, batch, output) if self.loss.content or self.loss.style else {})

    def _vgg19_terms(self, frozen: Tree, batch: Batch, output: Array) -> dict[str, Term]:
        maps: list[Any] = [
            self.vgg19.apply({"params": frozen}, masking.crop_window(image, batch.hole, self.hole_size))
            for image in (batch.inpainted(output), batch.image)
        ]
        fake, real = maps[0], lax.stop_gradient(maps[1])
        return {
            "content": Term(self.loss.content, vgg_distance(fake, real).mean()),
            "style": Term(self.loss.style, losses.style_loss(fake, real, weights=[1.0] * len(fake))),
        }
