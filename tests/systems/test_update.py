"""One update on tiny networks: what it changes and what it leaves unchanged."""

import functools
from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ipmedgan_jax.networks.casnet import CasNet
from ipmedgan_jax.networks.layers import DATA_AXIS, Normalise
from ipmedgan_jax.networks.patch_discriminator import PatchDiscriminator
from ipmedgan_jax.networks.vgg19 import VGG19
from ipmedgan_jax.pretrained import vgg19_weights
from ipmedgan_jax.systems import losses
from ipmedgan_jax.systems.building_blocks import LossSettings
from ipmedgan_jax.systems.interface import Batch, Term
from ipmedgan_jax.systems.ipmedgan import IpMedGAN
from ipmedgan_jax.systems.state import Average, NetState, TrainState, Update, init_state
from ipmedgan_jax.systems.unet import UNet
from ipmedgan_jax.systems.update import (
    apply,
    discriminator_gradients,
    output_gradient,
    run_generator,
    step_discriminators,
    step_generator,
    train_step,
    train_steps,
)
from ipmedgan_jax.training import devices

SIZE, HOLE = 16, 8

WEIGHTS = LossSettings(adversarial=0.8, local=0.2, perceptual=1e-4, perceptual_layers=(1.0,) * 3)
"""The paper's weights, without the style term, because VGG-19 would be most of the compiled program."""


def ipmedgan(statistics="example", **weights):
    normalise = Normalise(statistics)
    return IpMedGAN(
        generator=CasNet(blocks=1, width=2, normalise=normalise),
        discriminators={
            "global": PatchDiscriminator(1, width=2, normalise=normalise),
            "local": PatchDiscriminator(1, width=2, normalise=normalise),
        },
        vgg19=VGG19("caffe"),
        hole_size=HOLE,
        loss=replace(WEIGHTS, **weights),
    )


def make_update(system, optimiser=None, **options):
    optimiser = optimiser or optax.sgd(0.01)
    return Update(system, optimiser, optimiser, **options)


def make_batch(size=4, seed=0):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, SIZE - HOLE + 1, (size, 2))
    holes = np.concatenate([corners, np.full((size, 2), HOLE)], 1).astype(np.int32)
    return Batch(rng.uniform(-1, 1, (size, SIZE, SIZE, 1)).astype(np.float32), holes)


def init(update):
    return jax.jit(functools.partial(init_state, update, image_size=SIZE))(jax.random.key(0))


def mapped_step(update, devices=1):
    return jax.pmap(
        functools.partial(train_step, update),
        axis_name=DATA_AXIS,
        in_axes=(None, None, 0),
        out_axes=None,
        devices=jax.devices()[:devices],
    )


def run(update, batch, devices=1, state=None, count=1, frozen=None, mapped=None):
    """Runs `count` updates, mapped over `devices` devices; `mapped` is a `mapped_step` that was traced before."""
    if state is None:
        state = init(update)
    mapped = mapped or mapped_step(update, devices)
    split = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)
    metrics = {}
    for _ in range(count):
        state, metrics = mapped(state, frozen or {}, split)
    return jax.device_get(state), jax.device_get(metrics)


