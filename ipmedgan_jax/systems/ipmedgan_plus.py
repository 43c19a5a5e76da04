"""ip-MedGAN plus, for windows at a scan's own resolution. This project's own, not a published system.

| | ip-MedGAN | here |
|---|---|---|
| generator | six U-Nets with strided 4x4 convolutions | one U-Net with 3x3 convolutions (`networks/residual_unet.py`) |
| the generator makes | the image | the difference from a smooth fill of the hole (`masking.smooth_fill`) |
| the generator sees | the context | the smooth fill, the mask (Yu et al., 2018), noise, the mirrored slice |
| start of training | all losses at once | L1 in the hole alone, for a share of the run (Iizuka et al., 2017) |
| pixel loss | layer 0 of Eq. 4 only | L1 in the hole throughout |
| discriminators | two PatchGANs, cross entropy | small heads on four layers of VGG-19, hinge loss (Sauer et al., 2021) |
| which patches are fake | all of the output | those in the hole (Suvorov et al., 2022) |
| perceptual terms | of D (Eq. 4), Gram matrices of VGG-19 (Eq. 3) | distance of VGG-19 features (Zhang et al., 2018) |

All losses but L1 see the hole and a margin of a quarter of its side, as the inpainted image has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from ipmedgan_jax.networks.feature_discriminator import FeatureDiscriminator
from ipmedgan_jax.networks.residual_unet import MIN_SIDE, ResidualUNet
from ipmedgan_jax.networks.vgg19 import VGG19, blank_params, max_pool
from ipmedgan_jax.systems import losses, masking
from ipmedgan_jax.systems.building_blocks import BuildingBlocks, LossSettings
from ipmedgan_jax.systems.interface import Batch, Discriminate, Term, Tree

DISCRIMINATOR = "features"


def make(blocks: BuildingBlocks) -> "IpMedGANPlus":
    """Makes ip-MedGAN plus. UserError for a hole so small that VGG-19 has no layer left to judge."""
    blocks.check_side(MIN_SIDE)
    heads = {DISCRIMINATOR: FeatureDiscriminator(blocks.discriminator_width, blocks.dtype)} if blocks.loss.adversarial else {}
    return IpMedGANPlus(
        generator=ResidualUNet(blocks.width, dtype=blocks.dtype),
        discriminators=heads,
        vgg19=blocks.vgg19,
        hole_size=blocks.hole_size,
        noise=blocks.noise,
        opposite=blocks.opposite,
        loss=blocks.loss,
    )


@dataclass(frozen=True)
class IpMedGANPlus:
    """The system.

    Attributes:
      discriminators: one, `features`, unless `loss.adversarial` is 0.
      hole_size: side of the hole in pixels.
      noise: whether the generator sees the batch's noise, and draws texture from it.
      opposite: whether the generator sees the batch's mirrored slice too.
      loss: `reconstruction` weighs L1 and `structure` 1 - SSIM, both in the hole, `content` the distance of VGG-19 features,
        `adversarial` the hinge loss.
    """

    generator: nn.Module
    discriminators: Mapping[str, nn.Module]
    vgg19: VGG19
    hole_size: int
    noise: bool
    opposite: bool
    loss: LossSettings

    def without_discriminators(self) -> "IpMedGANPlus":
        """Returns this system with its losses of pixels alone."""
        return replace(self, loss=self.loss.without("adversarial", "content"))

    def generator_input(self, batch: Batch) -> Array:
        channels = [masking.smooth_fill(batch.context(0.0), batch.mask), batch.mask]
        if self.noise:
            channels.append(jnp.zeros(batch.image.shape) if batch.noise is None else batch.noise[..., None])
        if self.opposite:
            channels.append(jnp.zeros((*batch.image.shape[:3], 2)) if batch.opposite is None else batch.opposite)
        return jnp.concatenate(channels, axis=-1)

    def discriminator_input(self, name: str, batch: Batch, image: Array, frozen: Tree = None) -> tuple[Array, ...]:
        return self._features(frozen, batch, batch.inpainted(image))

    def discriminator_loss(self, name: str, batch: Batch, real: Tree, fake: Tree) -> Array:
        """Returns the hinge loss, averaged over the layers. Only patches that the hole reaches count as fake."""
        masks = self._masks(batch, fake)
        terms = [losses.hinge_loss(*layer) for layer in zip(real, fake, masks, strict=True)]
        return sum(terms, jnp.zeros(())) / len(terms)

    def generator_loss(self, frozen: Tree, batch: Batch, output: Array, discriminate: Discriminate) -> dict[str, Term]:
        error = losses.mean_in_hole(jnp.abs(output - batch.image), batch.mask)
        terms = {"reconstruction": Term(self.loss.reconstruction, error)}
        if self.loss.structure:
            terms["structure"] = Term(self.loss.structure, self._dissimilarity(batch, output))
        if self.loss.adversarial:
            logits, fake = discriminate(DISCRIMINATOR, output)
            layers = zip(logits, self._masks(batch, logits), strict=True)
            means = [losses.mean_in_hole(layer, mask) for layer, mask in layers]
            terms["adversarial"] = Term(self.loss.adversarial, -sum(means, jnp.zeros(())) / len(means))
        elif self.loss.content:
            fake = self._features(frozen, batch, batch.inpainted(output))
        if self.loss.content:
            real = lax.stop_gradient(self._features(frozen, batch, batch.image))
            terms["content"] = Term(self.loss.content, losses.vgg_distance(fake, real).mean())
        return terms

    def _dissimilarity(self, batch: Batch, output: Array) -> Array:
        """Returns 1 - SSIM of the inpainted image, averaged over the hole."""
        images = jnp.concatenate([batch.inpainted(output), batch.image, batch.mask], axis=-1)
        fake, real, mask = jnp.split(masking.crop_around(images, batch.hole, self.hole_size), 3, axis=-1)
        return losses.mean_in_hole(1.0 - losses.structural_similarity(fake, real), mask)

    def _features(self, frozen: Tree, batch: Batch, image: Array) -> tuple[Array, ...]:
        """Returns VGG-19's feature maps round the hole; of zeros if `frozen` is None, while networks are initialised."""
        params = blank_params() if frozen is None else frozen
        maps: Any = self.vgg19.apply({"params": params}, masking.crop_around(image, batch.hole, self.hole_size))
        return maps

    def _masks(self, batch: Batch, maps: tuple[Array, ...]) -> list[Array]:
        """Returns the masks round the hole at the layers' resolutions: 1 where any pixel is removed, `[B, h, w]` each."""
        masks = [masking.crop_around(batch.mask, batch.hole, self.hole_size)]
        while len(masks) < len(maps):
            masks.append(max_pool(masks[-1]))
        return [mask[..., 0] for mask in masks]
