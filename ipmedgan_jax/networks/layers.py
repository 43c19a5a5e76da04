"""Layers the networks share: 4x4 stride-2 convolution and its transpose, normalisation, initialisers.

Shapes: images `[B, H, W, C]`, kernels `[4, 4, C_in, C_out]`, cotangents as the outputs.

The two 4x4 stride-2 layers are each other's adjoint, and that is how they are written: `downsample`'s gradient is an
`upsample` and the other way round. On a CPU both are one matrix product over patches, because XLA:CPU's gradient of a
dilated convolution is some 20 times slower than the same sum as a product. Elsewhere they are `lax` convolutions.
The forms are the same function of the same kernel, so a checkpoint does not depend on the platform.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

LEAKY_SLOPE = 0.2
"""Of every LeakyReLU of the paper's networks (pix2pix); Flax's own default is 0.01."""

DATA_AXIS = "data"
"""Name of the mapped axis over devices: batch statistics are averaged over it."""

kernel_init = nn.initializers.normal(0.02)
"""N(0, 0.02), as pix2pix."""

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def leaky_relu(x: Array) -> Array:
    return nn.leaky_relu(x, LEAKY_SLOPE)


# ------------------------------------------------------------------ 4x4 stride 2, padding 1, and its transpose


@jax.custom_vjp
def downsample(x: Array, kernel: Array) -> Array:
    """4x4 convolution with stride 2 and one pixel of zero padding: `[B, H, W, C] -> [B, H/2, W/2, F]`, H and W even."""
    return lax.platform_dependent(x, kernel, cpu=_downsample_matmul, default=_downsample_lax)


@jax.custom_vjp
def upsample(x: Array, kernel: Array) -> Array:
    """Transposed 4x4 stride-2 convolution, padding 1: `[B, h, w, C] -> [B, 2h, 2w, F]`.

    Input pixel i adds `x[i] * kernel[k]` to output pixel `2 i - 1 + k` (as PyTorch's ConvTranspose2d): the adjoint of
    `downsample` with the kernel's last two axes exchanged.
    """
    return lax.platform_dependent(x, kernel, cpu=_upsample_matmul, default=_upsample_lax)


def _downsample_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return downsample(x, kernel), (x, kernel)


def _downsample_backward(residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    return upsample(g, kernel.swapaxes(2, 3)), _kernel_gradient(x, g)


def _upsample_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return upsample(x, kernel), (x, kernel)


def _upsample_backward(residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    return downsample(g, kernel.swapaxes(2, 3)), _kernel_gradient(g, x).swapaxes(2, 3)


downsample.defvjp(_downsample_forward, _downsample_backward)
upsample.defvjp(_upsample_forward, _upsample_backward)


def _kernel_gradient(fine: Array, coarse: Array) -> Array:
    """Gradient of `sum(downsample(fine, kernel) * coarse)` by the kernel: `[4, 4, C_fine, C_coarse]`."""
    return lax.platform_dependent(fine, coarse, cpu=_kernel_gradient_matmul, default=_kernel_gradient_lax)


def _downsample_lax(x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=_LAYOUT)


def _upsample_lax(x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(
        x, kernel[::-1, ::-1], (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2), dimension_numbers=_LAYOUT
    )


def _kernel_gradient_lax(fine: Array, coarse: Array) -> Array:
    shape = (4, 4, fine.shape[3], coarse.shape[3])
    of_kernel = jax.linear_transpose(lambda k: _downsample_lax(fine, k), jax.ShapeDtypeStruct(shape, fine.dtype))
    return of_kernel(coarse)[0]


def _downsample_matmul(x: Array, kernel: Array) -> Array:
    batch, height, width, channels = x.shape
    y = _dot(_patches(x), kernel.reshape(16 * channels, -1))
    return y.reshape(batch, height // 2, width // 2, -1)


def _upsample_matmul(x: Array, kernel: Array) -> Array:
    """One product gives each input pixel's 4x4 patch of the output; the patches are then added where they overlap."""
    batch, height, width, channels = x.shape
    features = kernel.shape[3]
    patches = _dot(x.reshape(-1, channels), kernel.transpose(2, 0, 1, 3).reshape(channels, -1))
    patches = patches.reshape(batch, height, width, 2, 2, 2, 2, features)  # [B, h, w, cell row, row, cell column, column, F]

    def shifted(p: int, r: int) -> Array:
        cells = patches[:, :, :, p, :, r].transpose(0, 1, 3, 2, 4, 5)
        return jnp.pad(cells, ((0, 0), (p, 1 - p), (0, 0), (r, 1 - r), (0, 0), (0, 0)))

    cells = shifted(0, 0) + shifted(0, 1) + shifted(1, 0) + shifted(1, 1)
    return cells.reshape(batch, 2 * height + 2, 2 * width + 2, features)[:, 1:-1, 1:-1]


def _kernel_gradient_matmul(fine: Array, coarse: Array) -> Array:
    features = coarse.shape[3]
    gradient = _dot(_patches(fine).T, coarse.reshape(-1, features))
    return gradient.reshape(4, 4, fine.shape[3], features)


def _patches(x: Array) -> Array:
    """The 4x4 patches a stride-2 convolution reads: `[B, H, W, C] -> [B * H/2 * W/2, 16 C]`."""
    batch, height, width, channels = x.shape
    rows, columns = height // 2, width // 2
    cells = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(batch, rows + 1, 2, columns + 1, 2, channels)
    pairs = jnp.stack([cells[:, :-1], cells[:, 1:]], axis=2)
    pairs = jnp.stack([pairs[:, :, :, :, :-1], pairs[:, :, :, :, 1:]], axis=4)
    return pairs.transpose(0, 1, 5, 2, 3, 4, 6, 7).reshape(batch * rows * columns, 16 * channels)


def _dot(a: Array, b: Array) -> Array:
    """Matrix product summed in float32, returned in the operands' type."""
    return lax.dot(a, b, preferred_element_type=jnp.float32).astype(a.dtype)


# ------------------------------------------------------------------ modules


class Downsample(nn.Module):
    """`downsample` with a kernel of its own, without bias."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", kernel_init, (4, 4, x.shape[-1], self.features))
        return downsample(x.astype(self.dtype), kernel.astype(self.dtype))


class Upsample(nn.Module):
    """`upsample` with a kernel of its own, without bias."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", kernel_init, (4, 4, x.shape[-1], self.features))
        return upsample(x.astype(self.dtype), kernel.astype(self.dtype))