def assert_close(a, b, rtol=1e-4, atol=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


def test_the_generator_never_sees_the_removed_pixels():
    system, batch = ipmedgan(), make_batch()
    changed = batch.replace(image=np.where(batch.mask > 0, 0.123, batch.image))
    np.testing.assert_array_equal(system.generator_input(batch), system.generator_input(changed))
    assert not np.array_equal(
        system.discriminator_input("local", batch, batch.image), system.discriminator_input("local", changed, changed.image)
    )


def test_the_training_forward_never_sees_the_removed_pixels():
    update, batch = make_update(ipmedgan()), make_batch()
    state = init(update)
    changed = batch.replace(image=np.where(batch.mask > 0, np.float32(0.123), batch.image))
    forward = jax.jit(lambda batch: run_generator(update.system, state.generator, batch, jax.random.key(0))[0])
    np.testing.assert_array_equal(forward(batch), forward(changed))


def test_known_pixels_come_out_bit_equal():
    batch = make_batch()
    inpainted = np.asarray(batch.inpainted(jnp.full(batch.image.shape, 0.5)))
    known = np.asarray(batch.mask) == 0
    np.testing.assert_array_equal(inpainted[known], batch.image[known])
    assert (inpainted[~known] == 0.5).all()


def test_the_local_discriminator_sees_the_hole_and_the_global_one_context_and_image():
    system, batch = ipmedgan(), make_batch()
    row, column = batch.hole[1, :2]
    hole = system.discriminator_input("local", batch, batch.image)
    np.testing.assert_array_equal(hole[1], batch.image[1, row : row + HOLE, column : column + HOLE])
    pair = system.discriminator_input("global", batch, batch.image)
    np.testing.assert_array_equal(pair[..., 1:], batch.image)
    np.testing.assert_array_equal(pair[..., :1], system.generator_input(batch))


def test_a_discriminator_step_leaves_the_generator_bit_equal_and_the_other_way_round():
    update, batch = make_update(ipmedgan("batch")), make_batch()
    before = init(update)

    def step_each_side(state, batch):
        output, pullback, statistics = run_generator(update.system, state.generator, batch, jax.random.key(0))
        per_discriminator = {
            name: discriminator_gradients(update.system, name, net, {}, batch, output)
            for name, net in state.discriminators.items()
        }
        after_d, _ = step_discriminators(update, state, per_discriminator)
        gradient, _ = output_gradient(update.system, after_d.discriminators, {}, batch, output)
        after_g, _ = step_generator(update, after_d, pullback(gradient)[0], statistics)
        return after_d, after_g

    mapped = jax.pmap(step_each_side, axis_name=DATA_AXIS, in_axes=(None, 0), out_axes=None, devices=jax.devices()[:1])
    after_d, after_g = mapped(before, jax.tree.map(lambda x: x[None], batch))
    jax.tree.map(np.testing.assert_array_equal, after_d.generator, before.generator)
    jax.tree.map(np.testing.assert_array_equal, after_g.discriminators, after_d.discriminators)
    for after, old in ((after_d.discriminators, before.discriminators), (after_g.generator, before.generator)):
        assert any(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(old), strict=True))


def test_each_side_learns_with_its_own_optimiser():
    update = Update(ipmedgan(), optax.sgd(1.0), optax.sgd(10.0))
    weight, gradient = {"w": jnp.zeros(())}, {"w": jnp.ones(())}
    generator, net = (NetState(weight, {}, made.init(weight)) for made in (update.optimiser, update.discriminator_optimiser))
    before = TrainState(jnp.int32(0), jax.random.key(0), generator, {"global": net}, None)

    def step(_):
        after, _ = step_discriminators(update, before, {"global": (gradient, {}, {})})
        after, _ = step_generator(update, after, gradient, {})
        return after.generator.params["w"], after.discriminators["global"].params["w"]

    generator, net = jax.vmap(step, axis_name=DATA_AXIS)(jnp.zeros(1))
    assert (float(generator[0]), float(net[0])) == (-1.0, -10.0)


@pytest.mark.slow
def test_the_generator_s_loss_is_that_of_the_updated_discriminators():
    system, batch = ipmedgan(), make_batch()
    update = make_update(system, optax.sgd(1.0))
    before = init(update)
    after, metrics = run(update, batch, state=before)
    output, _ = apply(system.generator, before.generator, system.generator_input(batch))

    def loss(name, nets):
        (logits, _), _ = apply(system.discriminators[name], nets[name], system.discriminator_input(name, batch, output))
        return float(losses.adversarial_loss(logits))

    for name, term in (("global", "adversarial"), ("local", "local")):
        assert metrics[f"loss/generator/{term}"] == pytest.approx(loss(name, after.discriminators), rel=1e-3)
        assert loss(name, before.discriminators) != pytest.approx(loss(name, after.discriminators), rel=1e-2)


@pytest.mark.slow
def test_discriminators_learn_to_tell_real_from_fake_in_20_steps():
    image = np.linspace(-1, 1, SIZE, dtype=np.float32).reshape(1, SIZE, 1, 1) * np.ones((4, 1, SIZE, 1), np.float32)
    batch = make_batch().replace(image=image)
    update = make_update(ipmedgan(adversarial=0.0, local=1e-9, perceptual=0.0), optax.adam(2e-3))
    _, metrics = run(update, batch, count=20)
    for name in ("global", "local"):
        assert metrics[f"logit/real/{name}"] > metrics[f"logit/fake/{name}"] + 0.5


