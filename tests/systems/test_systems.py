"""Systems: what all of them have in common, the loss of each, and the phases of a run."""

import contextlib
import itertools
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.evaluation.evaluate_run import evaluate_run
from ipmedgan_jax.experiment import build, run_folder
from ipmedgan_jax.experiment.checks import _CHOICES
from ipmedgan_jax.networks.casnet import Refinement
from ipmedgan_jax.networks.vgg19 import VGG19, max_pool
from ipmedgan_jax.systems import masking, unet
from ipmedgan_jax.systems.building_blocks import LossSettings
from ipmedgan_jax.systems.context_encoder import overlap_reconstruction_loss
from ipmedgan_jax.systems.inference import LearnedInpaint
from ipmedgan_jax.systems.interface import Batch, weighted_values
from ipmedgan_jax.systems.registry import FINDERS, SYSTEMS
from ipmedgan_jax.systems.state import Update, init_generator, init_state
from ipmedgan_jax.systems.update import output_gradient, train_step, train_steps
from ipmedgan_jax.training import devices, loop, start

SIZE, HOLE = 32, 16


@pytest.fixture
def make(tiny_config):
    return lambda name, **changes: build.make_system(tiny_config(name, **changes), VGG19("caffe"))


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    holes = np.array([[0, 16, HOLE, HOLE], [5, 3, HOLE, HOLE]], np.int32)
    return Batch(rng.uniform(-1, 1, (2, SIZE, SIZE, 1)).astype(np.float32), holes)


def fill(system, batch):
    """Returns the output of a freshly initialised generator."""

    @jax.jit
    def output(batch):
        params, statistics = init_generator(system, jax.random.key(0), SIZE)
        variables = {"params": params, "batch_stats": statistics}
        return system.generator.apply(variables, system.generator_input(batch), train=False)

    return output(batch)


@pytest.mark.parametrize("name", SYSTEMS)
def test_no_generator_sees_the_removed_pixels(name, make, batch):
    system = make(name)
    changed = batch.replace(image=np.where(batch.mask > 0, 0.123, batch.image))
    jax.tree.map(np.testing.assert_array_equal, system.generator_input(batch), system.generator_input(changed))


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_fills_holes_wherever_they_are(name, make, batch):
    system = make(name)
    output = fill(system, batch)
    assert output.shape == batch.image.shape
    assert float(jnp.abs(output).max()) <= 1


@pytest.mark.parametrize("name", ["context_encoder", "glcic"])
def test_discriminators_tell_real_from_fake_in_twenty_steps(name, make, batch):
    """The generator does not learn, so the fakes are fixed."""
    system = make(name)
    update = Update(system, optax.sgd(0.0), optax.adam(2e-3), generator_learns=False)
    state = jax.jit(partial(init_state, update, image_size=SIZE))(jax.random.key(0))
    step = jax.pmap(
        lambda state, batch: train_step(update, state, {}, batch),
        axis_name="data",
        in_axes=(None, 0),
        out_axes=None,
        devices=jax.devices()[:1],
    )
    before = jax.device_get(state.generator.params)
    metrics = {}
    for _ in range(20):
        state, metrics = step(state, jax.tree.map(lambda x: x[None], batch))
    (only,) = system.discriminators
    assert float(metrics[f"logit/real/{only}"]) > float(metrics[f"logit/fake/{only}"]) + 0.5
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(state.generator.params))


class Only:
    """A system whose loss is one term of another's."""

    def __init__(self, system, name):
        self._system, self._name = system, name

    def __getattr__(self, attribute):
        return getattr(self._system, attribute)

    def generator_loss(self, *arguments):
        return {self._name: self._system.generator_loss(*arguments)[self._name].replace(weight=1.0)}


