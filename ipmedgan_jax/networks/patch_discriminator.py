"""The PatchGAN discriminator of pix2pix: one logit per overlapping patch (Isola et al., arXiv 1611.07004).

Images are `[B, H, W, C]`; C is 2 for (context, image) and 1 for an image alone.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from ipmedgan_jax.networks.layers import Conv4x4, Downsample, Normalise, leaky_relu


class PatchDiscriminator(nn.Module):
    """`layers` convolutions with stride 2, one with stride 1, and one to the logits, all 4x4 with padding 1.

    A logit sees a patch of 16x16, 34x34 or 70x70 pixels for 1, 2 or 3 layers. All convolutions are normalised except the
    first and the last.
    """

    layers: int = 3
    width: int = 64
    normalise: Normalise = Normalise()
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> tuple[Array, tuple[Array, ...]]:
        """Returns float32 logits `[B, h, w]`, and the feature maps after each activation (D_1, D_2, ... of Eq. 4)."""
        features = []
        for i in range(self.layers + 1):
            conv = Downsample if i < self.layers else Conv4x4
            x = conv(self.width * min(2**i, 8), self.dtype, name=f"conv_{i}")(x)
            if i:
                x = self.normalise.copy(name=f"norm_{i}")(x, train)
            x = leaky_relu(x)
            features.append(x)
        logits = Conv4x4(1, self.dtype, name="logits")(x)
        return logits[..., 0].astype(jnp.float32), tuple(features)
