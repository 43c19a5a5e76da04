"""Parameter counts and output sizes of the published networks (MedGAN, pix2pix, context encoder, GLCIC)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipmedgan_jax.networks import layers
from ipmedgan_jax.networks.casnet import CasNet, UBlock, widths
from ipmedgan_jax.networks.context_encoder import ContextEncoder, HoleDiscriminator
from ipmedgan_jax.networks.glcic import CompletionNetwork, JointDiscriminator, dilated_conv3x3, strided_conv
from ipmedgan_jax.networks.layers import DATA_AXIS, Normalise, initialise
from ipmedgan_jax.networks.patch_discriminator import PatchDiscriminator


def shapes(net, *shape):
    """Shapes of the parameters and of the output."""
    x = tuple(map(jnp.zeros, shape)) if isinstance(shape[0], tuple) else jnp.zeros(shape)
    variables = jax.eval_shape(partial(net.init, train=False), jax.random.key(0), x)
    return variables["params"], jax.eval_shape(partial(net.apply, train=False), variables, x)


def fresh(net, x, seed=1):
    shapes = jax.eval_shape(partial(net.init, train=False), jax.random.key(0), x)
    return jax.jit(partial(initialise, shapes))(jax.random.key(seed))


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_a_u_block_has_54_407_808_parameters():
    params, output = shapes(UBlock(), 1, 256, 256, 1)
    assert count(params) == 54_407_808
    assert output.shape == (1, 256, 256, 1)


def test_casnet_has_326_446_848_parameters():
    params, output = shapes(CasNet(), 2, 256, 256, 1)
    assert count(params) == 326_446_848
    assert output.shape == (2, 256, 256, 1)


def test_encoder_widths_are_pix2pix_s():
    assert widths(256, 64) == [64, 128, 256, 512, 512, 512, 512, 512]


@pytest.mark.parametrize(
    ("layers", "channels", "size", "parameters", "maps", "logits"),
    [
        (3, 2, 256, 2_764_544, (128, 64, 32, 31), 30),
        (2, 1, 64, 661_248, (32, 16, 15), 14),
        (1, 2, 256, 135_424, (128, 127), 126),
    ],
)
def test_patch_discriminators_have_the_published_sizes(layers, channels, size, parameters, maps, logits):
    params, (out, features) = shapes(PatchDiscriminator(layers), 1, size, size, channels)
    assert count(params) == parameters
    assert tuple(feature.shape[1] for feature in features) == maps
    assert out.shape == (1, logits, logits)


def test_the_context_encoder_has_its_sizes():
    params, hole = shapes(ContextEncoder(normalise=Normalise("batch")), 1, 128, 128, 1)
    assert count(params) == 71_124_448
    assert hole.shape == (1, 64, 64, 1)
    assert params["code"]["kernel"].shape == (4 * 4 * 512, 4000)
    params, (logits, features) = shapes(HoleDiscriminator(), 2, 64, 64, 1)
    assert count(params) == 2_763_521
    assert [feature.shape[1:] for feature in features] == [(32, 32, 64), (16, 16, 128), (8, 8, 256), (4, 4, 512)]
    assert logits.shape == (2, 1, 1)


@pytest.mark.parametrize("side", [8, 16, 32, 128])
def test_the_context_encoder_takes_other_holes(side):
    _, hole = shapes(ContextEncoder(width=8), 1, 2 * side, 2 * side, 1)
    assert hole.shape == (1, side, side, 1)


def test_glcic_has_its_sizes():
    params, output = shapes(CompletionNetwork(), 1, 256, 256, 2)
    assert count(params) == 6_065_377
    assert output.shape == (1, 256, 256, 1)
    params, (logits, features) = shapes(JointDiscriminator(), (2, 256, 256, 1), (2, 128, 128, 1))
    assert count(params) == 45_053_825
    assert [feature.shape for feature in features] == [(2, 1024), (2, 1024)]
    assert logits.shape == (2, 1, 1)


@pytest.mark.parametrize("side", [3, 5])
def test_the_strided_convolution_in_cells_equals_that_of_lax(side):
    image, kernel = noise((2, 12, 8, 3), (side, side, 3, 4))
    options = {"padding": ((side // 2, side // 2),) * 2, "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    assert_same_function(strided_conv, lambda x, k: jax.lax.conv_general_dilated(x, k, (2, 2), **options), image, kernel)


@pytest.mark.parametrize("dilation", [2, 8])
def test_the_dilated_convolution_of_subsampled_images_equals_that_of_lax(dilation):
    image, kernel = noise((2, 12, 16, 3), (3, 3, 3, 4))
    options = {"rhs_dilation": (dilation, dilation), "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    assert_same_function(
        partial(dilated_conv3x3, dilation=dilation),
        lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), ((dilation, dilation),) * 2, **options),
        image,
        kernel,
    )


def noise(*shapes):
    return [jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)]


def assert_same_function(ours, plain, image, kernel):
    """Compares a sum that weighs every output differently, and both gradients of this sum."""
    weights = jax.random.normal(jax.random.key(9), plain(image, kernel).shape)
    for function in (ours, plain):
        assert function(image, kernel).shape == weights.shape
    both = [
        jax.jit(jax.value_and_grad(lambda x, k, f=f: (f(x, k) * weights).sum(), argnums=(0, 1)))(image, kernel)
        for f in (ours, plain)
    ]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), *both)


@pytest.mark.parametrize(("layers", "patch"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_sees_its_patch_and_nothing_else(layers, patch):
    """Without normalisation, the gradient of one logit by the image is zero outside a square of the patch's side."""
    net = PatchDiscriminator(layers, width=2, normalise=Normalise("batch"))
    x = jax.random.normal(jax.random.key(0), (1, 128, 128, 1))
    variables = fresh(net, x)

    def one_logit(x):
        logits, _ = net.apply(variables, x, train=False)
        middle = logits.shape[1] // 2
        return logits[0, middle, middle]

    field = np.asarray(jax.jit(jax.grad(one_logit))(x))[0, ..., 0] != 0
    rows, columns = np.flatnonzero(field.any(1)), np.flatnonzero(field.any(0))
    assert rows[-1] - rows[0] + 1 == patch
    assert columns[-1] - columns[0] + 1 == patch


