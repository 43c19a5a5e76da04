"""The generator of ip-MedGAN plus: a U-Net without strided or transposed convolutions, which adds to its input.

Transposed 4x4 convolutions with stride 2 leave a lattice of dots in large fills, because their kernels cover even and odd
pixels unequally (Odena et al., 2016). Moving channels to pixels leaves one of period 2, by 18 dB where scans have none
(`benchmarks/lesion_holes.py`). Here images are halved by their mean and doubled by linear interpolation, and every
convolution is 3x3 with stride 1. Most of them run from half the image's side down; the last ones see the image and the mask
again at its own side.

Images are `[B, H, W, C]`; H and W are multiples of 16.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from ipmedgan_jax.networks.winograd import conv3x3

FACTORS = (1, 2, 3, 4)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the image's side, as multiples of the width."""

MIN_SIDE = 16
"""Pixels: smallest side of an image."""

_GROUPS = 8  # of channels; fewer if they cannot be shared among so many
_DETAIL = 24  # channels at the image's own side
_zeros = nn.initializers.zeros_init()
_INITIALISERS = {
    "he_kernel": nn.initializers.he_normal(),
    "lecun_kernel": nn.initializers.lecun_normal(),
    "zero_kernel": _zeros,
}


class ResidualUNet(nn.Module):
    """`[B, H, W, C] -> [B, H, W, 1]` in [-1, 1]: the first channel of the input, plus what the network adds.

    The last layer starts at zero, so an untrained network returns the first channel.

    Attributes:
      width: channels at half the image's side.
      middle: blocks at the lowest resolution.
    """

    width: int = 64
    middle: int = 2
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: Array, train: bool) -> Array:
        channels = [self.width * factor for factor in FACTORS]
        x = Conv(channels[0], "lecun_kernel", self.dtype, name="stem")(pixels_to_channels(image))
        skips = []
        for i, count in enumerate(channels):
            x = Block(count, self.dtype, name=f"down_{i}")(x if i == 0 else halve(x))
            skips.append(x)
        for i in range(self.middle):
            x = Block(channels[-1], self.dtype, name=f"middle_{i}")(x)
        for i, count in reversed(list(enumerate(channels))):
            x = jnp.concatenate([x if i == len(channels) - 1 else double(x), skips[i]], axis=-1)
            x = Block(count, self.dtype, name=f"up_{i}")(x)
        x = nn.silu(GroupNormalise(self.dtype, name="norm")(x))
        x = double(Conv(_DETAIL, "he_kernel", self.dtype, name="to_pixels")(x))
        x = jnp.concatenate([x, image.astype(self.dtype)], axis=-1)
        x = Conv(_DETAIL, "lecun_kernel", self.dtype, name="detail_0")(x)
        x = Conv(_DETAIL, "he_kernel", self.dtype, name="detail_1")(nn.silu(x))
        added = Conv(1, "zero_kernel", self.dtype, name="output")(nn.silu(x))
        return jnp.clip(image[..., :1] + added.astype(jnp.float32), -1.0, 1.0)


class Block(nn.Module):
    """Two 3x3 convolutions with group normalisation between them, added to their input (He et al., arXiv 1603.05027).

    The second convolution starts at zero. Otherwise every block would add to the variance, and the values of the last layers
    would be so large that a step of the optimiser moves the output from one end of its range to the other.
    """

    features: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = Conv(self.features, "he_kernel", self.dtype, name="conv_0")(nn.silu(x))
        y = nn.silu(GroupNormalise(self.dtype, name="norm")(y))
        y = Conv(self.features, "zero_kernel", self.dtype, name="conv_1")(y)
        if x.shape[-1] != self.features:
            kernel = self.param("lecun_kernel", _INITIALISERS["lecun_kernel"], (1, 1, x.shape[-1], self.features))
            x = jnp.einsum("bhwc,cf->bhwf", x, kernel[0, 0].astype(self.dtype))
        return x + y


class Conv(nn.Module):
    """3x3 convolution with zero padding of 1 and a bias, `[B, H, W, C] -> [B, H, W, F]`.

    `kernel_name` names the kernel, and with it the values that it starts with (`layers.initialise`).
    """

    features: int
    kernel_name: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param(self.kernel_name, _INITIALISERS[self.kernel_name], shape)
        bias = self.param("bias", _zeros, (self.features,))
        return conv3x3(x.astype(self.dtype), kernel.astype(self.dtype)) + bias.astype(self.dtype).reshape(1, 1, 1, -1)


class GroupNormalise(nn.Module):
    """Group normalisation with learned scale and shift (Wu and He, arXiv 1803.08494); statistics are in float32."""

    dtype: DTypeLike
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        batch, _, _, channels = x.shape
        scale = self.param("unit_scale", nn.initializers.ones_init(), (channels,))
        bias = self.param("bias", _zeros, (channels,))
        groups = math.gcd(channels, _GROUPS)
        # Sums over the pixels first: a group's moments follow from its channels' own.
        mean, square = (value.reshape(batch, groups, -1).mean(-1) for value in _moments(x))
        spread = jax.lax.rsqrt(jnp.maximum(square - jnp.square(mean), 0) + self.epsilon)
        factor = jnp.repeat(spread, channels // groups, axis=1) * scale[None]
        shift = bias[None] - jnp.repeat(mean, channels // groups, axis=1) * factor
        return x * factor[:, None, None].astype(self.dtype) + shift[:, None, None].astype(self.dtype)


def _moments(x: Array) -> tuple[Array, Array]:
    """Means over the pixels of the values and of their squares, in float32: `[B, H, W, C] -> [B, C]` each."""
    x = x.astype(jnp.float32)
    return x.mean((1, 2)), jnp.square(x).mean((1, 2))


def halve(x: Array) -> Array:
    """Means over 2x2 pixels: `[B, H, W, C] -> [B, H/2, W/2, C]`."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4), dtype=x.dtype)


def double(x: Array) -> Array:
    """Doubles the side by linear interpolation between the pixels' centres: `[B, H, W, C] -> [B, 2 H, 2 W, C]`."""
    return _double_rows(_double_rows(x).swapaxes(1, 2)).swapaxes(1, 2)


def _double_rows(x: Array) -> Array:
    """Each row becomes two, three quarters of itself and a quarter of its upper or lower neighbour."""
    batch, height, width, channels = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)), mode="edge")
    upper, lower = (0.75 * x + 0.25 * neighbour for neighbour in (padded[:, :-2], padded[:, 2:]))
    return jnp.stack([upper, lower], axis=2).reshape(batch, 2 * height, width, channels)


def pixels_to_channels(x: Array) -> Array:
    """Moves 2x2 pixels to channels: `[B, H, W, C] -> [B, H/2, W/2, 4 C]`."""
    batch, height, width, channels = x.shape
    cells = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return cells.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // 2, width // 2, 4 * channels)
