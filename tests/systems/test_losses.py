"""Losses: values by hand, behaviour at extremes, and meaning."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.metrics

from ipmedgan_jax.networks.layers import DATA_AXIS, mean_over_devices
from ipmedgan_jax.systems import losses

LOG2 = float(np.log(2))


def logits(value):
    return jnp.full((2, 3, 3), value)


def test_an_undecided_discriminator_costs_log_2():
    assert float(losses.discriminator_loss(logits(0.0), logits(0.0))) == pytest.approx(LOG2)
    assert float(losses.adversarial_loss(logits(0.0))) == pytest.approx(LOG2)


def test_binary_cross_entropy_equals_eq_1_by_hand():
    value = float(losses.discriminator_loss(logits(1.0), logits(-2.0)))
    d_real, d_fake = 1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(2.0))
    assert value == pytest.approx(-0.5 * (np.log(d_real) + np.log(1 - d_fake)), rel=1e-6)


def test_a_fake_that_looks_real_costs_the_discriminator_more_and_the_generator_less():
    assert losses.discriminator_loss(logits(1.0), logits(2.0)) > losses.discriminator_loss(logits(1.0), logits(-2.0))
    assert losses.adversarial_loss(logits(2.0)) < losses.adversarial_loss(logits(-2.0))


@pytest.mark.parametrize("value", [-1e4, 1e4])
def test_extreme_logits_have_finite_losses_and_gradients(value):
    gradient = jax.grad(lambda x: losses.discriminator_loss(x, x) + losses.adversarial_loss(x))(logits(value))
    assert np.isfinite(losses.discriminator_loss(logits(value), logits(value)))
    assert np.isfinite(gradient).all()


def test_gram_matrix_by_hand():
    features = jnp.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
    np.testing.assert_allclose(losses.gram_matrix(features)[0], np.array([[10, 14], [14, 20]]) / 4)


def test_packed_gram_matrices_have_the_distance_of_the_whole_ones():
    fake, real = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 160))
    packed = losses.packed_gram_matrix(fake) - losses.packed_gram_matrix(real)
    whole = losses.gram_matrix(fake) - losses.gram_matrix(real)
    np.testing.assert_allclose(jnp.square(packed).sum(1), jnp.square(whole).sum((1, 2)), rtol=1e-5)
    assert packed.shape == (3, 64 * (160 + 96) + 32 * 32)
    with pytest.raises(ValueError, match="2 layer weights for 1 and 1"):
        losses.style_loss_to_packed([fake], [packed], weights=[1.0, 1.0])


def test_style_loss_by_hand():
    """d = 1: the Gram matrix is the mean square; 4 - 1 = 3, squared 9, over 4 d^2 = 4."""
    fake, real = jnp.full((1, 2, 2, 1), 2.0), jnp.ones((1, 2, 2, 1))
    assert float(losses.style_loss([fake], [real], weights=[0.5])) == pytest.approx(0.5 * 9 / 4)


def test_gram_matrix_divides_by_height_width_and_depth():
    features = jnp.ones((1, 3, 5, 2)) * jnp.array([1.0, 2.0]).reshape(1, 1, 1, 2)
    np.testing.assert_allclose(losses.gram_matrix(features)[0], [[0.5, 1], [1, 2]], rtol=1e-6)


@pytest.mark.parametrize(("dtype", "share"), [("float32", 1e-6), ("bfloat16", 2**-7)])
def test_the_gram_matrix_s_own_gradient_is_that_of_its_definition(dtype, share):
    features = jax.random.normal(jax.random.key(0), (2, 3, 5, 4)).astype(dtype)
    weight = jax.random.normal(jax.random.key(1), (2, 4, 4))

    def defined(features):
        flat = features.astype("float32").reshape(2, 15, 4)
        return jnp.einsum("bnc,bnd->bcd", flat, flat) / 60

    found, expected = (
        jax.grad(lambda x, gram=gram: (gram(x) * weight).sum())(features).astype("float32")
        for gram in (losses.gram_matrix, defined)
    )
    np.testing.assert_allclose(found, expected, atol=share * float(jnp.abs(expected).max()))


def test_style_loss_divides_by_4_d_squared_and_is_a_mean_over_images():
    """Image 1: the Gram matrices differ by 2^2 / d = 2, squared 4, over 4 d^2 = 16; image 2 has no error."""
    fake = jnp.zeros((2, 3, 5, 2)).at[0, ..., 0].set(2.0)
    assert float(losses.style_loss([fake], [jnp.zeros_like(fake)], weights=[1.0])) == pytest.approx(0.25 / 2)


def test_style_does_not_depend_on_position():
    a = jax.random.normal(jax.random.key(0), (1, 4, 4, 3))
    assert float(losses.style_loss([a], [jnp.flip(a, (1, 2))], weights=[1.0])) == pytest.approx(0, abs=1e-9)


def test_perceptual_loss_by_hand_for_both_reductions():
    fake, real = [jnp.ones((2, 2, 2, 1)), jnp.ones((2, 1, 1, 3))], [jnp.zeros((2, 2, 2, 1)), jnp.zeros((2, 1, 1, 3))]
    assert float(losses.perceptual_loss(fake, real, weights=[1.0, 10.0], reduction="sum")) == pytest.approx(4 + 30)
    assert float(losses.perceptual_loss(fake, real, weights=[1.0, 10.0], reduction="mean")) == pytest.approx(1 + 10)


def test_equal_images_cost_nothing():
    a = [jax.random.normal(jax.random.key(0), (1, 4, 4, 3))]
    assert float(losses.perceptual_loss(a, a, weights=[1.0])) == 0
    assert float(losses.style_loss(a, a, weights=[1.0])) == 0


def test_bfloat16_features_give_float32_losses():
    a = [jnp.ones((1, 4, 4, 3), jnp.bfloat16)]
    assert losses.style_loss(a, a, weights=[1.0]).dtype == jnp.float32
    assert losses.perceptual_loss(a, a, weights=[1.0]).dtype == jnp.float32


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="perceptual_reduction must be sum or mean, got 'median'"):
        losses.perceptual_loss([], [], weights=[], reduction="median")


def test_weights_and_layers_must_be_equally_many():
    with pytest.raises(ValueError, match="2 layer weights for 1 and 1 feature maps"):
        losses.style_loss([jnp.ones((1, 1, 1, 1))], [jnp.ones((1, 1, 1, 1))], weights=[1.0, 1.0])


def test_maps_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="feature maps differ in shape"):
        losses.style_loss([jnp.ones((1, 1, 1, 1))], [jnp.ones((1, 2, 1, 1))], weights=[1.0])


def test_images_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="shapes differ"):
        losses.l1_loss(jnp.ones((2,)), jnp.ones((2, 1)))


# ------------------------------------------------------------------ hinge loss


def test_the_hinge_loss_by_hand():
    """Real patches cost 1 - x below 1, fake ones 1 + x above -1; the mean over fakes is over the hole alone."""
    real = jnp.array([[[2.0, 0.5], [-1.0, 1.0]]])
    fake = jnp.array([[[-2.0, 0.5], [7.0, 3.0]]])
    mask = jnp.array([[[1.0, 1.0], [0.0, 0.0]]])
    assert float(losses.hinge_loss(real, fake, mask)) == pytest.approx(0.5 * ((0 + 0.5 + 2 + 0) / 4 + (0 + 1.5) / 2))


def test_only_logits_in_the_hole_count_as_fake():
    mask = jnp.zeros((1, 4, 4)).at[0, 1:3, 1:3].set(1.0)
    slope = jax.grad(lambda fake: losses.hinge_loss(jnp.zeros((1, 4, 4)), fake, mask))(jnp.zeros((1, 4, 4)))
    np.testing.assert_allclose(slope, 0.5 * mask / 4)
    real_slope = jax.grad(lambda real: losses.hinge_loss(real, jnp.zeros((1, 4, 4)), mask))(jnp.zeros((1, 4, 4)))
    np.testing.assert_allclose(real_slope, jnp.full((1, 4, 4), -0.5 / 16))


def test_a_decided_discriminator_costs_nothing():
    mask = jnp.ones((1, 2, 2))
    assert float(losses.hinge_loss(jnp.full((1, 2, 2), 1.0), jnp.full((1, 2, 2), -1.0), mask)) == 0


def test_structural_similarity_is_scikit_image_s_away_from_the_border():
    rng = np.random.default_rng(0)
    real = rng.uniform(-1, 1, (1, 24, 24, 1)).astype(np.float32)
    fake = np.clip(real + rng.normal(0, 0.3, real.shape), -1, 1).astype(np.float32)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 2, "full": True}
    _, expected = skimage.metrics.structural_similarity(fake[0, ..., 0], real[0, ..., 0], **options)
    found = np.asarray(losses.structural_similarity(fake, real))[0, ..., 0]
    np.testing.assert_allclose(found[6:-6, 6:-6], expected[6:-6, 6:-6], atol=1e-5)
    np.testing.assert_allclose(losses.structural_similarity(real, real), 1, rtol=1e-5)


def test_bfloat16_features_are_compared_in_float32():
    a = jax.random.uniform(jax.random.key(0), (1, 8, 8, 64), minval=0.5).astype(jnp.bfloat16)
    assert losses.vgg_distance([a], [a]).dtype == jnp.float32
    np.testing.assert_allclose(losses.vgg_distance([a], [2 * a]), 0, atol=1e-9)


# ------------------------------------------------------------------ over devices


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, mask: losses.mean_in_hole(jnp.square(x), mask),
        lambda x, mask: losses.dice_loss(jax.nn.sigmoid(x), mask),
        lambda x, mask: losses.hinge_loss(1.0 - x, x, mask),
    ],
    ids=["mean_in_hole", "dice_loss", "hinge_loss"],
)
def test_devices_whose_holes_differ_in_area_give_the_whole_batch_s_loss_and_gradient(loss):
    x = jax.random.normal(jax.random.key(1), (4, 6, 6, 1))
    mask = jnp.stack([jnp.zeros((6, 6, 1)).at[:side, :side].set(1.0) for side in (0, 1, 3, 6)])

    def of_part(scale, x, mask):
        value, gradient = jax.value_and_grad(lambda scale: loss(scale * x, mask))(scale)
        return mean_over_devices((value, gradient))

    expected = jax.value_and_grad(lambda scale: loss(scale * x, mask))(0.7)
    parts = jax.pmap(of_part, axis_name=DATA_AXIS, in_axes=(None, 0, 0), devices=jax.devices()[:4])(
        0.7, x[:, None], mask[:, None]
    )
    for found, value in zip(parts, expected, strict=True):
        np.testing.assert_allclose(found, np.full(4, value), rtol=1e-5)