@pytest.mark.parametrize(
    ("name", "term"),
    [
        *(
            ("ipmedgan", "adversarial"),
            ("ipmedgan", "local"),
            ("casnet_plus", "global"),
            ("casnet_plus", "local"),
            ("ipmedgan_plus", "adversarial"),
        ),
        *(("context_encoder", "adversarial"), ("glcic", "adversarial")),
    ],
)
def test_the_generator_learns_from_each_discriminator(name, term, make, batch):
    system = make(name)
    if hasattr(system, "vgg19"):
        system = replace(system, vgg19=TwoLayers())
    only = Only(system, term)
    state = jax.jit(partial(init_state, Update(system, optax.sgd(0.0), optax.sgd(0.0)), image_size=SIZE))(jax.random.key(0))
    batch = jax.tree.map(jnp.asarray, batch)
    mapped = jax.vmap(lambda output: output_gradient(only, state.discriminators, {}, batch, output), axis_name="data")
    descend, output = jax.jit(mapped), 0.5 * batch.image[None]
    gradient, before = descend(output)
    assert float(jnp.abs(gradient).max()) > 0
    _, after = descend(output - 0.1 * gradient / jnp.abs(gradient).max())
    assert float(after[f"loss/generator/{term}"][0]) < float(before[f"loss/generator/{term}"][0])


def test_the_context_encoder_s_band_counts_ten_times_as_much():
    real = jnp.zeros((1, 64, 64, 1))
    inside, border = (real.at[0, row, 32, 0].set(1.0) for row in (32, 6))
    zero_norm = 1e-5**0.5  # what a region without error costs
    assert float(overlap_reconstruction_loss(border, real)) == pytest.approx(1 + zero_norm / 10, rel=1e-3)
    assert float(overlap_reconstruction_loss(inside, real)) == pytest.approx(0.1 + zero_norm, rel=1e-3)
    just_inside = real.at[0, 7, 32, 0].set(1.0)
    assert float(overlap_reconstruction_loss(just_inside, real)) == pytest.approx(0.1 + zero_norm, rel=1e-3)


def test_the_context_encoder_s_loss_has_a_finite_gradient_at_a_perfect_fill():
    real = jnp.zeros((1, 16, 16, 1))
    gradient = jax.grad(lambda fake: overlap_reconstruction_loss(fake, real))(real)
    assert np.isfinite(gradient).all()


def test_the_context_encoder_changes_nothing_but_the_hole(make, batch):
    system = make("context_encoder")
    output, (context, _) = fill(system, batch), system.generator_input(batch)
    known = np.asarray(batch.mask) == 0
    np.testing.assert_array_equal(np.asarray(output)[known], np.asarray(context)[known])
    assert not np.allclose(np.asarray(output)[~known], system.fill)


def test_published_glcic_sees_the_mean_and_the_mask_and_cited_glcic_neither(make, batch):
    published = make("glcic").generator_input(batch)
    known = np.asarray(batch.mask)[0] == 0
    assert published.shape == (2, SIZE, SIZE, 2)
    np.testing.assert_array_equal(published[..., 1:], batch.mask)
    assert np.asarray(published[0, ..., :1])[~known] == pytest.approx(batch.image[0][known].mean(), abs=1e-5)
    cited = make("glcic_cited").generator_input(batch)
    assert cited.shape == batch.image.shape
    assert (np.asarray(cited)[0][~known] == 0).all()


def test_glcic_s_discriminator_sees_the_inpainted_image_and_the_window_around_its_hole(make, batch):
    inpainted, window = make("glcic").discriminator_input("joint", batch, jnp.full(batch.image.shape, 0.5))
    np.testing.assert_array_equal(inpainted, batch.inpainted(jnp.full(batch.image.shape, 0.5)))
    assert window.shape == (2, 2 * HOLE, 2 * HOLE, 1)


@pytest.mark.parametrize(
    ("name", "terms"), [("glcic", {"reconstruction", "adversarial"}), ("glcic_cited", {"reconstruction"})]
)
def test_only_the_published_glcic_learns_from_its_discriminator(name, terms, make, batch):
    def discriminate(name, image):
        return jnp.zeros((2, 1, 1)), ()

    found = make(name).generator_loss({}, batch, batch.image + 0.1, discriminate)
    assert found.keys() == terms
    assert float(found["reconstruction"].value) == pytest.approx(0.01, rel=1e-4)
    assert make("glcic").without_discriminators().generator_loss({}, batch, batch.image, discriminate).keys() == {
        "reconstruction"
    }


