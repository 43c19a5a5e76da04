"""The context encoder's networks (Pathak et al., arXiv 1604.07379): from a window, through a code, to the hole in its middle.

Layer sizes are those of the code that the ip-MedGAN paper used (github jazzsaxmafia/Inpainting). Windows are
`[B, 2 h, 2 h, 1]` and holes `[B, h, h, 1]`; h is a power of two, at least 8. The published size is h = 64. Other sizes have
fewer or more stages between the image and maps of 4x4 pixels.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from ipmedgan_jax.networks.layers import Downsample, Normalise, Upsample, kernel_init, leaky_relu, widths

FINAL_SIDE = 4
"""Pixels: side of the last map, before the code or the logit."""

CODE_FEATURES = 4000
"""Features of the code at the published width of 64."""


class ContextEncoder(nn.Module):
    """4x4 stride-2 convolutions to 4x4 pixels, a fully connected code, transposed convolutions to half the window, tanh.

    The encoder has LeakyReLU, the decoder ReLU. All layers are normalised except the first, the last and the code. The
    code has a single pixel, so it is normalised with `batch` statistics only.
    """

    width: int = 64
    normalise: Normalise = Normalise()
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, window: Array, train: bool) -> Array:
        features = [self.width, *widths(window.shape[1] // FINAL_SIDE, self.width)[:-1]]
        x = window
        for i, channels in enumerate(features):
            x = Downsample(channels, self.dtype, name=f"down_{i}")(x)
            if i:
                x = self.normalise.copy(name=f"down_norm_{i}")(x, train)
            x = leaky_relu(x)
        x = _dense(x.reshape(len(x), 1, 1, -1), CODE_FEATURES * self.width // 64, self.dtype, "code")
        if self.normalise.statistics == "batch":
            x = self.normalise.copy(name="code_norm")(x, train)
        x = leaky_relu(x)
        first, *following = features[:0:-1]
        x = _dense(x, FINAL_SIDE**2 * first, self.dtype, "decode", use_bias=False)
        x = x.reshape(len(x), FINAL_SIDE, FINAL_SIDE, first)
        x = nn.relu(self.normalise.copy(name="decode_norm")(x, train))
        for i, channels in enumerate(following):
            x = Upsample(channels, self.dtype, name=f"up_{i}")(x)
            x = nn.relu(self.normalise.copy(name=f"up_norm_{i}")(x, train))
        return jnp.tanh(Upsample(1, self.dtype, name="up_last")(x).astype(jnp.float32))


class HoleDiscriminator(nn.Module):
    """4x4 stride-2 convolutions from the hole, `[B, h, h, 1]`, to 4x4 pixels, and one logit for the complete hole."""

    width: int = 64
    normalise: Normalise = Normalise()
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, hole: Array, train: bool) -> tuple[Array, tuple[Array, ...]]:
        """Returns float32 logits `[B, 1, 1]`, and the feature maps after each activation."""
        x, features = hole, []
        for i, channels in enumerate(widths(hole.shape[1] // FINAL_SIDE, self.width)):
            x = Downsample(channels, self.dtype, name=f"conv_{i}")(x)
            if i:
                x = self.normalise.copy(name=f"norm_{i}")(x, train)
            x = leaky_relu(x)
            features.append(x)
        logits = _dense(x.reshape(len(x), 1, 1, -1), 1, self.dtype, "logit")
        return logits[..., 0].astype(jnp.float32), tuple(features)


def _dense(x: Array, features: int, dtype: DTypeLike, name: str, *, use_bias: bool = True) -> Array:
    """Fully connected layer, `[B, 1, 1, C] -> [B, 1, 1, features]`: a 4x4 convolution of a 4x4 map, or its transpose."""
    return nn.Dense(features, use_bias, kernel_init=kernel_init, dtype=dtype, name=name)(x)
