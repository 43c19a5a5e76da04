"""Normalisation takes the statistics that it names; initial weights have the moments of their modules' initialisers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipmedgan_jax.networks import layers

LAYOUT = ("NHWC", "HWIO", "NHWC")


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
