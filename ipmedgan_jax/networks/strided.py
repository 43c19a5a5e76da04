"""4x4 convolution with stride 2 and padding 1, and its transpose, in the form that is fastest on the platform.

Shapes: images `[B, H, W, C]`, kernels `[4, 4, C_fine, C_coarse]`; the fine image has twice the side of the coarse one.

`downsample` (fine to coarse) and `upsample` (coarse to fine) are adjoint for equal kernels. They are written so: the gradient
of one by its input is the other, and both share the gradient by the kernel. On a GPU all three are `lax` convolutions. On a
CPU, where XLA has no fast dilated convolution, each has a form for large images and one for large kernels:

| function | many pixels for each channel of the kernel | few |
|---|---|---|
| downsample | convolution with stride 2 | one matrix product over patches |
| upsample | convolutions with stride 1, one for each phase of the fine image | one matrix product; its patches are added |
| gradient by the kernel | one matrix product over patches | the same |

All forms are the same function of the same kernel, so a checkpoint does not depend on the platform.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax

from ipmedgan_jax.networks.convolution import LAYOUT, cpu_type, dot


@jax.custom_vjp
def downsample(fine: Array, kernel: Array) -> Array:
    """4x4 convolution with stride 2 and zero padding of 1: `[B, H, W, C_fine] -> [B, H/2, W/2, C_coarse]`."""
    return lax.platform_dependent(fine, kernel, cpu=_downsample_cpu, default=_downsample_lax)


@jax.custom_vjp
def upsample(coarse: Array, kernel: Array) -> Array:
    """Transposed 4x4 convolution with stride 2 and padding 1: `[B, h, w, C_coarse] -> [B, 2h, 2w, C_fine]`.

    Coarse pixel i adds `kernel[k] @ coarse[i]` to fine pixel `2 i - 1 + k`, as PyTorch's ConvTranspose2d does.
    """
    return lax.platform_dependent(coarse, kernel, cpu=_upsample_cpu, default=_upsample_lax)


def _kernel_gradient(fine: Array, coarse: Array) -> Array:
    """Gradient by the kernel of `sum(downsample(fine, kernel) * coarse)`, which is `sum(fine * upsample(coarse, kernel))`."""
    return lax.platform_dependent(fine, coarse, cpu=_kernel_gradient_matmul, default=_kernel_gradient_lax)


def _downsample_forward(fine: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return downsample(fine, kernel), (fine, kernel)


def _downsample_backward(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    fine, kernel = residuals
    return upsample(gradient, kernel), _kernel_gradient(fine, gradient)


def _upsample_forward(coarse: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return upsample(coarse, kernel), (coarse, kernel)


def _upsample_backward(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    coarse, kernel = residuals
    return downsample(gradient, kernel), _kernel_gradient(gradient, coarse)


downsample.defvjp(_downsample_forward, _downsample_backward)
upsample.defvjp(_upsample_forward, _upsample_backward)

# ------------------------------------------------------------------ one form for all platforms


def _downsample_lax(fine: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(fine, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=LAYOUT)


def _upsample_lax(coarse: Array, kernel: Array) -> Array:
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    return lax.conv_general_dilated(coarse, flipped, (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2), dimension_numbers=LAYOUT)


def _kernel_gradient_lax(fine: Array, coarse: Array) -> Array:
    kernel = jax.ShapeDtypeStruct((4, 4, fine.shape[3], coarse.shape[3]), fine.dtype)
    return jax.linear_transpose(lambda k: _downsample_lax(fine, k), kernel)(coarse)[0]


# ------------------------------------------------------------------ forms for CPUs


def _downsample_cpu(fine: Array, kernel: Array) -> Array:
    """Chooses by the number of coarse pixels for each coarse channel; measured on two cores with AVX-512."""
    fine, kernel, result = cpu_type(fine, kernel)
    pixels = fine.shape[0] * fine.shape[1] * fine.shape[2] // 4
    least = 0.25 if fine.dtype == jnp.bfloat16 else 2
    form = _downsample_lax if pixels >= least * kernel.shape[3] else _downsample_matmul
    return form(fine, kernel).astype(result)


def _upsample_cpu(coarse: Array, kernel: Array) -> Array:
    """Chooses as `_downsample_cpu`; in float32 the matrix product is as fast as the phases or faster."""
    coarse, kernel, result = cpu_type(coarse, kernel)
    pixels = coarse.shape[0] * coarse.shape[1] * coarse.shape[2]
    in_phases = coarse.dtype == jnp.bfloat16 and pixels >= 8 * kernel.shape[3] and kernel.shape[2] >= 64
    form = _upsample_phases if in_phases else _upsample_matmul
    return form(coarse, kernel).astype(result)


def _downsample_matmul(fine: Array, kernel: Array) -> Array:
    batch, height, width, _ = fine.shape
    coarse = dot(_patches(fine), _as_matrix(kernel), contract=(1, 0))
    return coarse.reshape(batch, height // 2, width // 2, -1)


def _upsample_matmul(coarse: Array, kernel: Array) -> Array:
    """One matrix product gives the 4x4 patch of every coarse pixel; the patches are added where they overlap."""
    batch, height, width, channels = coarse.shape
    patches = dot(coarse.reshape(-1, channels), _as_matrix(kernel), contract=(1, 1))
    patches = patches.reshape(batch, height, width, 2, 2, 2, 2, -1)  # [B, h, w, cell row, row, cell column, column, C]

    def shifted(p: int, r: int) -> Array:
        cells = patches[:, :, :, p, :, r].transpose(0, 1, 3, 2, 4, 5)
        return jnp.pad(cells, ((0, 0), (p, 1 - p), (0, 0), (r, 1 - r), (0, 0), (0, 0)))

    cells = shifted(0, 0) + shifted(0, 1) + shifted(1, 0) + shifted(1, 1)
    return cells.reshape(batch, 2 * height + 2, 2 * width + 2, -1)[:, 1:-1, 1:-1]


def _upsample_phases(coarse: Array, kernel: Array) -> Array:
    """Even and odd fine rows and columns each see 2x2 coarse pixels: with the kernel's places 3 and 1, or 2 and 0."""
    batch, height, width, _ = coarse.shape
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)  # places 3 and 1 are now 0 and 2, places 2 and 0 are 1 and 3

    def phase(row: int, column: int) -> Array:
        padding = (1 - row, row), (1 - column, column)
        return lax.conv_general_dilated(coarse, flipped[row::2, column::2], (1, 1), padding, dimension_numbers=LAYOUT)

    phases = jnp.stack([phase(row, column) for row in (0, 1) for column in (0, 1)], axis=3)
    phases = phases.reshape(batch, height, width, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5)
    return phases.reshape(batch, 2 * height, 2 * width, -1)


def _kernel_gradient_matmul(fine: Array, coarse: Array) -> Array:
    fine, coarse, result = cpu_type(fine, coarse)
    gradient = dot(_patches(fine), coarse.reshape(-1, coarse.shape[3]), contract=(0, 0))
    return gradient.reshape(4, 4, fine.shape[3], coarse.shape[3]).astype(result)


def _patches(fine: Array) -> Array:
    """The 4x4 patches that a stride-2 convolution reads: `[B, H, W, C] -> [B * H/2 * W/2, 16 C]`, copied in pieces of 2 C."""
    batch, height, width, channels = fine.shape
    rows, columns = height // 2, width // 2
    cells = jnp.pad(fine, ((0, 0), (1, 1), (1, 1), (0, 0))).reshape(batch, rows + 1, 2, columns + 1, 2 * channels)
    pieces = [cells[:, p : p + rows, q, r : r + columns] for p in (0, 1) for q in (0, 1) for r in (0, 1)]
    return jnp.concatenate(pieces, axis=-1).reshape(batch * rows * columns, 16 * channels)


def _as_matrix(kernel: Array) -> Array:
    return kernel.reshape(-1, kernel.shape[3])
