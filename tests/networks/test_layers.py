"""The fast forms equal the plain functions, in value and gradients; normalisation takes the statistics that it names."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ipmedgan_jax.networks import layers

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
    check_against(layers.downsample, plain_downsample, *operands(shape, features))


@pytest.mark.parametrize(("shape", "features"), [*CASES, ((2, 1, 1, 4), 3)])
def test_upsample_equals_lax_in_value_and_gradients(shape, features):
    check_against(layers.upsample, plain_upsample, *operands(shape, features, up=True))


def check_against(fast, plain, x, kernel):
    value, pullback = jax.vjp(jax.jit(fast), x, kernel)
    expected, plain_pullback = jax.vjp(plain, x, kernel)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)
    cotangent = jax.random.normal(jax.random.key(7), value.shape)
    for gradient, plain_gradient in zip(pullback(cotangent), plain_pullback(cotangent), strict=True):
        np.testing.assert_allclose(gradient, plain_gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("fast", "other", "up"),
    [
        (layers._downsample_matmul, layers._downsample_lax, False),
        (layers._upsample_matmul, layers._upsample_lax, True),
    ],
)
def test_cpu_and_gpu_forms_are_the_same_function(fast, other, up):
    x, kernel = operands((2, 8, 4, 3), 5, up=up)
    np.testing.assert_allclose(fast(x, kernel), other(x, kernel), rtol=1e-5, atol=1e-5)


def test_both_forms_of_the_kernel_gradient_agree():
    fine, coarse = operands((2, 8, 4, 3), 1)[0], operands((2, 4, 2, 5), 1, seed=1)[0]
    np.testing.assert_allclose(
        layers._kernel_gradient_matmul(fine, coarse), layers._kernel_gradient_lax(fine, coarse), rtol=1e-4, atol=1e-4
    )


def test_second_derivatives_equal_those_of_lax():
    x, kernel = operands((1, 4, 4, 2), 3)

    @partial(jax.jit, static_argnums=0)
    def curvature(conv, kernel):
        return jax.grad(lambda k: jnp.square(jax.grad(lambda y: jnp.sin(conv(y, k)).sum())(x)).sum())(kernel)

    up = kernel.swapaxes(2, 3)
    np.testing.assert_allclose(
        curvature(layers.downsample, kernel), curvature(plain_downsample, kernel), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(curvature(layers.upsample, up), curvature(plain_upsample, up), rtol=1e-4, atol=1e-4)


def test_bfloat16_products_are_summed_in_float32():
    """512 ones and a 1/512: sums in bfloat16 would lose the small values."""
    x = jnp.ones((1, 2, 2, 512), jnp.bfloat16)
    kernel = jnp.full((4, 4, 512, 1), 2**-9, jnp.bfloat16)
    assert layers.downsample(x, kernel).dtype == jnp.bfloat16
    assert float(layers.downsample(x, kernel)[0, 0, 0, 0]) == 4.0


def test_leaky_relu_has_slope_a_fifth():
    assert float(layers.leaky_relu(jnp.float32(-1))) == pytest.approx(-0.2)


def normalised(module, x, **options):
    variables = module.init(jax.random.key(0), x, train=True)
    return module.apply(variables, x, **options), variables


def test_example_statistics_do_not_depend_on_the_rest_of_the_batch():
    x = jax.random.normal(jax.random.key(1), (4, 6, 6, 3)) * 5 + 2
    module = layers.Normalise("example")
    output, variables = normalised(module, x, train=True)
    output_of_first = module.apply(variables, x[:1], train=False)
    np.testing.assert_allclose(output[:1], output_of_first, atol=1e-6)
    bias, scale = (variables["params"][name].reshape(1, 1, 1, -1) for name in ("bias", "scale"))
    standardised = (output - bias) / scale
    np.testing.assert_allclose(standardised.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(standardised.std((1, 2)), 1, atol=1e-4)


def test_example_statistics_equal_flax_batch_norm_at_batch_size_one():
    x = jax.random.normal(jax.random.key(1), (1, 6, 6, 3)) * 5 + 2
    ours, variables = normalised(layers.Normalise("example"), x, train=True)
    flax_norm = nn.BatchNorm(use_running_average=False, epsilon=1e-5)
    stats = {"mean": jnp.zeros(3), "var": jnp.ones(3)}
    theirs, _ = flax_norm.apply({"params": variables["params"], "batch_stats": stats}, x, mutable=["batch_stats"])
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_batch_statistics_are_those_of_all_devices_and_the_running_ones_are_used_at_test():
    module = layers.Normalise("batch", momentum=0.0)
    x = jax.random.normal(jax.random.key(1), (4, 2, 3, 3, 5)) * 3 + 1
    variables = module.init(jax.random.key(0), x[0], train=True)

    def step(share):
        return module.apply(variables, share, train=True, mutable=["batch_stats"])

    output, changed = jax.pmap(step, axis_name=layers.DATA_AXIS)(x)
    flat = np.asarray(x).reshape(-1, 5)
    np.testing.assert_allclose(changed["batch_stats"]["mean"][0].reshape(-1), flat.mean(0), atol=1e-5)
    np.testing.assert_allclose(changed["batch_stats"]["variance"][0].reshape(-1), flat.var(0), rtol=1e-4)
    running = jax.tree.map(lambda s: s[0], changed["batch_stats"])
    at_test = module.apply({"params": variables["params"], "batch_stats": running}, x[2], train=False)
    np.testing.assert_allclose(at_test, output[2], atol=1e-4)
