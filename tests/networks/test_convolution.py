"""The convolution with its own gradients equals that of lax: its value and both gradients, in every form."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ipmedgan_jax.networks import convolution


def plain(x, kernel, padding):
    return lax.conv_general_dilated(x, kernel, (1, 1), (padding, padding), dimension_numbers=convolution.LAYOUT)


def noise(*shape):
    return jnp.asarray(np.random.default_rng(sum(shape)).normal(0, 1, shape), jnp.float32)


@pytest.mark.parametrize(("side", "padding"), [(3, (1, 1)), (4, (1, 1)), (2, (1, 0)), (5, (2, 2)), (3, (0, 0))])
@pytest.mark.parametrize("channels", [3, 32])
def test_value_and_gradients_equal_those_of_lax(side, padding, channels):
    x, kernel = noise(2, 9, 12, channels), noise(side, side, channels, 32)
    value, pullback = jax.vjp(jax.jit(partial(convolution.conv, padding=padding)), x, kernel)
    expected, plain_pullback = jax.vjp(jax.jit(partial(plain, padding=padding)), x, kernel)
    assert_close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-3)
    assert_close(value, expected)
    for gradient, plain_gradient in zip(pullback(expected), plain_pullback(expected), strict=True):
        assert_close(gradient, plain_gradient)


def test_only_wide_layers_use_matrix_products():
    def program(channels):
        gradient = partial(convolution.kernel_gradient, side=3, padding=(1, 1))
        return str(jax.make_jaxpr(gradient)(noise(1, 8, 8, channels), noise(1, 8, 8, 32)))

    assert "dot_general" in program(32)
    assert "dot_general" not in program(16)


def test_second_derivatives_equal_those_of_lax():
    """A discriminator's gradient penalty takes them."""
    x, kernel = noise(1, 8, 8, 32), noise(3, 3, 32, 32)

    def penalty(conv, kernel):
        return jnp.square(jax.grad(lambda x: jnp.square(conv(x, kernel)).sum())(x)).mean()

    gradient, expected = (
        jax.jit(jax.grad(partial(penalty, partial(conv, padding=(1, 1)))))(kernel) for conv in (convolution.conv, plain)
    )
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-3 * float(jnp.abs(expected).max()))


@pytest.mark.usefixtures("onednn")
def test_bfloat16_is_within_its_rounding_of_float32():
    x, kernel = (array.astype(jnp.bfloat16) for array in (noise(2, 9, 12, 32), noise(3, 3, 32, 32)))
    value, pullback = jax.vjp(partial(convolution.conv, padding=(1, 1)), x, kernel)
    exact, exact_pullback = jax.vjp(partial(plain, padding=(1, 1)), x.astype(jnp.float32), kernel.astype(jnp.float32))
    expected_arrays = [exact, *exact_pullback(value.astype(jnp.float32))]
    for array, expected in zip([value, *pullback(value)], expected_arrays, strict=True):
        assert array.dtype == jnp.bfloat16
        assert jnp.abs(array.astype(jnp.float32) - expected).max() < 2**-7 * jnp.abs(expected).max()


def test_large_images_have_onednn_s_bfloat16_convolution_as_kernel_gradient(onednn):
    def program(side, dtype):
        x, gradient = (noise(1, side, side, 32).astype(dtype) for _ in range(2))
        return str(jax.make_jaxpr(partial(convolution.kernel_gradient, side=3, padding=(1, 1)))(x, gradient))

    assert ("dot_general" in program(32, jnp.bfloat16)) == (not onednn)
    assert "dot_general" in program(31, jnp.bfloat16)  # fewer than MIN_PIXELS pixels
    assert "dot_general" in program(32, jnp.float32)


@pytest.mark.usefixtures("onednn")
def test_the_kernel_gradient_of_large_bfloat16_images_is_within_its_rounding_of_float32():
    x, gradient = noise(1, 32, 32, 32).astype(jnp.bfloat16), noise(1, 32, 33, 32)[:, :, 1:].astype(jnp.bfloat16)
    found = convolution.kernel_gradient(x, gradient, 3, (1, 1))
    kernel = jnp.zeros((3, 3, 32, 32))
    _, pullback = jax.vjp(lambda kernel: plain(x.astype(jnp.float32), kernel, (1, 1)), kernel)
    (expected,) = pullback(gradient.astype(jnp.float32))
    assert found.shape == expected.shape
    assert jnp.abs(found.astype(jnp.float32) - expected).max() < 2**-7 * jnp.abs(expected).max()
