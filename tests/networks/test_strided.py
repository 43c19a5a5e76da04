"""The forms of the strided layers are one function, in value and in gradients, in float32 and in bfloat16."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ipmedgan_jax.networks import strided

LAYOUT = ("NHWC", "HWIO", "NHWC")


def plain_downsample(x, kernel):
    return lax.conv_general_dilated(x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=LAYOUT)


def plain_upsample(x, kernel):
    """PyTorch's ConvTranspose2d(4, stride=2, padding=1), written with lax."""
    return lax.conv_transpose(x, kernel, (2, 2), ((2, 2), (2, 2)), dimension_numbers=LAYOUT, transpose_kernel=True)


def operands(shape, features, seed=0, *, up=False):
    keys = jax.random.split(jax.random.key(seed), 2)
    channels = (features, shape[-1]) if up else (shape[-1], features)
    return jax.random.normal(keys[0], shape), jax.random.normal(keys[1], (4, 4, *channels))


CASES = [((2, 8, 12, 3), 5), ((1, 2, 2, 4), 2), ((3, 16, 16, 1), 1)]


@pytest.mark.parametrize(("shape", "features"), CASES)
def test_downsample_equals_lax_in_value_and_gradients(shape, features):
    check_against(strided.downsample, plain_downsample, *operands(shape, features))


@pytest.mark.parametrize(("shape", "features"), [*CASES, ((2, 1, 1, 4), 3)])
def test_upsample_equals_lax_in_value_and_gradients(shape, features):
    check_against(strided.upsample, plain_upsample, *operands(shape, features, up=True))


def check_against(fast, plain, x, kernel):
    value, pullback = jax.vjp(jax.jit(fast), x, kernel)
    expected, plain_pullback = jax.vjp(plain, x, kernel)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)
    cotangent = jax.random.normal(jax.random.key(7), value.shape)
    for gradient, plain_gradient in zip(pullback(cotangent), plain_pullback(cotangent), strict=True):
        np.testing.assert_allclose(gradient, plain_gradient, rtol=1e-4, atol=1e-4)


FORMS = {
    "downsample": (strided._downsample_lax, strided._downsample_matmul, strided._downsample_cpu),
    "upsample": (strided._upsample_lax, strided._upsample_matmul, strided._upsample_phases, strided._upsample_cpu),
}


@pytest.mark.parametrize("shape", [(2, 8, 4, 3), (1, 2, 2, 6), (3, 4, 10, 1)])
@pytest.mark.parametrize("function", FORMS)
def test_all_forms_are_the_same_function(function, shape):
    x, kernel = operands(shape, 5, up=function == "upsample")
    first, *others = (form(x, kernel) for form in FORMS[function])
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-5, atol=1e-5)


def primitives(function, *operands):
    return {str(equation.primitive) for equation in jax.make_jaxpr(function)(*operands).eqns}


@pytest.mark.parametrize(("side", "expected"), [(16, "conv_general_dilated"), (2, "dot_general")])
def test_a_cpu_multiplies_matrices_where_the_kernel_outweighs_the_image(side, expected):
    x, kernel = operands((1, side, side, 3), 16)
    assert expected in primitives(strided._downsample_cpu, x, kernel)


def test_both_forms_of_the_kernel_gradient_agree():
    fine, coarse = operands((2, 8, 4, 3), 1)[0], operands((2, 4, 2, 5), 1, seed=1)[0]
    np.testing.assert_allclose(
        strided._kernel_gradient_matmul(fine, coarse), strided._kernel_gradient_lax(fine, coarse), rtol=1e-4, atol=1e-4
    )


def test_second_derivatives_equal_those_of_lax():
    x, kernel = operands((1, 4, 4, 2), 3)

    @partial(jax.jit, static_argnums=0)
    def curvature(conv, kernel):
        return jax.grad(lambda k: jnp.square(jax.grad(lambda y: jnp.sin(conv(y, k)).sum())(x)).sum())(kernel)

    up = kernel.swapaxes(2, 3)
    np.testing.assert_allclose(
        curvature(strided.downsample, kernel), curvature(plain_downsample, kernel), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(curvature(strided.upsample, up), curvature(plain_upsample, up), rtol=1e-4, atol=1e-4)


def as_bfloat16(*arrays):
    return [array.astype(jnp.bfloat16) for array in arrays]


@pytest.mark.usefixtures("onednn")
def test_bfloat16_is_within_its_rounding_of_float32():
    """In value and in both gradients, as every form of a CPU computes them."""
    for function, plain, up in ((strided.downsample, plain_downsample, False), (strided.upsample, plain_upsample, True)):
        for shape, features in (((1, 8, 8, 64), 64), ((1, 32, 32, 64), 8)):
            rounded = as_bfloat16(*operands(shape, features, up=up))
            value, pullback = jax.vjp(function, *rounded)
            exact, exact_pullback = jax.vjp(plain, *(array.astype(jnp.float32) for array in rounded))
            found = [value, *pullback(value)]
            for array, expected in zip(found, [exact, *exact_pullback(value.astype(jnp.float32))], strict=True):
                assert array.dtype == jnp.bfloat16
                error = jnp.abs(array.astype(jnp.float32) - expected).max() / jnp.abs(expected).max()
                assert error < 2**-7


@pytest.mark.usefixtures("onednn")
def test_bfloat16_sums_are_in_float32():
    """512 ones and a 1/512: sums in bfloat16 would lose the small values."""
    x = jnp.ones((1, 2, 2, 512), jnp.bfloat16)
    kernel = jnp.full((4, 4, 512, 1), 2**-9, jnp.bfloat16)
    assert float(strided.downsample(x, kernel)[0, 0, 0, 0]) == 4.0
