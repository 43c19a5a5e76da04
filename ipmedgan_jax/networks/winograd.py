"""Winograd's 3x3 convolution: a quarter of the multiplications, for wide layers on a CPU.

Images are `[B, H, W, C]`, kernels `[3, 3, C, F]`, with zero padding of 1. Every 4x4 tile of the output is computed from a
6x6 tile of the input: tile and kernel are transformed to 36 values each, multiplied (36 matrix products over all tiles), and
transformed back (Lavin and Gray, arXiv 1509.09308, F(4x4, 3x3)). In float32 the result differs from the plain convolution by
about 2e-5 of the largest value.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ipmedgan_jax.networks.convolution import conv, cpu_type, kernel_gradient

TILE = 4
"""Pixels: side of an output tile."""

_SIDE = TILE + 2  # of an input tile

_INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_KERNEL = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
_OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
"""The transforms of input, kernel and output for the interpolation points 0, 1, -1, 2, -2 and infinity."""

_PADDING = (1, 1)

MIN_CHANNELS = 128
"""Input and output channels from which Winograd's form is faster. With fewer, the transforms cost more than is saved."""

MIN_TILES = 32
"""Tiles from which it is faster. With fewer, the kernel's transform costs more. Both measured on two cores with AVX-512."""


@jax.custom_vjp
def conv3x3(x: Array, kernel: Array) -> Array:
    """3x3 convolution with stride 1 and zero padding of 1: `[B, H, W, C] -> [B, H, W, F]`, in the type of `x`."""
    tiles = x.shape[0] * -(-x.shape[1] // TILE) * -(-x.shape[2] // TILE)
    if min(kernel.shape[2:]) < MIN_CHANNELS or tiles < MIN_TILES:
        return _conv3x3_lax(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=_conv3x3_cpu, default=_conv3x3_lax)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return conv3x3(x, kernel), (x, kernel)


def _backward(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    input_gradient = conv3x3(gradient, kernel[::-1, ::-1].swapaxes(2, 3))
    return input_gradient, kernel_gradient(x, gradient, 3, _PADDING)


conv3x3.defvjp(_forward, _backward)


def _conv3x3_lax(x: Array, kernel: Array) -> Array:
    return conv(x, kernel, _PADDING)


def _conv3x3_cpu(x: Array, kernel: Array) -> Array:
    """Winograd's form, in float32: in bfloat16 its tiles would lose bits, and the processor's own convolution is faster."""
    x, kernel, result = cpu_type(x, kernel)
    form = _conv3x3_lax if x.dtype == jnp.bfloat16 else _conv3x3_winograd
    return form(x, kernel).astype(result)


def _conv3x3_winograd(x: Array, kernel: Array) -> Array:
    batch, height, width, channels = x.shape
    rows, columns = -(-height // TILE), -(-width // TILE)
    padded = jnp.pad(x, ((0, 0), (1, TILE * rows + 1 - height), (1, TILE * columns + 1 - width), (0, 0)))

    # The input's transform acts on the rows of the tiles first, then on their columns.
    by_row = _transform(_INPUT, jnp.stack([padded[:, i : i + TILE * (rows - 1) + 1 : TILE] for i in range(_SIDE)]))
    tiles = _transform(_INPUT, jnp.stack([by_row[:, :, :, j : j + TILE * (columns - 1) + 1 : TILE] for j in range(_SIDE)]))
    kernels = _transform(np.kron(_KERNEL, _KERNEL), kernel.swapaxes(0, 1).reshape(9, channels, -1))
    products = jnp.einsum("tnc,tcf->tnf", tiles.reshape(_SIDE**2, -1, channels), kernels)  # t: column, then row of the 6x6
    by_column = _transform(_OUTPUT, products.reshape(_SIDE, _SIDE, -1))
    output = jnp.einsum("pi,qin->pqn", _OUTPUT.astype(np.float32), by_column)

    output = output.reshape(TILE, TILE, batch, rows, columns, -1).transpose(2, 3, 0, 4, 1, 5)
    return output.reshape(batch, TILE * rows, TILE * columns, -1)[:, :height, :width]


def _transform(matrix: np.ndarray, x: Array) -> Array:
    """Multiplies the matrix with `x` along the first axis of `x`."""
    return jnp.dot(matrix.astype(np.float32), x.reshape(x.shape[0], -1)).reshape(-1, *x.shape[1:])
