"""Convolution with stride 1 whose kernel gradient is fast on CPUs too; types and matrix products of the forms for CPUs.

Images are `[B, H, W, C]`, kernels `[k, k, C, F]`. `padding` is the number of zeros (before, after) along rows and columns.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from ipmedgan_jax.core import processor

LAYOUT = ("NHWC", "HWIO", "NHWC")

MIN_CHANNELS = 32
"""Input and output channels from which matrix products are the faster kernel gradient on a CPU."""

MIN_PIXELS = 1024
"""Pixels of an image from which oneDNN's bfloat16 convolution is the faster kernel gradient: 3 times at 64x64x64."""


def cpu_type(a: Array, b: Array) -> tuple[Array, Array, DTypeLike]:
    """Returns two operands in the type that a CPU computes in, and their own type, which the result gets.

    Without oneDNN XLA:CPU has no fast bfloat16 convolutions: float32 is faster there, and more exact.
    """
    own = a.dtype
    if own == jnp.bfloat16 and not processor.uses_onednn():
        a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    return a, b, own


def dot(a: Array, b: Array, *, contract: tuple[int, int]) -> Array:
    """Matrix product that contracts the given axes, in the operands' type; sums are in float32 at least.

    A bfloat16 result is asked for as such: of a float32 result XLA:CPU makes a product of float32 operands.
    """
    dimensions = (((contract[0],), (contract[1],)), ((), ()))
    return lax.dot_general(a, b, dimensions, preferred_element_type=a.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv(x: Array, kernel: Array, padding: tuple[int, int]) -> Array:
    """Cross-correlates, as networks do: `[B, H, W, C] -> [B, H', W', F]` with H' = H + both paddings - k + 1."""
    plain = partial(_conv_lax, padding=padding)
    if x.dtype != jnp.bfloat16:
        return plain(x, kernel)

    def cpu(x: Array, kernel: Array) -> Array:
        x, kernel, result = cpu_type(x, kernel)
        return plain(x, kernel).astype(result)

    return lax.platform_dependent(x, kernel, cpu=cpu, default=plain)


def _conv_lax(x: Array, kernel: Array, *, padding: tuple[int, int]) -> Array:
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
    large = x.dtype == jnp.bfloat16 and processor.uses_onednn() and gradient.shape[1] * gradient.shape[2] >= MIN_PIXELS
    if large or min(x.shape[3], gradient.shape[3]) < MIN_CHANNELS:
        return _kernel_gradient_lax(x, gradient, side, padding)
    matmul = partial(_kernel_gradient_matmul, side=side, padding=padding)
    plain = partial(_kernel_gradient_lax, side=side, padding=padding)
    return lax.platform_dependent(x, gradient, cpu=matmul, default=plain)


def _kernel_gradient_lax(x: Array, gradient: Array, side: int, padding: tuple[int, int]) -> Array:
    kernel = jax.ShapeDtypeStruct((side, side, x.shape[3], gradient.shape[3]), x.dtype)
    return jax.linear_transpose(lambda k: _conv_lax(x, k, padding=padding), kernel)(gradient)[0]


def _kernel_gradient_matmul(x: Array, gradient: Array, side: int, padding: tuple[int, int]) -> Array:
    """One matrix product for each pixel of the kernel; XLA:CPU's convolution takes about twice as long."""
    x, gradient, result = cpu_type(x, gradient)
    _, rows, columns, features = gradient.shape
    channels = x.shape[3]
    padded = jnp.pad(x, ((0, 0), padding, padding, (0, 0)))
    flat = gradient.reshape(-1, features)

    def gradient_at(row: int, column: int) -> Array:
        shifted = padded[:, row : row + rows, column : column + columns].reshape(-1, channels)
        return dot(shifted, flat, contract=(0, 0))

    pixels = [gradient_at(row, column) for row in range(side) for column in range(side)]
    return jnp.stack(pixels).reshape(side, side, channels, features).astype(result)
