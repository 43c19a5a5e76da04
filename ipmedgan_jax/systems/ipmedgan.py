"""ip-MedGAN (Armanious et al., arXiv 1810.06621), and MedGAN (arXiv 1806.06397), which is ip-MedGAN with lambda_2 = 0.

A CasNet fills the context image; a 70x70 PatchGAN judges the whole image beside its context, a 34x34 one the hole alone;
style over VGG-19 features and the perceptual term over the global discriminator's features complete the loss (Eq. 5).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from ipmedgan_jax import losses, masks
from ipmedgan_jax.networks.vgg19 import VGG19
from ipmedgan_jax.steps import Batch, Judge, Term, Tree


@dataclass(frozen=True)
class IpMedGAN:
    """The system; a weight of 0 leaves its term, and the network only that term needs, out.

    Attributes:
      discriminators: `global`, conditional on the context, and, unless `local` is 0, `local`.
      adversarial, local, style, perceptual: lambda_1 .. lambda_4 of Eq. 5.
      perceptual_layers, style_layers: lambda_p0 .. lambda_pB of Eq. 4, lambda_s1 .. lambda_sN of Eq. 3. The papers do not
        give them; 1 is second-hand. D's features are taken after the activation, which is not known either.
      perceptual_reduction: `sum` or `mean`; the bare norm of Eq. 4 is a sum.
    """

    generator: nn.Module
    discriminators: Mapping[str, nn.Module]
    vgg19: VGG19
    hole_size: int
    fill: float = -1.0
    adversarial: float = 0.8
    local: float = 0.2
    style: float = 1e-4
    perceptual: float = 1e-4
    perceptual_reduction: str = "sum"
    perceptual_layers: tuple[float, ...] = (1.0,) * 5
    style_layers: tuple[float, ...] = (1.0,) * 5

    def generator_input(self, batch: Batch) -> Array:
        return batch.context(self.fill)

    def shown(self, name: str, batch: Batch, image: Array) -> Array:
        if name == "global":
            return jnp.concatenate([batch.context(self.fill), image], axis=-1)
        return masks.crop(image, batch.hole[:, :2], self.hole_size)

    def generator_loss(self, frozen: Tree, batch: Batch, output: Array, judge: Judge) -> dict[str, Term]:
        logits, features = judge("global", output)
        terms = {"adversarial": Term(self.adversarial, losses.adversarial_loss(logits))}
        if self.local:
            terms["local"] = Term(self.local, losses.adversarial_loss(judge("local", output)[0]))
        if self.perceptual:
            _, real_features = lax.stop_gradient(judge("global", batch.image))
            terms["perceptual"] = Term(
                self.perceptual,
                losses.perceptual_loss(
                    (output, *features),
                    (batch.image, *real_features),
                    weights=self.perceptual_layers,
                    reduction=self.perceptual_reduction,
                ),
            )
        if self.style:
            fake_maps: Any = self.vgg19.apply({"params": frozen}, output)
            real_maps: Any = self.vgg19.apply({"params": frozen}, batch.image)
            style = losses.style_loss(fake_maps, lax.stop_gradient(real_maps), weights=self.style_layers)
            terms["style"] = Term(self.style, style)
        return terms