def test_one_device_and_four_agree():
    update, batch = make_update(ipmedgan()), make_batch(4)
    one, one_metrics = run(update, batch, devices=1, count=3)
    four, four_metrics = run(update, batch, devices=4, count=3)
    assert_close(one.generator, four.generator)
    assert_close(one.discriminators, four.discriminators)
    assert_close(one_metrics, four_metrics, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_batch_statistics_agree_over_devices_too():
    update, batch = make_update(ipmedgan("batch")), make_batch(4)
    assert_close(run(update, batch, devices=1)[0].generator, run(update, batch, devices=4)[0].generator, rtol=1e-3)


@pytest.mark.slow
def test_accumulated_micro_batches_give_the_full_batch_s_update():
    batch = make_batch(4)
    full, full_metrics = run(make_update(ipmedgan()), batch, count=2)
    accumulated, accumulated_metrics = run(make_update(ipmedgan(), accumulate=2), batch, count=2)
    assert_close(full.generator, accumulated.generator)
    assert_close(full.discriminators, accumulated.discriminators)
    assert_close(full_metrics, accumulated_metrics, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_dropout_noise_is_new_at_every_step_and_the_same_when_a_step_is_repeated():
    system = replace(ipmedgan(perceptual=0.0), generator=CasNet(1, 2, dropout=0.5))
    update, batch = make_update(system, optax.sgd(0.0)), make_batch()
    before, mapped = init(update), mapped_step(update)
    first, second, again = (
        run(update, batch, state=before.replace(step=jnp.int32(step)), mapped=mapped)[1]["loss/generator/local"]
        for step in (0, 1, 1)
    )
    assert first != second
    assert second == again


class Noise(nn.Module):
    """A generator that drops half of the pixels."""

    @nn.compact
    def __call__(self, x, train):
        scale = self.param("scale", nn.initializers.ones, (1, 1, 1, 1))
        return nn.Dropout(0.5, deterministic=not train)(scale * x)


def test_every_device_has_dropout_noise_of_its_own():
    """Two devices that see the same image: their mean loss is that of one alone if they draw the same noise."""
    update, batch = make_update(UNet(Noise(), LossSettings(reconstruction=1.0))), make_batch(1)
    state = init(update)

    def loss(devices):
        copies = jax.tree.map(lambda x: np.stack([x] * devices), batch)
        step = jax.vmap(functools.partial(train_step, update), (None, None, 0), axis_name=DATA_AXIS)
        return float(jax.jit(step)(state, {}, copies)[1]["loss/generator/l1"][0])

    assert loss(1) == loss(1)
    assert loss(1) != pytest.approx(loss(2), rel=1e-4)


def test_no_key_is_used_twice_in_micro_batches_with_dropout_and_more_generator_updates():
    """Tracing is enough: `jax_debug_key_reuse` checks the keys then."""
    system = replace(ipmedgan(), generator=CasNet(1, 2, dropout=0.5))
    update = make_update(system, accumulate=2, generator_updates=2)
    state = jax.eval_shape(functools.partial(init_state, update, image_size=SIZE), jax.random.key(0))
    mapped_step(update).lower(state, {}, jax.tree.map(lambda x: x[None], make_batch()))


@pytest.mark.slow
def test_more_generator_updates_move_the_generator_and_leave_the_discriminators_alone():
    batch, adam = make_batch(), optax.adam(1e-3)
    once, _ = run(make_update(ipmedgan(), adam), batch)
    thrice, _ = run(make_update(ipmedgan(), adam, generator_updates=3), batch)
    assert int(thrice.generator.opt_state[0].count) == 3
    assert int(thrice.discriminators["local"].opt_state[0].count) == 1
    jax.tree.map(np.testing.assert_array_equal, once.discriminators, thrice.discriminators)
    assert not np.allclose(
        once.generator.params["block_0"]["down_0"]["kernel"], thrice.generator.params["block_0"]["down_0"]["kernel"],
        atol=1e-9, rtol=0,
    )  # fmt: skip


@pytest.mark.slow
def test_the_average_follows_the_generator_and_its_statistics():
    update = make_update(ipmedgan("batch"), optax.sgd(0.1), average_decay=0.5)
    before, mapped = init(update), mapped_step(update)
    for step, decay in ((0, 0.1), (1000, 0.5)):  # the smaller of 0.5 and (1 + step) / (10 + step)
        start = before.replace(step=jnp.int32(step))
        after, _ = run(update, make_batch(), state=start, mapped=mapped)
        pairs = (start.average, Average(after.generator.params, after.generator.statistics))
        assert_close(after.average, jax.tree.map(lambda old, new, d=decay: d * old + (1 - d) * new, *pairs))


def test_the_generator_descends_every_term_by_its_weight():
    class Two:
        def generator_loss(self, frozen, batch, output, discriminate):
            return {"a": Term(2.0, output.sum()), "b": Term(0.5, jnp.square(output).sum())}

    output = jnp.arange(4.0)
    gradient, _ = output_gradient(Two(), {}, {}, make_batch(1), output)
    np.testing.assert_array_equal(gradient, 2 + output)


def test_every_layer_has_its_own_weight_in_eq_4():
    system, batch = ipmedgan(perceptual_layers=(1.0, 2.0, 4.0, 8.0)), make_batch(2)

    def discriminate(name, image):
        return jnp.zeros((2, 3, 3)), (image, 10 * image, 100 * image)

    terms = system.generator_loss({}, batch, jnp.zeros(batch.image.shape), discriminate)
    assert float(terms["perceptual"].value) == pytest.approx(843 * np.abs(batch.image).sum() / 2, rel=1e-5)


def test_every_layer_has_its_own_weight_in_eq_3():
    class Maps:
        def apply(self, variables, image):
            return tuple(scale * image for scale in (1.0, 2.0, 3.0, 4.0, 5.0))

    def style(*weights):
        system = replace(ipmedgan(style=1.0, style_layers=weights), vgg19=Maps())
        terms = system.generator_loss({}, batch, output, lambda *_: (jnp.zeros((2, 3, 3)), (image, image)))
        return float(terms["style"].value)

    batch = make_batch(2)
    image, output = batch.image, jnp.zeros(batch.image.shape)
    first = style(1.0, 0.0, 0.0, 0.0, 0.0)  # the Gram matrix scales with the square of the map, Eq. 3 with its fourth power
    assert style(0.0, 0.0, 0.0, 0.0, 1.0) == pytest.approx(5**4 * first, rel=1e-5)
    assert style(1.0, 0.0, 0.5, 0.0, 0.0) == pytest.approx((1 + 0.5 * 3**4) * first, rel=1e-5)


def test_the_generator_s_loss_is_the_weighted_sum_of_eq_5():
    system = ipmedgan(style=1e-4)
    frozen = vgg19_weights.resolve("random").params
    _, metrics = run(make_update(system), make_batch(1), frozen=frozen)
    for name, weight in (("adversarial", 0.8), ("local", 0.2), ("style", 1e-4), ("perceptual", 1e-4)):
        weighted, value = metrics[f"loss/generator_weighted/{name}"], metrics[f"loss/generator/{name}"]
        assert weighted == pytest.approx(weight * value, rel=1e-5)
        assert value > 0


class OneLayer(nn.Module):
    """In the place of VGG-19, which takes long to compile: features of one convolution, more than a packed block has."""

    @nn.compact
    def __call__(self, image):
        return (nn.Conv(70, (3, 3))(image),)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_update_that_is_given_its_targets_equals_one_that_computes_them(accumulate):
    system = replace(ipmedgan(perceptual=0.0, style=1e7, style_layers=(1.0,)), vgg19=OneLayer())
    batch, update = make_batch(4), make_update(system, accumulate=accumulate)
    frozen = OneLayer().init(jax.random.key(1), batch.image)["params"]
    targets = [system.targets(frozen, image[None]) for image in batch.image]
    given = batch.replace(targets=jax.tree.map(lambda *arrays: np.concatenate(arrays), *targets))
    (state, metrics), (other, other_metrics) = (run(update, b, devices=2, frozen=frozen) for b in (batch, given))
    assert metrics["loss/generator_weighted/style"] > metrics["loss/generator_weighted/adversarial"]
    assert_close(metrics, other_metrics, rtol=1e-3)
    assert_close(state.generator.params, other.generator.params, rtol=1e-3, atol=1e-5)


def test_medgan_has_neither_local_term_nor_local_discriminator():
    system = ipmedgan(adversarial=1.0, local=0.0)
    system = replace(system, discriminators={"global": system.discriminators["global"]})
    state, metrics = run(make_update(system), make_batch())
    assert list(state.discriminators) == ["global"]
    assert not [name for name in metrics if "local" in name]


@pytest.mark.parametrize("region", ["hole", "image"])
def test_the_u_net_s_loss_is_the_mean_absolute_error_of_its_region(region):
    system, batch = UNet(CasNet(blocks=1, width=2), LossSettings(reconstruction=1.0, l1_region=region)), make_batch()
    output = jnp.zeros(batch.image.shape)
    value = system.generator_loss({}, batch, output, lambda *_: None)["l1"].value
    error, mask = np.abs(batch.image), np.asarray(batch.mask) > 0
    assert float(value) == pytest.approx(error[mask].mean() if region == "hole" else error.mean(), rel=1e-5)


def test_the_u_net_has_no_discriminator():
    with pytest.raises(KeyError, match="no discriminator 'global'"):
        UNet(CasNet(1, 2), LossSettings()).discriminator_input("global", make_batch(), make_batch().image)


def test_the_step_is_traced_once_per_shape_and_donates_the_state_passed_in():
    update, traces = make_update(ipmedgan()), []

    def counted(*arguments):
        traces.append(1)
        return train_steps(update, *arguments)

    mapped = devices.map_over_devices(counted)
    state = devices.replicate(init(update))
    first = state.generator.params["block_0"]["down_1"]["kernel"]
    for seed in range(3):
        state, _ = mapped(state, {}, devices.split_over_devices(make_batch(4, seed)))
    assert len(traces) == 1
    assert first.is_deleted()


def unet_of_whole_images():
    return UNet(
        CasNet(blocks=1, width=2, normalise=Normalise("example")), LossSettings(reconstruction=1.0, l1_region="image")
    )


def test_pixels_to_avoid_are_no_target():
    """The output is the image there, so that no loss compares them, and no gradient comes from them."""
    system = UNet(
        CasNet(blocks=1, width=2, normalise=Normalise("example")), LossSettings(reconstruction=1.0, l1_region="image")
    )
    update = make_update(system)
    state = init_state(update, jax.random.key(0), SIZE)
    image = jax.random.uniform(jax.random.key(1), (2, SIZE, SIZE, 1), minval=-1.0)
    avoid = jnp.zeros((2, SIZE, SIZE), jnp.uint8).at[:, :4].set(1)
    batch = Batch(image, jnp.array([[6, 4, HOLE, HOLE]] * 2), avoid=avoid)
    output, pullback, _ = run_generator(system, state.generator, batch, jax.random.key(2))
    np.testing.assert_array_equal(output[:, :4], image[:, :4])
    assert (output[:, 4:] != image[:, 4:]).any()
    for part, moves in ((avoid[..., None], False), (1 - avoid[..., None], True)):
        assert any(np.any(leaf) for leaf in jax.tree.leaves(pullback(part.astype(output.dtype)))) == moves


@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_update_does_not_learn_from_pixels_to_avoid(accumulate):
    """With all pixels avoided the generator's loss is 0 and its parameters stay."""
    system = UNet(
        CasNet(blocks=1, width=2, normalise=Normalise("example")), LossSettings(reconstruction=1.0, l1_region="image")
    )
    update = make_update(system, accumulate=accumulate)
    state = init_state(update, jax.random.key(0), SIZE)
    image = jax.random.uniform(jax.random.key(1), (2, SIZE, SIZE, 1), minval=-1.0)
    for avoid, learns in ((jnp.ones((2, SIZE, SIZE), jnp.uint8), False), (None, True)):
        batch = Batch(image, jnp.array([[6, 4, HOLE, HOLE]] * 2), avoid=avoid)
        _, metrics = jax.vmap(functools.partial(train_step, update, state, {}), axis_name=DATA_AXIS)(
            jax.tree.map(lambda leaf: leaf[None], batch)
        )
        assert bool(metrics["gradient_norm/generator"][0] > 0) == bool(metrics["loss/generator/l1"][0] > 0) == learns
