"""A discriminator on the features of a fixed network: one small head for each of its layers (Sauer et al., arXiv 2111.01007).

The features are VGG-19's. Each head first mixes a layer's channels at random, which it never learns: a head that saw them
plainly could look at a few channels alone.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from ipmedgan_jax.networks.convolution import conv
from ipmedgan_jax.networks.layers import leaky_relu

LAYERS = 4
"""Feature maps that are judged, from the first on: conv1_1 to conv4_1. On conv5_1 a hole has few pixels left."""

POWER_ITERATIONS = 8
"""Steps of the power iteration for a kernel's largest singular value."""

_he_init = nn.initializers.he_normal()


class FeatureDiscriminator(nn.Module):
    """Feature maps `[B, h, w, C]` of several layers -> (logits `[B, h, w]` of each judged layer, the maps themselves).

    Attributes:
      width: channels after the random mixing.
    """

    width: int = 32
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: tuple[Array, ...], train: bool) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        heads = [Head(self.width, self.dtype, name=f"head_{i}") for i in range(LAYERS)]
        return tuple(head(x) for head, x in zip(heads, features, strict=False)), features


class Head(nn.Module):
    """Random mixing of the channels, a 3x3 convolution with spectral normalisation, and a logit for each pixel."""

    width: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array) -> Array:
        mixing = lax.stop_gradient(self.param("he_kernel", _he_init, (x.shape[-1], self.width)))
        kernel = self.param("conv_he_kernel", _he_init, (3, 3, self.width, self.width))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.width,))
        weights = self.param("logit_he_kernel", _he_init, (self.width, 1))
        x = leaky_relu(_at_unit_scale(x).astype(self.dtype) @ mixing.astype(self.dtype))
        x = conv(x, spectrally_normalised(kernel).astype(self.dtype), (1, 1)) + bias.astype(self.dtype).reshape(1, 1, 1, -1)
        return (leaky_relu(x).astype(jnp.float32) @ weights)[..., 0]


def _at_unit_scale(x: Array) -> Array:
    """Divides each example by the root of its mean square, a constant to gradients: layers differ in scale a hundredfold."""
    square = jnp.square(x.astype(jnp.float32)).mean((1, 2, 3), keepdims=True)
    return x.astype(jnp.float32) * lax.rsqrt(lax.stop_gradient(square) + 1e-6)


def spectrally_normalised(kernel: Array) -> Array:
    """Divides a kernel `[k, k, C, F]` by the largest singular value of its matrix `[k k C, F]` (Miyato et al., 2018).

    The power iteration starts from the same vector every time, so no state is kept.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    fixed = lax.stop_gradient(matrix)
    right = jnp.ones(kernel.shape[-1]) / jnp.sqrt(kernel.shape[-1])
    for _ in range(POWER_ITERATIONS):
        right = fixed.T @ (fixed @ right)
        right /= jnp.linalg.norm(right) + 1e-12
    left = fixed @ right
    left /= jnp.linalg.norm(left) + 1e-12
    return kernel / (left @ matrix @ right + 1e-12)
