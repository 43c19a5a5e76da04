"""Convolution with stride 1, whose gradient by the kernel is taken fast on a CPU too.

Images `[B, H, W, C]`, kernels `[k, k, C, F]`, `padding` zeros (before, after) along both sides.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

LAYOUT = ("NHWC", "HWIO", "NHWC")

NARROWEST = 32
"""Channels, in and out, from which products of matrices pay for the kernel's gradient on a CPU."""


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv(x: Array, kernel: Array, padding: tuple[int, int]) -> Array:
    """`[B, H, W, C] -> [B, H', W', F]`, H' = H + both paddings - k + 1; the kernel is not flipped, as networks have it."""
    return lax.conv_general_dilated(x, kernel, (1, 1), (padding, padding), dimension_numbers=LAYOUT)


def _forward(x: Array, kernel: Array, padding: tuple[int, int]) -> tuple[Array, tuple[Array, Array]]:
    return conv(x, kernel, padding), (x, kernel)


def _backward(padding: tuple[int, int], residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    reach = kernel.shape[0] - 1
    by_input = conv(gradient, kernel[::-1, ::-1].swapaxes(2, 3), (reach - padding[0], reach - padding[1]))
    return by_input, kernel_gradient(x, gradient, kernel.shape[0], padding)


conv.defvjp(_forward, _backward)


def kernel_gradient(x: Array, gradient: Array, side: int, padding: tuple[int, int]) -> Array:
    """Gradient of `sum(conv(x, kernel, padding) * gradient)` by a kernel of this side."""
    if min(x.shape[3], gradient.shape[3]) < NARROWEST:
        return _by_transposition(x, gradient, side, padding)
    by_products = partial(_by_products, side=side, padding=padding)
    by_transposition = partial(_by_transposition, side=side, padding=padding)
    return lax.platform_dependent(x, gradient, cpu=by_products, default=by_transposition)


def _by_transposition(x: Array, gradient: Array, side: int, padding: tuple[int, int]) -> Array:
    kernel = jax.ShapeDtypeStruct((side, side, x.shape[3], gradient.shape[3]), x.dtype)
    plain = partial(lax.conv_general_dilated, x, window_strides=(1, 1), padding=(padding, padding), dimension_numbers=LAYOUT)
    return jax.linear_transpose(plain, kernel)(gradient)[0]


def _by_products(x: Array, gradient: Array, side: int, padding: tuple[int, int]) -> Array:
    """One product of matrices for each of the kernel's places; XLA:CPU's convolution takes about twice as long."""
    _, rows, columns, features = gradient.shape
    channels = x.shape[3]
    padded = jnp.pad(x, ((0, 0), padding, padding, (0, 0)))
    flat = gradient.reshape(-1, features)

    def at(row: int, column: int) -> Array:
        shifted = padded[:, row : row + rows, column : column + columns].reshape(-1, channels)
        return lax.dot_general(shifted, flat, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)

    places = [at(row, column) for row in range(side) for column in range(side)]
    return jnp.stack(places).reshape(side, side, channels, features).astype(x.dtype)
