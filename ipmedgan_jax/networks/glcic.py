"""GLCIC's networks: the completion network, and the joint global and local discriminator (Iizuka et al., SIGGRAPH 2017).

Images are `[B, H, W, C]`; their sides are powers of two. Normalisation and ReLU follow every convolution but the last, so
these convolutions have no bias. Strided and dilated convolutions are written as plain convolutions of rearranged images:
the sums are equal, and XLA computes their gradients fast on every platform.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from ipmedgan_jax.networks.convolution import conv
from ipmedgan_jax.networks.layers import Normalise, Upsample, kernel_init, widths
from ipmedgan_jax.networks.winograd import conv3x3

DILATIONS = (2, 4, 8, 16)

FINAL_SIDE = 4
"""Pixels: side of the last map of each discriminator branch (256 pixels after six stages, a window of 128 after five)."""

BRANCH_FEATURES = 1024
"""Features that each discriminator branch returns at the published width of 64."""


def strided_conv(image: Array, kernel: Array) -> Array:
    """Convolution with stride 2 and zero padding k // 2, odd k: `[B, H, W, C]`, `[k, k, C, F]` -> `[B, H/2, W/2, F]`.

    Space-to-depth: each 2x2 cell of pixels becomes one pixel with four times the channels. The kernel, padded with zeros to
    complete cells, becomes a kernel of half the side and stride 1.
    """
    batch, height, width, channels = image.shape
    reach = kernel.shape[0] // 2
    before = reach % 2  # zeros above and to the left, so that the kernel starts at the border of a cell
    side = (kernel.shape[0] + 1) // 2
    cells = image.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    kernel = jnp.pad(kernel, ((before, 1 - before), (before, 1 - before), (0, 0), (0, 0)))
    kernel = kernel.reshape(side, 2, side, 2, channels, -1).transpose(0, 2, 1, 3, 4, 5)
    padding = ((reach + before) // 2, side - 1 - (reach + before) // 2)
    return conv(cells.reshape(batch, height // 2, width // 2, -1), kernel.reshape(side, side, 4 * channels, -1), padding)


def dilated_conv3x3(image: Array, kernel: Array, dilation: int) -> Array:
    """3x3 convolution of pixels that lie `dilation` apart, with zero padding: `[B, H, W, C] -> [B, H, W, F]`.

    The image is split into `dilation`^2 subsampled images, which do not interact, and each is convolved without dilation.
    Sides that `dilation` does not divide are padded.
    """
    batch, height, width, channels = image.shape
    rows, columns = -(-height // dilation), -(-width // dilation)
    padded = jnp.pad(image, ((0, 0), (0, rows * dilation - height), (0, columns * dilation - width), (0, 0)))
    subsampled = padded.reshape(batch, rows, dilation, columns, dilation, channels).transpose(0, 2, 4, 1, 3, 5)
    convolved = conv3x3(subsampled.reshape(-1, rows, columns, channels), kernel)
    merged = convolved.reshape(batch, dilation, dilation, rows, columns, -1).transpose(0, 3, 1, 4, 2, 5)
    return merged.reshape(batch, rows * dilation, columns * dilation, -1)[:, :height, :width]


class _Conv(nn.Module):
    """A convolution without bias: with stride 2; dilated (3x3 kernels); or plain (3x3 and 5x5 kernels)."""

    features: int
    side: int = 3
    stride: int = 1
    dilation: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", kernel_init, (self.side, self.side, x.shape[-1], self.features)).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.stride == 2:
            return strided_conv(x, kernel)
        if self.side == 3:
            return dilated_conv3x3(x, kernel, self.dilation) if self.dilation > 1 else conv3x3(x, kernel)
        return conv(x, kernel, (self.side // 2, self.side // 2))


class CompletionNetwork(nn.Module):
    """Encoder to a quarter of the side, dilated convolutions, decoder, tanh: `[B, H, W, C] -> [B, H, W, 1]`."""

    width: int = 64
    normalise: Normalise = Normalise()
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        wide, wider = 2 * self.width, 4 * self.width
        layers: list[Callable[..., nn.Module]] = [
            partial(_Conv, self.width, side=5),
            partial(_Conv, wide, stride=2),
            partial(_Conv, wide),
            partial(_Conv, wider, stride=2),
            partial(_Conv, wider),
            partial(_Conv, wider),
            *(partial(_Conv, wider, dilation=dilation) for dilation in DILATIONS),
            partial(_Conv, wider),
            partial(_Conv, wider),
            partial(Upsample, wide),
            partial(_Conv, wide),
            partial(Upsample, self.width),
            partial(_Conv, self.width // 2),
        ]
        for i, layer in enumerate(layers):
            x = layer(dtype=self.dtype, name=f"layer_{i}")(x)
            x = nn.relu(self.normalise.copy(name=f"norm_{i}")(x, train))
        bias = self.param("bias", nn.initializers.zeros_init(), (1,))
        return jnp.tanh(_Conv(1, dtype=self.dtype, name="output")(x).astype(jnp.float32) + bias.reshape(1, 1, 1, 1))


class JointDiscriminator(nn.Module):
    """Complete images `[B, H, W, 1]` and the windows around their holes `[B, w, w, 1]` -> one logit for both.

    Each input has a branch: 5x5 stride-2 convolutions down to 4x4 pixels, and a fully connected layer. A last layer computes
    the logit from the features of both branches.
    """

    width: int = 64
    normalise: Normalise = Normalise()
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: tuple[Array, Array], train: bool) -> tuple[Array, tuple[Array, ...]]:
        """Returns float32 logits `[B, 1, 1]`, and the features of the two branches."""
        features = tuple(
            _Branch(self.width, self.normalise, self.dtype, name=name)(image, train)
            for name, image in zip(("whole", "window"), images, strict=True)
        )
        logits = nn.Dense(1, kernel_init=kernel_init, dtype=self.dtype, name="logit")(jnp.concatenate(features, axis=-1))
        return logits.astype(jnp.float32).reshape(-1, 1, 1), features


class _Branch(nn.Module):
    """One branch of the discriminator: images `[B, H, W, 1]` -> features `[B, 1024 * width / 64]`."""

    width: int
    normalise: Normalise
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        for i, channels in enumerate(widths(x.shape[1] // FINAL_SIDE, self.width)):
            x = _Conv(channels, side=5, stride=2, dtype=self.dtype, name=f"conv_{i}")(x)
            x = nn.relu(self.normalise.copy(name=f"norm_{i}")(x, train))
        features = BRANCH_FEATURES * self.width // 64
        x = nn.Dense(features, kernel_init=kernel_init, dtype=self.dtype, name="describe")(x.reshape(len(x), -1))
        return nn.relu(x)
