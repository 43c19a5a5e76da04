"""The context encoder's networks (Pathak et al., arXiv 1604.07379): a window in, the hole in its middle out, through a code.

Layer sizes as the code that the ip-MedGAN paper used has them (github jazzsaxmafia/Inpainting). Windows `[B, 2 h, 2 h, 1]`,
holes `[B, h, h, 1]`, h a power of two of at least 8; the published size is h = 64, and other sizes take fewer or more stages
between the same ends: maps of 4x4 pixels, and the image.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from ipmedgan_jax.networks.layers import Downsample, Normalise, Upsample, kernel_init, leaky_relu, widths

SMALLEST = 4
"""Pixels: side of the map before the code."""

CODE = 4000
"""Features of the code at the published width of 64."""


class ContextEncoder(nn.Module):
    """4x4 stride-2 convolutions to 4x4 pixels, a fully connected code, transposed convolutions to half the window, tanh.

    Encoder LeakyReLU, decoder ReLU, normalised but for the first layer, the code and the last. The code is normalised over
    the batch alone, which statistics of single examples cannot do: with those it stays as it is.
    """

    width: int = 64
    normalise: Normalise = Normalise()
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, window: Array, train: bool) -> Array:
        features = [self.width, *widths(window.shape[1] // SMALLEST, self.width)[:-1]]
        x = window
        for i, channels in enumerate(features):
            x = Downsample(channels, self.dtype, name=f"down_{i}")(x)
            if i:
                x = self.normalise.copy(name=f"down_norm_{i}")(x, train)
            x = leaky_relu(x)
        x = _dense(x.reshape(len(x), 1, 1, -1), CODE * self.width // 64, self.dtype, "code")
        if self.normalise.statistics == "batch":
            x = self.normalise.copy(name="code_norm")(x, train)
        x = leaky_relu(x)
        first, *following = features[:0:-1]
        x = _dense(x, SMALLEST**2 * first, self.dtype, "decode", use_bias=False).reshape(len(x), SMALLEST, SMALLEST, first)
        x = nn.relu(self.normalise.copy(name="decode_norm")(x, train))
        for i, channels in enumerate(following):
            x = Upsample(channels, self.dtype, name=f"up_{i}")(x)
            x = nn.relu(self.normalise.copy(name=f"up_norm_{i}")(x, train))
        return jnp.tanh(Upsample(1, self.dtype, name="up_last")(x).astype(jnp.float32))


class HoleDiscriminator(nn.Module):
    """4x4 stride-2 convolutions from the hole, `[B, h, h, 1]`, to 4x4 pixels, and one logit for the whole of it."""

    width: int = 64
    normalise: Normalise = Normalise()
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, hole: Array, train: bool) -> tuple[Array, tuple[Array, ...]]:
        """Returns float32 logits `[B, 1, 1]`, and the feature maps after each activation."""
        x, features = hole, []
        for i, channels in enumerate(widths(hole.shape[1] // SMALLEST, self.width)):
            x = Downsample(channels, self.dtype, name=f"conv_{i}")(x)
            if i:
                x = self.normalise.copy(name=f"norm_{i}")(x, train)
            x = leaky_relu(x)
            features.append(x)
        logits = _dense(x.reshape(len(x), 1, 1, -1), 1, self.dtype, "logit")
        return logits[..., 0].astype(jnp.float32), tuple(features)


def _dense(x: Array, features: int, dtype: DTypeLike, name: str, *, use_bias: bool = True) -> Array:
    """Fully connected, `[B, 1, 1, C] -> [B, 1, 1, features]`: a 4x4 convolution of a 4x4 map, or its transpose."""
    return nn.Dense(features, use_bias, kernel_init=kernel_init, dtype=dtype, name=name)(x)