def test_ipmedgan_can_learn_from_pixels_and_the_mask(make, batch):
    system = make("ipmedgan", loss__reconstruction=2.0, generator__sees_mask=True)
    assert system.generator_input(batch).shape == (2, SIZE, SIZE, 2)
    terms = system.without_discriminators().generator_loss({}, batch, batch.image + 0.25, None)
    assert terms.keys() == {"reconstruction"}
    assert float(terms["reconstruction"].value) == pytest.approx(0.25)
    assert terms["reconstruction"].weight == 2.0


class TwoLayers(nn.Module):
    """Stands in for VGG-19, which takes long: the second layer has half the side."""

    def __call__(self, image):
        return image, max_pool(jnp.concatenate([image, image**2], axis=-1))


def test_casnet_plus_takes_its_losses_on_the_inpainted_image(make, batch):
    system = make("casnet_plus")
    outside = jnp.where(
        batch.mask > 0, batch.image, 0.77
    )  # correct in the hole, wrong elsewhere, where the output is not used

    def discriminate(name, image):
        return jnp.zeros((2, 1, 1)), (system.discriminator_input(name, batch, image),)

    system = replace(system, vgg19=TwoLayers())
    frozen: dict = {}
    terms = system.generator_loss(frozen, batch, outside, discriminate)
    assert terms.keys() == {"reconstruction", "global", "local", "perceptual", "content", "style"}
    assert all(float(terms[name].value) == 0 for name in terms.keys() - {"global", "local"})
    wrong = system.generator_loss(frozen, batch, 0.5 * batch.image, discriminate)
    assert all(float(wrong[name].value) > 0 for name in wrong)
    assert system.without_discriminators().generator_loss(frozen, batch, outside, discriminate).keys() == {"reconstruction"}
    assert system.discriminator_input("local", batch, outside).shape == (2, 2 * HOLE, 2 * HOLE, 2)


def test_the_generator_adds_to_the_smooth_fill(make, batch):
    system = make("casnet_plus", generator__smooth_start=True)
    x = system.generator_input(batch)
    np.testing.assert_array_equal(x[..., :1], masking.smooth_fill(batch.image, batch.mask))
    changed = batch.replace(image=np.where(batch.mask > 0, 0.123, batch.image))
    np.testing.assert_array_equal(x, system.generator_input(changed))
    np.testing.assert_array_equal(Refinement(Zeros()).apply({}, x, train=False), x[..., :1])
    assert isinstance(system.generator, Refinement)


def test_ipmedgan_plus_sees_the_smooth_fill_the_mask_noise_and_the_other_half(make, batch):
    noise = np.random.default_rng(1).normal(0, 1, batch.image.shape[:3]).astype(np.float32)
    other = np.random.default_rng(2).normal(0, 1, (*batch.image.shape[:3], 2)).astype(np.float32)
    system = make("ipmedgan_plus", generator__noise=True, generator__opposite=True)
    x = system.generator_input(batch.replace(noise=noise, opposite=other))
    expected = [masking.smooth_fill(batch.image, batch.mask), batch.mask, noise[..., None], other]
    np.testing.assert_array_equal(x, np.concatenate(expected, axis=-1))
    without = system.generator_input(batch)
    assert without.shape == x.shape
    assert (without[..., 2:] == 0).all()
    plain = make("ipmedgan_plus", generator__noise=False, generator__opposite=False)
    assert plain.generator_input(batch.replace(noise=noise)).shape == (2, SIZE, SIZE, 2)


def test_noise_changes_the_fill_and_no_known_pixel(make, batch):
    system = make("ipmedgan_plus", generator__noise=True, generator__opposite=False)
    inpaint = LearnedInpaint(replace(system, generator=Sum())).bind({}, {})
    fields = {"image": np.asarray(batch.image), "hole": batch.hole}
    fills = [inpaint(fields | {"noise": np.full((2, SIZE, SIZE), value, np.float32)}) for value in (0.0, 0.25)]
    difference, removed = fills[1] - fills[0], np.asarray(batch.mask) > 0
    np.testing.assert_allclose(difference[removed], 0.25, atol=1e-6)
    assert (difference[~removed] == 0).all()
    np.testing.assert_array_equal(fills[1][~removed], np.asarray(batch.image)[~removed])


