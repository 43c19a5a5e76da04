"""The generator of ip-MedGAN plus: its blocks by hand, its start, its shapes, and that all of it learns."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipmedgan_jax.networks import residual_unet
from ipmedgan_jax.networks.layers import initialise
from ipmedgan_jax.networks.residual_unet import GroupNormalise, ResidualUNet


def noise(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(0, 1, shape), jnp.float32)


def untrained(net, x):
    """Initial variables, as training draws them."""
    return initialise(jax.eval_shape(partial(net.init, train=False), jax.random.key(0), x), jax.random.key(1))


def test_untrained_it_returns_its_first_channel_within_the_image_s_range():
    net, x = ResidualUNet(8), noise(1, 16, 16, 3)
    found = jax.jit(partial(net.apply, train=False))(untrained(net, x), x)
    np.testing.assert_array_equal(found, np.clip(x[..., :1], -1, 1))
    assert np.abs(x[..., :1]).max() > 1


@pytest.mark.parametrize("shape", [(16, 16), (32, 32), (64, 64), (128, 128), (256, 256), (48, 16), (32, 80), (240, 112)])
def test_it_takes_images_whose_sides_are_multiples_of_16(shape):
    net, x = ResidualUNet(16), jax.ShapeDtypeStruct((2, *shape, 3), jnp.float32)
    found, variables = jax.eval_shape(partial(net.init_with_output, train=False), jax.random.key(0), x)
    assert (found.shape, found.dtype) == ((2, *shape, 1), jnp.float32)
    middle = variables["params"]["middle_0"]["conv_0"]["he_kernel"]
    assert middle.shape == (3, 3, 64, 64)


def test_bfloat16_computes_in_bfloat16_and_returns_float32():
    net, x = ResidualUNet(8, dtype=jnp.bfloat16), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    found, variables = jax.eval_shape(partial(net.init_with_output, train=False), jax.random.key(0), x)
    assert found.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_after_two_steps_the_gradient_reaches_every_parameter():
    """At the start it reaches the last layer, which is zero, then the last layers of the blocks, which are zero too."""
    net, x = ResidualUNet(16), noise(1, 16, 16, 2) / 4
    variables = untrained(net, x)
    target = noise(1, 16, 16, 1, seed=1) / 4
    gradient = jax.jit(jax.grad(lambda v: jnp.square(net.apply(v, x, train=False) - target).mean()))
    reached = []
    for _ in range(3):
        slopes = gradient(variables)
        reached.append({jax.tree_util.keystr(p) for p, leaf in jax.tree.leaves_with_path(slopes) if jnp.abs(leaf).max() > 0})
        variables = jax.tree.map(lambda value, slope: value - 0.1 * slope, variables, slopes)
    names = {jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(variables)}
    assert reached[0] == {name for name in names if "output" in name}
    assert reached[0] < reached[1] < reached[2] == names


def test_kernels_start_with_the_variance_of_their_inputs_number():
    """He et al.'s, 2 / inputs, after an activation; LeCun et al.'s, 1 / inputs, elsewhere; a block's second one is 0."""
    params = untrained(ResidualUNet(32), jax.ShapeDtypeStruct((1, 16, 16, 2), jnp.float32))["params"]
    first, second = params["middle_0"]["conv_0"]["he_kernel"], params["middle_0"]["conv_1"]["zero_kernel"]
    assert float(first.std()) == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.02)
    assert not second.any()
    assert float(params["up_0"]["lecun_kernel"].std()) == pytest.approx(np.sqrt(1 / 96), rel=0.05)


@pytest.mark.parametrize(("channels", "groups"), [(16, 8), (8, 8), (12, 4), (5, 1)])
def test_group_normalisation_by_hand(channels, groups):
    net, x = GroupNormalise(jnp.float32), 3 + 2 * noise(2, 4, 6, channels)
    scale, bias = noise(channels, seed=1), noise(channels, seed=2)
    found = net.apply({"params": {"unit_scale": scale, "bias": bias}}, x)
    grouped = np.asarray(x, np.float64).reshape(2, 24, groups, channels // groups)
    mean, deviation = (function(grouped, axis=(1, 3), keepdims=True) for function in (np.mean, np.std))
    expected = ((grouped - mean) / np.sqrt(deviation**2 + 1e-5)).reshape(x.shape) * np.asarray(scale) + np.asarray(bias)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_group_normalisation_of_a_constant_is_finite():
    net, x = GroupNormalise(jnp.float32), jnp.full((1, 4, 4, 8), 100.0)
    value, slope = jax.value_and_grad(
        lambda x: net.apply({"params": {"unit_scale": jnp.ones(8), "bias": jnp.zeros(8)}}, x).sum()
    )(x)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


def test_pixels_that_move_to_channels_lie_beside_each_other():
    x = noise(2, 6, 8, 3)
    channels = residual_unet.pixels_to_channels(x)
    assert channels.shape == (2, 3, 4, 12)
    np.testing.assert_array_equal(channels[:, 1, 2].reshape(2, 2, 2, 3), x[:, 2:4, 4:6])


def test_halving_takes_means_and_doubling_interpolates():
    x = noise(2, 6, 8, 3)
    np.testing.assert_allclose(residual_unet.halve(x)[:, 1, 2], x[:, 2:4, 4:6].mean((1, 2)), rtol=1e-6, atol=1e-6)
    ramp = np.broadcast_to(np.arange(6.0, dtype=np.float32)[None, :, None, None], (1, 6, 4, 1))
    doubled = residual_unet.double(ramp)
    assert doubled.shape == (1, 12, 8, 1)
    np.testing.assert_allclose(doubled[0, 1:-1, 3, 0], np.arange(0.25, 5, 0.5), rtol=1e-6)
    np.testing.assert_array_equal(doubled[0, [0, -1], 3, 0], [0, 5])
