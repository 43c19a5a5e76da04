"""Convolution with stride 1 whose kernel gradient is fast on CPUs too.

Images are `[B, H, W, C]`, kernels `[k, k, C, F]`. `padding` is the number of zeros (before, after) along rows and columns.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

LAYOUT = ("NHWC", "HWIO", "NHWC")

MIN_CHANNELS = 32
"""Input and output channels from which matrix products are the faster kernel gradient on a CPU."""


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv(x: Array, kernel: Array, padding: tuple[int, int]) -> Array:
    """Cross-correlates, as networks do: `[B, H, W, C] -> [B, H', W', F]` with H' = H + both paddings - k + 1."""
    return lax.conv_general_dilated(x, kernel, (1, 1), (padding, padding), dimension_numbers=LAYOUT)


def _forward(x: Array, kernel: Array, padding: tuple[int, int]) -> tuple[Array, tuple[Array, Array]]:
    return conv(x, kernel, padding), (x, kernel)


def _backward(padding: tuple[int, int], residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    reach = kernel.shape[0] - 1
    input_gradient = conv(gradient, kernel[::-1, ::-1].swapaxes(2, 3), (reach - padding[0], reach - padding[1]))
    return input_gradient, kernel_gradient(x, gradient, kernel.shape[0], padding)


conv.defvjp(_forward, _backward)


def kernel_gradient(x: Array, gradient: Array, side: int, padding: tuple[int, int]) -> Array:
    """Gradient of `sum(conv(x, kernel, padding) * gradient)` with respect to a kernel of `side` x `side` pixels."""
    if min(x.shape[3], gradient.shape[3]) < MIN_CHANNELS:
        return _kernel_gradient_lax(x, gradient, side, padding)
    matmul = partial(_kernel_gradient_matmul, side=side, padding=padding)
    plain = partial(_kernel_gradient_lax, side=side, padding=padding)
    return lax.platform_dependent(x, gradient, cpu=matmul, default=plain)


def _kernel_gradient_lax(x: Array, gradient: Array, side: int, padding: tuple[int, int]) -> Array:
    kernel = jax.ShapeDtypeStruct((side, side, x.shape[3], gradient.shape[3]), x.dtype)
    plain = partial(lax.conv_general_dilated, x, window_strides=(1, 1), padding=(padding, padding), dimension_numbers=LAYOUT)
    return jax.linear_transpose(plain, kernel)(gradient)[0]


def _kernel_gradient_matmul(x: Array, gradient: Array, side: int, padding: tuple[int, int]) -> Array:
    """One matrix product for each pixel of the kernel; XLA:CPU's convolution takes about twice as long."""
    _, rows, columns, features = gradient.shape
    channels = x.shape[3]
    padded = jnp.pad(x, ((0, 0), padding, padding, (0, 0)))
    flat = gradient.reshape(-1, features)

    def gradient_at(row: int, column: int) -> Array:
        shifted = padded[:, row : row + rows, column : column + columns].reshape(-1, channels)
        return lax.dot_general(shifted, flat, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)

    pixels = [gradient_at(row, column) for row in range(side) for column in range(side)]
    return jnp.stack(pixels).reshape(side, side, channels, features).astype(x.dtype)