def test_the_blocks_chain_images_and_every_block_matters():
    net = CasNet(blocks=2, width=2)
    x = jax.random.normal(jax.random.key(0), (1, 16, 16, 1))
    variables = fresh(net, x)
    block = jax.jit(lambda params, x: UBlock(width=2).apply({"params": params}, x, train=False))
    second = block(variables["params"]["block_1"], block(variables["params"]["block_0"], x))
    np.testing.assert_allclose(jax.jit(partial(net.apply, train=False))(variables, x), second, atol=1e-6)
    assert float(jnp.abs(second).max()) < 1


@pytest.mark.parametrize("draw", ["by module", "at once"])
def test_initial_weights_follow_pix2pix(draw):
    net, x, key = UBlock(width=16), jnp.zeros((1, 64, 64, 1)), jax.random.key(0)
    shapes = jax.eval_shape(partial(net.init, train=False), key, x)
    variables = fresh(net, x) if draw == "by module" else jax.jit(partial(initialise, shapes))(key)
    kernel, scale = variables["params"]["down_3"]["kernel"], variables["params"]["down_norm_3"]["scale"]
    assert float(kernel.std()) == pytest.approx(0.02, rel=0.05)
    assert float(kernel.mean()) == pytest.approx(0, abs=1e-3)
    assert float(scale.mean()) == pytest.approx(1, abs=0.01)
    assert float(scale.std()) == pytest.approx(0.02, rel=0.3)
    assert float(jnp.abs(variables["params"]["down_norm_3"]["bias"]).max()) == 0


def test_the_draws_of_all_weights_are_normal_and_independent():
    count = 3 * 2**20 + 1
    draws = np.asarray(jax.jit(partial(layers._normal, count=count))(jax.random.key(0)))
    assert draws.shape == (count,)
    assert draws.mean() == pytest.approx(0, abs=3e-3)
    for power, moment in ((2, 1), (3, 0), (4, 3)):
        assert (draws**power).mean() == pytest.approx(moment, abs=0.02)
    assert 4.2 < np.abs(draws).max() < 4.4
    for lag in (1, 2**19, 2**20):  # neighbours, halves of one 32-bit word, blocks of draws
        assert np.corrcoef(draws[:-lag], draws[lag:])[0, 1] == pytest.approx(0, abs=3e-3)


def test_a_variable_of_unknown_name_is_not_initialised():
    with pytest.raises(KeyError, match="weight"):
        initialise({"params": {"weight": jax.ShapeDtypeStruct((2,), "float32")}}, jax.random.key(0))


def test_dropout_changes_training_outputs_only():
    net = CasNet(blocks=1, width=2, dropout=0.5)
    x = jax.random.normal(jax.random.key(0), (1, 32, 32, 1))
    variables = fresh(net, x)

    @partial(jax.jit, static_argnums=1)
    def run(seed, train):
        return net.apply(variables, x, train=train, rngs={"dropout": jax.random.key(seed)})

    assert not np.allclose(run(0, True), run(1, True))
    np.testing.assert_array_equal(run(0, False), run(1, False))


def test_bfloat16_networks_keep_float32_parameters_and_outputs():
    net = CasNet(blocks=1, width=2, normalise=Normalise(dtype=jnp.bfloat16), dtype=jnp.bfloat16)
    params, output = shapes(net, 1, 16, 16, 1)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert output.dtype == jnp.float32


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"stacked": True}, {"remat": True}])
def test_stacked_and_recomputed_blocks_are_the_same_function(changes):
    plain = CasNet(2, 2, normalise=Normalise("batch", parent=None))
    x = jax.random.uniform(jax.random.key(1), (2, 16, 16, 1), minval=-1)
    variables = fresh(plain, x)

    def arranged(tree):
        """Arranges a tree of `block_0` and `block_1` as the other network does."""
        pairs = jax.tree.map(lambda *leaves: jnp.stack(leaves), tree["block_0"], tree["block_1"])
        return {"blocks": pairs} if "stacked" in changes else tree

    @partial(jax.jit, static_argnums=0)
    @partial(jax.vmap, in_axes=(None, 0, 0), out_axes=0, axis_name=DATA_AXIS)
    def run(net, variables, x):
        def loss(params):
            output, changed = net.apply(variables | {"params": params}, x, train=True, mutable=["batch_stats"])
            return jnp.square(output).sum(), (output, changed["batch_stats"])

        gradient, (output, statistics) = jax.grad(loss, has_aux=True)(variables["params"])
        return output, gradient, statistics

    def on_one_device(tree):
        return jax.tree.map(lambda x: x[None], tree)

    output, *trees = run(plain, on_one_device(variables), x[None])
    expected = output, *(on_one_device(arranged(jax.tree.map(lambda x: x[0], tree))) for tree in trees)
    other = {name: arranged(tree) for name, tree in variables.items()}
    actual = run(plain.copy(**changes), on_one_device(other), x[None])
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5)
