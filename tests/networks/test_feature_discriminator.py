"""Heads on a fixed network's features: their spectral norm, their random mixing, and what they return."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipmedgan_jax.networks.feature_discriminator import FeatureDiscriminator, spectrally_normalised


def kernels(count, width, *, deviation=1.0):
    rng = np.random.default_rng(width)
    return [jnp.asarray(rng.normal(0, deviation, (3, 3, width, width)), jnp.float32) for _ in range(count)]


def largest_singular_value(kernel):
    return np.linalg.svd(np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1]), compute_uv=False)[0]


@pytest.mark.parametrize("width", [2, 32, 64])
def test_a_normalised_kernel_s_largest_singular_value_is_nearly_1(width):
    """Eight steps of the power iteration find 0.91 to 1 of a random kernel's, 0.97 on average, and never too much."""
    found = [largest_singular_value(spectrally_normalised(kernel)) for kernel in kernels(10, width)]
    assert min(found) > 1 - 1e-5
    assert max(found) < 1.12


def test_the_norm_is_exact_where_one_direction_leads():
    (kernel,) = kernels(1, 32)
    kernel = kernel + 0.2 * jnp.ones_like(kernel)
    assert largest_singular_value(spectrally_normalised(kernel)) == pytest.approx(1, rel=1e-5)


def test_the_norm_does_not_depend_on_the_kernel_s_scale_and_zero_is_finite():
    (kernel,) = kernels(1, 32)
    np.testing.assert_allclose(spectrally_normalised(1e-3 * kernel), spectrally_normalised(kernel), rtol=1e-4, atol=1e-6)
    gradient = jax.grad(lambda kernel: spectrally_normalised(kernel).sum())(jnp.zeros((3, 3, 4, 4)))
    assert np.isfinite(gradient).all()


def test_the_gradient_is_orthogonal_to_the_kernel():
    """Scaling a kernel changes nothing, so no gradient of a normalised kernel points along it."""
    (kernel,) = kernels(1, 16)
    gradient = jax.grad(lambda kernel: jnp.sin(spectrally_normalised(kernel)).sum())(kernel)
    along = float((gradient * kernel).sum() / jnp.linalg.norm(gradient) / jnp.linalg.norm(kernel))
    assert abs(along) < 1e-5


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(0, 1, (2, side, side, count)), jnp.float32) for side, count in ((12, 4), (6, 8)))


def test_each_layer_gets_a_logit_a_pixel_and_the_maps_come_back(features):
    net = FeatureDiscriminator(8)
    (logits, maps), variables = net.init_with_output(jax.random.key(0), features, train=False)
    assert [layer.shape for layer in logits] == [(2, 12, 12), (2, 6, 6)]
    jax.tree.map(np.testing.assert_array_equal, maps, features)
    assert set(variables["params"]) == {"head_0", "head_1"}


def test_the_random_mixing_is_never_learned_and_all_else_is(features):
    net = FeatureDiscriminator(8)
    variables = net.init(jax.random.key(0), features, train=False)
    gradient = jax.grad(lambda variables: net.apply(variables, features, train=True)[0][0].sum())(variables)["params"]
    head = gradient["head_0"]
    assert (head.pop("he_kernel") == 0).all()
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(head))


def test_a_layer_s_scale_does_not_matter(features):
    net = FeatureDiscriminator(8)
    variables = net.init(jax.random.key(0), features, train=False)
    once, scaled = (net.apply(variables, maps, train=False)[0] for maps in (features, tuple(100 * x for x in features)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), once, scaled)