class Sum(nn.Module):
    """A network that adds its first channel and its noise, the third."""

    def __call__(self, x, train):
        return x[..., :1] + x[..., 2:3]


def test_ipmedgan_plus_judges_the_hole_and_its_margin_on_the_inpainted_image(make, batch):
    system = replace(make("ipmedgan_plus"), vgg19=TwoLayers())
    outside = jnp.where(batch.mask > 0, batch.image, 0.77)  # what is wrong outside the hole is not used
    shown = system.discriminator_input("features", batch, outside, {})
    assert [layer.shape for layer in shown] == [(2, 24, 24, 1), (2, 12, 12, 2)]  # 16 and a quarter of it on both sides
    real = system.discriminator_input("features", batch, batch.image, {})
    jax.tree.map(np.testing.assert_array_equal, shown, real)

    def discriminate(name, image):
        features = system.discriminator_input(name, batch, image, {})
        return tuple(layer.mean(-1) for layer in features), features

    terms = system.generator_loss({}, batch, outside, discriminate)
    assert terms.keys() == {"reconstruction", "adversarial", "content"}
    assert float(terms["reconstruction"].value) == float(terms["content"].value) == 0
    alone = make("ipmedgan_plus").without_discriminators().generator_loss({}, batch, outside, None)
    assert alone.keys() == {"reconstruction"}


def test_only_heads_logits_in_the_hole_count_as_fake(make, batch):
    system = replace(make("ipmedgan_plus"), vgg19=TwoLayers())
    masks = system._masks(batch, (None, None))
    assert [mask.shape for mask in masks] == [(2, 24, 24), (2, 12, 12)]
    assert [float(mask.sum()) for mask in masks] == [2 * HOLE**2, float((masks[1] > 0).sum())]
    real = tuple(jnp.ones(mask.shape) for mask in masks)
    right = tuple(jnp.where(mask > 0, -1.0, 5.0) for mask in masks)  # sure of the fakes, and of what lies around them
    wrong = tuple(jnp.where(mask > 0, 1.0, 5.0) for mask in masks)
    assert float(system.discriminator_loss("features", batch, real, right)) == 0
    assert float(system.discriminator_loss("features", batch, real, wrong)) == pytest.approx(0.5 * 2)


class Zeros(nn.Module):
    """A network whose output is zero."""

    def __call__(self, x, train):
        return jnp.zeros_like(x[..., :1])


# ------------------------------------------------------------------ phases


def test_phases_are_shares_of_the_run_in_whole_dispatches(tiny_config):
    config = tiny_config("glcic", train__steps=100, train__steps_per_dispatch=2, train__checkpoint_every=100)
    built = build.build_experiment(config)
    assert [(phase.name, phase.last) for phase in built.phases] == [
        ("the generator alone", 18),
        ("the discriminators alone", 20),
        ("both sides", 100),
    ]
    assert [phase.name for phase in build.build_experiment(tiny_config("unet")).phases] == ["both sides"]


@pytest.mark.slow
def test_a_run_in_phases_resumes_in_the_right_one_and_each_moves_its_own_side(tiny_config, tmp_path):
    """Uses the context encoder, the quickest to compile of the systems with a discriminator."""
    uninterrupted, interrupted = tmp_path / "uninterrupted", tmp_path / "interrupted"
    shares = {"train__generator_alone": 0.25, "train__discriminators_alone": 0.25}
    built = build.build_experiment(tiny_config("context_encoder", train__steps=8, train__keep=9, **shares))
    loop.train(built, uninterrupted)
    loop.train(replace(built, training=replace(built.training, steps=4)), interrupted)
    loop.train(built, interrupted)

    initial = start.InitialState(built)
    like = initial.values()
    with (
        run_folder.open_checkpoints(built.training, uninterrupted) as checkpoints,
        run_folder.open_checkpoints(built.training, interrupted) as resumed,
    ):
        states = [like, *(checkpoints.restore(step, like)[0] for step in (2, 4, 6, 8))]
        again = resumed.restore(8, like)[0]
    jax.tree.map(np.testing.assert_array_equal, states[-1].replace(key=0), again.replace(key=0))

    sides = [(state.generator.params, state.discriminators["local"].params) for state in states]
    movements = [tuple(map(moved, before, after)) for before, after in itertools.pairwise(sides)]
    assert movements == [(True, False), (False, True), (True, True), (True, True)]
    assert evaluate_run(built, uninterrupted)["system"] == "context_encoder"
    assert (uninterrupted / "evaluation" / "examples.png").exists()


