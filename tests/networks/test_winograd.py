"""Winograd's form equals the convolution, in value and in both gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ipmedgan_jax.networks import winograd


def plain(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def arrays(batch, height, width, channels, features):
    rng = np.random.default_rng(0)
    shapes = (batch, height, width, channels), (3, 3, channels, features), (batch, height, width, features)
    return [jnp.asarray(rng.normal(0, 1, shape), jnp.float32) for shape in shapes]


def assert_close(actual, expected, share=5e-5):
    np.testing.assert_allclose(actual, expected, atol=share * float(jnp.abs(expected).max()))


def uses_tiles(x, kernel):
    return "dot_general" in str(jax.make_jaxpr(winograd.conv3x3)(x, kernel))


@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 13, 18), (3, 7, 1)])
def test_tiles_of_any_image_give_the_convolution(shape):
    x, kernel, _ = arrays(*shape, 5, 7)
    assert_close(winograd._conv3x3_winograd(x, kernel), plain(x, kernel))


@pytest.mark.parametrize(
    ("shape", "tiles"), [((2, 18, 15, 128, 160), True), ((2, 18, 15, 64, 128), False), ((1, 8, 8, 128, 128), False)]
)
def test_value_and_gradients_equal_those_of_the_convolution(shape, tiles):
    x, kernel, weight = arrays(*shape)
    assert uses_tiles(x, kernel) == tiles
    value, pullback = jax.vjp(winograd.conv3x3, x, kernel)
    expected, plain_pullback = jax.vjp(plain, x, kernel)
    assert_close(value, expected)
    for gradient, plain_gradient in zip(pullback(weight), plain_pullback(weight), strict=True):
        assert_close(gradient, plain_gradient)


def test_bfloat16_uses_tiles_of_float32_unless_the_processor_multiplies_bfloat16(onednn):
    x, kernel, _ = (array.astype(jnp.bfloat16) for array in arrays(2, 18, 15, 128, 128))
    assert uses_tiles(x, kernel) != onednn
    found, expected = winograd.conv3x3(x, kernel), plain(x.astype(jnp.float32), kernel.astype(jnp.float32))
    assert found.dtype == jnp.bfloat16
    assert_close(found.astype(jnp.float32), expected, share=2**-8)
