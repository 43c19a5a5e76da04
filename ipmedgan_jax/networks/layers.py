"""Layers that the networks share: 4x4 stride-2 convolution and its transpose, normalisation, initialisers.

The functions of the strided layers are in `networks/strided.py`.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

from ipmedgan_jax.networks.convolution import conv
from ipmedgan_jax.networks.strided import downsample, upsample

LEAKY_SLOPE = 0.2
"""Slope of every LeakyReLU in the paper's networks (pix2pix); Flax's default is 0.01."""

DATA_AXIS = "data"
"""Name of the mapped axis over the devices; batch statistics and gradients are averaged over it."""


def count_devices() -> int:
    """Length of the mapped axis; 1 outside it."""
    try:
        return lax.axis_size(DATA_AXIS)
    except NameError:  # JAX's error for an axis that is not mapped
        return 1


def mean_over_devices(tree: Any) -> Any:
    """Mean of every array over the mapped axis. A single device returns the arrays themselves: XLA would copy them."""
    return tree if count_devices() == 1 else lax.pmean(tree, DATA_AXIS)


kernel_init = nn.initializers.normal(0.02)
"""N(0, 0.02), as in pix2pix."""


def widths(size: int, width: int) -> list[int]:
    """Channels of the layers that halve a map of side `size` down to 1x1: `width` times 1, 2, 4, 8, 8, ..."""
    return [width * min(2**i, 8) for i in range(size.bit_length() - 1)]


def leaky_relu(x: Array) -> Array:
    return nn.leaky_relu(x, LEAKY_SLOPE)


# ------------------------------------------------------------------ modules


class Downsample(nn.Module):
    """`downsample` as a layer with a kernel and no bias."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", kernel_init, (4, 4, x.shape[-1], self.features))
        return downsample(x.astype(self.dtype), kernel.astype(self.dtype))


class Upsample(nn.Module):
    """`upsample` as a layer with a kernel and no bias."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", kernel_init, (4, 4, self.features, x.shape[-1]))
        return upsample(x.astype(self.dtype), kernel.astype(self.dtype))


class Conv4x4(nn.Module):
    """4x4 convolution with stride 1 and padding 1, no bias: `[B, H, W, C] -> [B, H - 1, W - 1, F]`."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", kernel_init, (4, 4, x.shape[-1], self.features))
        return conv(x.astype(self.dtype), kernel.astype(self.dtype), (1, 1))


def _scale_init(key: Array, shape: tuple[int, ...]) -> Array:
    """N(1, 0.02), as in pix2pix."""
    return 1.0 + 0.02 * jax.random.normal(key, shape)


class Normalise(nn.Module):
    """Batch normalisation of `[B, H, W, C]` with learned scale and shift; statistics are in float32.

    Attributes:
      statistics: `example` normalises each image by its own mean and variance, in training and at test. This is batch
        normalisation at the paper's batch size of 1, and does not depend on batch size and device count. `batch` uses the
        statistics of the batch over all devices in training, and running averages at test (collection `batch_stats`).
      momentum: of the running averages.
    """

    statistics: str = "example"
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        channels = x.shape[-1]
        scale = self.param("scale", _scale_init, (channels,))
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,))
        x = x.astype(jnp.float32)
        mean, variance = self._example_statistics(x) if self.statistics == "example" else self._batch_statistics(x, train)
        factor = lax.rsqrt(variance + self.epsilon) * scale.reshape(1, 1, 1, -1)
        return ((x - mean) * factor + bias.reshape(1, 1, 1, -1)).astype(self.dtype)

    def _example_statistics(self, x: Array) -> tuple[Array, Array]:
        mean = x.mean((1, 2), keepdims=True)
        return mean, jnp.square(x - mean).mean((1, 2), keepdims=True)

    def _batch_statistics(self, x: Array, train: bool) -> tuple[Array, Array]:
        shape = (1, 1, 1, x.shape[-1])
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_variance = self.variable("batch_stats", "variance", jnp.ones, shape)
        if not train:
            return running_mean.value, running_variance.value
        mean = self._average_over_devices(x.mean((0, 1, 2), keepdims=True))
        variance = self._average_over_devices(jnp.square(x - mean).mean((0, 1, 2), keepdims=True))
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
            running_variance.value = self.momentum * running_variance.value + (1 - self.momentum) * variance
        return mean, variance

    def _average_over_devices(self, value: Array) -> Array:
        return value if self.is_initializing() else mean_over_devices(value)


# ------------------------------------------------------------------ initial weights

_INITIAL_MOMENTS = {
    "kernel": (0.0, 0.02),
    "scale": (1.0, 0.02),
    "zero_kernel": (0.0, 0.0),
    "unit_scale": (1.0, 0.0),
    "bias": (0.0, 0.0),
    "mean": (0.0, 0.0),
    "variance": (1.0, 0.0),
}
"""Mean and standard deviation of a variable's initial values by its name, as in pix2pix and in the modules' initialisers."""


def _initial_moments(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """The moments of a variable. Kernels whose names end in `he_kernel` or `lecun_kernel` have them by their inputs.

    He et al.'s (2015) keep the variance of activated values, LeCun et al.'s (1998) that of others.
    """
    for ending, gain in (("he_kernel", 2.0), ("lecun_kernel", 1.0)):
        if name.endswith(ending):
            return 0.0, math.sqrt(gain / math.prod(shape[:-1]))
    return _INITIAL_MOMENTS[name]


def initialise(shapes: Any, key: Array) -> Any:
    """Initialises a network's variables, given their `shapes` from `jax.eval_shape(net.init, ...)`.

    One draw serves all variables. The modules' own initialisers draw variable by variable, and compile for half a minute.
    KeyError for a variable whose name is not in `_INITIAL_MOMENTS`.
    """
    leaves, structure = jax.tree.flatten_with_path(shapes)
    named = [(_initial_moments(path[-1].key, leaf.shape), leaf) for path, leaf in leaves]
    noise = _normal(key, sum(leaf.size for (_, deviation), leaf in named if deviation))
    values, used = [], 0
    for (mean, deviation), leaf in named:
        value = jnp.full(leaf.shape, mean, leaf.dtype)
        if deviation:
            value += deviation * noise[used : used + leaf.size].reshape(leaf.shape)
            used += leaf.size
        values.append(value)
    return jax.tree.unflatten(structure, values)


def _normal(key: Array, count: int) -> Array:
    """`count` draws from N(0, 1), made in blocks because the random bits of all draws would double the memory needed.

    Each draw uses 16 random bits and takes one of 65,536 values, up to 4.3 standard deviations. `jax.random.normal` uses 32
    bits and twice the time.
    """
    block = min(count, 2**20)

    def draw(key: Array) -> Array:
        bits = jax.random.bits(key, (-(-block // 2),))
        level = jnp.concatenate([bits >> 16, bits & 0xFFFF]).astype(jnp.float32)
        return np.float32(np.sqrt(2.0)) * lax.erf_inv((level + 0.5) / 2**15 - 1.0)

    return lax.map(draw, jax.random.split(key, -(-count // block))).reshape(-1)[:count]