def moved(before, after):
    return any(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS | FINDERS)
def test_every_system_updates_on_windows_of_whole_slices(name, tiny_config, window_data):
    built = build.build_experiment(tiny_config(name, data__dir=str(window_data), data__window=32, data__image_size=256))
    with contextlib.closing(loop.training_batches(built)) as batches:
        batch = Batch(**devices.split_over_devices(next(batches), 1))
    step = devices.map_over_devices(partial(train_steps, built.phases[-1].update))
    state, metrics = step(
        devices.replicate(start.InitialState(built).values()), devices.replicate(built.features.params), batch
    )
    assert int(devices.as_one(state).step) == 1
    assert all(np.isfinite(value).all() for value in jax.tree.leaves(metrics))


# ------------------------------------------------------------------ a new system


@pytest.mark.slow
def test_a_new_system_needs_one_entry_of_the_table(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setitem(SYSTEMS, "mine", unet.make)
    monkeypatch.setitem(_CHOICES, "system", tuple(SYSTEMS))
    built = build.build_experiment(tiny_config("mine", loss__reconstruction=1.0))
    loop.train(built, tmp_path)
    assert evaluate_run(built, tmp_path)["system"] == "mine"


@pytest.mark.parametrize("name", ["context_encoder", "glcic"])
@pytest.mark.parametrize("size", [24, 32])
def test_a_hole_that_a_system_cannot_take_is_refused_by_its_key(name, size, make):
    with pytest.raises(
        UserError, match=rf"config\.holes\.size is {size}: expected a power of two for .*, at most half of data\.image_size"
    ):
        make(name, holes__size=size)


def test_every_loss_setting_is_read_by_a_system():
    folder = Path(masking.__file__).parent
    sources = "".join(path.read_text() for path in folder.glob("*.py") if path.name != "building_blocks.py")
    assert all(f"loss.{field.name}" in sources for field in fields(LossSettings))


def test_a_loss_whose_weights_are_all_zero_is_refused(make, batch):
    with pytest.raises(UserError, match="every term of the generator's loss has weight 0"):
        weighted_values(make("unet", loss__reconstruction=0.0).generator_loss({}, batch, batch.image, None))


def test_a_generator_that_would_learn_nothing_alone_is_refused(make, batch):
    """ip-MedGAN without its discriminators has the style term alone."""
    alone = make("ipmedgan", loss__style=0.0).without_discriminators()
    with pytest.raises(UserError, match="do not count while the generator learns alone"):
        weighted_values(alone.generator_loss({}, batch, batch.image, None))


def test_casnet_plus_sums_or_averages_over_feature_maps_as_its_setting_says(make, batch):
    def discriminate(name, image):
        return jnp.zeros((len(image), 2, 2)), (image, image[:, ::2, ::2])

    def perceptual(reduction):
        system = make("casnet_plus", loss__perceptual_reduction=reduction, loss__content=0.0, loss__style=0.0)
        return float(system.generator_loss({}, batch, batch.image / 2, discriminate)["perceptual"].value)

    size = batch.image[0].size
    maps = [np.abs(batch.image / 2).mean(), np.abs(batch.image[:, ::2, ::2] / 2).mean()]
    assert perceptual("mean") == pytest.approx(np.mean(maps), rel=1e-5)
    assert perceptual("sum") == pytest.approx(np.mean([maps[0] * size, maps[1] * size / 4]), rel=1e-5)