class Conv4x4(nn.Module):
    """4x4 convolution with stride 1 and padding 1, no bias: `[B, H, W, C] -> [B, H - 1, W - 1, F]`."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        conv = nn.Conv(
            self.features, (4, 4), padding=((1, 1), (1, 1)), use_bias=False, kernel_init=kernel_init, dtype=self.dtype
        )
        return conv(x)


def _scale_init(key: Array, shape: tuple[int, ...]) -> Array:
    """N(1, 0.02), as pix2pix."""
    return 1.0 + 0.02 * jax.random.normal(key, shape)


class Normalise(nn.Module):
    """Batch normalisation with learned scale and shift over `[B, H, W, C]`; statistics in float32.

    Attributes:
      statistics: `example`: each image by its own mean and variance, in training and at test: batch norm at the paper's
        batch size of 1, independent of batch size and device count. `batch`: over batch and devices in training, by
        running averages at test (collection `batch_stats`).
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
        mean, variance = self._example(x) if self.statistics == "example" else self._batch(x, train)
        factor = lax.rsqrt(variance + self.epsilon) * scale.reshape(1, 1, 1, -1)
        return ((x - mean) * factor + bias.reshape(1, 1, 1, -1)).astype(self.dtype)

    def _example(self, x: Array) -> tuple[Array, Array]:
        mean = x.mean((1, 2), keepdims=True)
        return mean, jnp.square(x - mean).mean((1, 2), keepdims=True)

    def _batch(self, x: Array, train: bool) -> tuple[Array, Array]:
        shape = (1, 1, 1, x.shape[-1])
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_variance = self.variable("batch_stats", "variance", jnp.ones, shape)
        if not train:
            return running_mean.value, running_variance.value
        mean = self._over_devices(x.mean((0, 1, 2), keepdims=True))
        variance = self._over_devices(jnp.square(x - mean).mean((0, 1, 2), keepdims=True))
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
            running_variance.value = self.momentum * running_variance.value + (1 - self.momentum) * variance
        return mean, variance

    def _over_devices(self, value: Array) -> Array:
        return value if self.is_initializing() else lax.pmean(value, DATA_AXIS)
