"""Every key of a config reaches its use: each test changes the keys of one group, each to a value of its own."""

import dataclasses
import importlib

import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data.augmentation import AugmentationSettings
from ipmedgan_jax.experiment import build, datasets, phases, saved_config
from ipmedgan_jax.experiment.settings import augmentation_settings, evaluation_settings, hole_settings, preparation_settings
from ipmedgan_jax.networks.vgg19 import FEATURES, VGG19
from ipmedgan_jax.systems.interface import Batch
from ipmedgan_jax.systems.losses import style_loss
from ipmedgan_jax.systems.registry import SYSTEMS

TRAINING = {
    "seed": 3,
    "train.steps": 21,
    "train.minutes": 1.5,
    "train.batch_size": 12,
    "train.steps_per_dispatch": 7,
    "train.mirror": True,
    "train.target_cache_gib": 0.5,
    "data.threads": 5,
    "data.prefetch": 9,
    "train.log_every": 14,
    "train.validate_every": 28,
    "train.validation_slices": 11,
    "train.checkpoint_every": 35,
    "train.keep": 6,
    "train.best": "mae",
    "train.start_from": "runs/before",
    "train.wandb_project": "inpainting",
}
EVALUATION = {
    "evaluation.split": "validation",
    "evaluation.batch_size": 3,
    "evaluation.checkpoint": "latest",
    "evaluation.examples": 5,
}
PREPARATION = {
    "data.image_size": 128,
    "data.fit": "scale",
    "data.resample_mm": 0.7,
    "data.window_hu": (-150.0, 250.0),
    "data.percentiles": (2.0, 98.0),
    "data.foreground": "threshold",
    "data.foreground_level": 0.11,
    "data.min_foreground": 0.22,
    "data.assume_axial": True,
    "data.subject_regex": "(p[0-9]+)",
    "data.split_ratios": (0.5, 0.2, 0.3),
    "data.split_seed": 4,
    "data.validation_subjects": ("a",),
    "data.test_subjects": ("b", "c"),
    "data.fold": "2 of 5",
    "data.workers": 8,
}
HOLES = {
    "holes.size": 20,
    "holes.kinds": ("ellipse", "blob"),
    "holes.shares": (0.7, 0.3),
    "holes.smallest": 5,
    "holes.min_foreground": 0.33,
    "holes.evaluation_min_foreground": 0.44,
    "holes.evaluation_seed": 9,
}
DAMAGE = {"damage.kinds": ("void", "cut"), "damage.shares": (0.6, 0.4), "damage.intact": 0.15}
AUGMENT = {
    "augment.scale": 1.2,
    "augment.rotation": 7.0,
    "augment.blur": 0.3,
    "augment.gamma": 1.4,
    "augment.bias": 0.15,
    "augment.window": 0.12,
    "augment.noise": 0.01,
    "augment.crop": 0.25,
    "augment.lesion": 0.35,
}
NETWORKS = {
    "generator.blocks": 3,
    "generator.width": 5,
    "generator.dropout": 0.25,
    "generator.stacked": True,
    "generator.remat": True,
    "generator.sees_mask": True,
    "discriminator.width": 7,
    "discriminator.layers": 1,
    "normalisation.statistics": "batch",
    "normalisation.momentum": 0.7,
    "generator.noise": True,
    "generator.opposite": True,
    "holes.fill": 0.5,
    "train.dtype": "bfloat16",
}
LOSS = {
    "loss.adversarial": 0.11,
    "loss.local": 0.22,
    "loss.style": 0.33,
    "loss.perceptual": 0.44,
    "loss.reconstruction": 0.55,
    "loss.content": 0.66,
    "loss.structure": 0.77,
    "loss.perceptual_reduction": "mean",
    "loss.perceptual_layers": (1.0, 2.0, 3.0, 4.0),
    "loss.style_layers": (5.0, 6.0, 7.0, 8.0, 9.0),
    "loss.l1_region": "image",
}
OPTIMISER = {
    "optimiser.name": "adam",
    "optimiser.learning_rate": 1e-3,
    "optimiser.discriminator_rate": 4e-3,
    "optimiser.rate_batch": 3,
    "optimiser.b1": 0.6,
    "optimiser.b2": 0.8,
    "optimiser.eps": 0.25,
    "train.generator_updates": 2,
    "train.accumulate": 3,
    "train.ema": 0.75,
    "train.batch_size": 12,
}
SCHEDULE = {"optimiser.warmup_steps": 4, "optimiser.decay": 0.5}
TESTED_ELSEWHERE = {
    *("system", "modality", "data.dir", "vgg19.weights"),  # names on which all else depends
    "data.window",
    *("phantom.subjects", "phantom.slices", "phantom.seed", "holes.lesions", "holes.avoid"),
    *("train.epochs", "train.images", "train.generator_alone", "train.discriminators_alone"),
    *("loss.perceptual_scale_by_size", "generator.smooth_start", "train.on_nonfinite", "train.deterministic"),
}


@pytest.fixture
def changed(tiny_config):
    """Returns a function (system, changes) -> tiny config with the changes, whose keys are dotted."""

    def make(system, changes):
        return tiny_config(system, **{key.replace(".", "__"): value for key, value in changes.items()})

    return make


def test_every_key_is_changed_here_or_tested_elsewhere():
    groups = (TRAINING, EVALUATION, PREPARATION, HOLES, DAMAGE, AUGMENT, NETWORKS, LOSS, OPTIMISER, SCHEDULE)
    defaults = saved_config.flattened(base.get_config().to_dict())
    assert set().union(*groups) | TESTED_ELSEWHERE == set(defaults)
    unchanged = [key for group in groups for key, value in group.items() if value == defaults[key]]
    assert unchanged == ["optimiser.name"]


def by_field(changes):
    """Returns the changes by the last part of their keys, which is the field's name in the settings."""
    return {key.rpartition(".")[2]: value for key, value in changes.items()}


def test_training_settings_are_the_config_s(changed):
    expected = by_field(TRAINING) | {"augmentation": None}
    assert dataclasses.asdict(build.build_experiment(changed("unet", TRAINING)).training) == expected


def test_augmentation_settings_are_the_config_s(changed):
    assert dataclasses.asdict(augmentation_settings(changed("unet", AUGMENT))) == by_field(AUGMENT)


def test_evaluation_settings_are_the_config_s(changed):
    assert dataclasses.asdict(evaluation_settings(changed("unet", EVALUATION))) == by_field(EVALUATION)


def test_preparation_settings_are_the_config_s(changed):
    expected = by_field(PREPARATION) | {"modality": "ct"}
    assert dataclasses.asdict(preparation_settings(changed("unet", PREPARATION))) == expected


def test_hole_settings_are_the_config_s(changed):
    found = hole_settings(changed("unet", HOLES | {"data.foreground_level": 0.3}), lesions := [np.ones((2, 2), bool)])
    expected = by_field(HOLES)
    shapes = {key: expected.pop(key) for key in ("kinds", "shares", "smallest")} | {"size": 20, "lesions": lesions}
    assert vars(found.shapes) == shapes
    assert {key: getattr(found, key) for key in expected} == expected
    assert found.foreground == pytest.approx(-0.4)
    assert found.damage is None
    assert (found.window, found.noise, found.opposite) == (0, False, False)


def test_windows_noise_and_the_other_half_are_the_config_s(changed):
    changes = {"data.window": 64, "data.fit": "scale", "generator.noise": True, "generator.opposite": True}
    config = changed("ipmedgan_plus", changes)
    found, prepared = hole_settings(config), preparation_settings(config)
    assert (found.window, found.noise, found.opposite) == (64, True, True)
    assert (prepared.image_size, prepared.fit) == (64, "window")
    system = build.make_system(config, VGG19("caffe"))
    assert (system.noise, system.opposite) == (True, True)
    finder = hole_settings(changed("finder", changes))
    assert (finder.window, finder.noise, finder.opposite) == (64, False, False)


def test_damage_settings_are_the_config_s(changed):
    found = hole_settings(changed("finder", DAMAGE | HOLES | {"data.foreground_level": 0.3})).damage
    assert vars(found) == by_field(DAMAGE) | {"size": 20, "smallest": 5, "foreground": pytest.approx(-0.4)}


def give(outcome):
    """Returns an outcome, or raises it if it is an error."""
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def test_the_phantom_is_the_config_s(changed, monkeypatch, cache_folder):
    made = {}
    monkeypatch.setattr(datasets.phantom, "write_phantoms", lambda folder, modality, **options: made.update(options) or [])
    monkeypatch.setattr(datasets.preparation, "prepare", lambda settings, *_: made.update(settings=settings))
    loaded = iter([UserError("there is none yet"), cache_folder])  # what loading gives before and after it is made
    monkeypatch.setattr(datasets.dataset_file, "load_dataset", lambda _: give(next(loaded)))
    config = changed("unet", {"data.dir": "", "phantom.subjects": 5, "phantom.slices": 7, "phantom.seed": 8})
    assert datasets.find_dataset(config) == cache_folder
    assert made == {"subjects": 5, "slices": 7, "seed": 8, "settings": preparation_settings(config)}


# ------------------------------------------------------------------ networks and losses


def test_networks_are_the_config_s(changed):
    system = build.make_system(changed("ipmedgan", NETWORKS | {"loss.perceptual_layers": (1.0,) * 3}), VGG19("caffe"))
    found, net = system.generator, system.discriminators["global"]
    assert (found.blocks, found.width, found.dropout, found.stacked, found.remat) == (3, 5, 0.25, True, True)
    assert (net.width, net.layers) == (7, 1)
    assert (system.discriminators["local"].width, system.discriminators["local"].layers) == (7, 2)  # the paper's patches
    for network in (found, *system.discriminators.values()):
        normalise = network.normalise
        assert (normalise.statistics, normalise.momentum, normalise.dtype, network.dtype) == ("batch", 0.7, *["bfloat16"] * 2)
    assert (system.fill, system.sees_mask) == (0.5, True)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_s_networks_have_the_config_s_width_and_fill(changed, system):
    made = build.make_system(changed(system, NETWORKS | {"loss.perceptual_layers": (1.0,) * 3}), VGG19("caffe"))
    generator = getattr(made.generator, "net", made.generator)
    assert (generator.width, generator.dtype) == (5, "bfloat16")
    assert [net.width for net in made.discriminators.values()] == [7] * len(made.discriminators)
    if system != "ipmedgan_plus":  # which has group normalisation and fills with Laplace's equation
        assert generator.normalise.momentum == 0.7
        assert made.fill == (None if system == "glcic" else 0.5)  # GLCIC fills with each image's mean


def test_figures_show_the_fill_value_that_the_generator_sees(changed):
    built = build.build_experiment(changed("unet", {"holes.fill": 0.5}))
    assert built.fill == built.system.fill == 0.5


def test_vgg_19_computes_in_the_run_s_dtype(changed):
    assert build.build_experiment(changed("unet", {"train.dtype": "bfloat16"})).features.net.dtype == "bfloat16"


class Maps:
    """Stands in for VGG-19: five feature maps, the image times 1, 2, 3, 4 and 5."""

    def apply(self, variables, image):
        return tuple(scale * image for scale in range(1, 1 + len(FEATURES)))


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return Batch(rng.uniform(-1, 1, (1, 32, 32, 1)).astype(np.float32), np.array([[5, 3, 16, 16]], np.int32))


@pytest.fixture
def terms(changed, batch):
    """Returns a function system -> loss terms of an output that is half the image, with the weights of `LOSS`."""

    def make(name):
        system = build.make_system(changed(name, LOSS), VGG19("caffe"))
        if hasattr(system, "vgg19"):
            system = dataclasses.replace(system, vgg19=Maps())

        def discriminate(discriminator, image):
            if discriminator == "features":  # heads on feature maps, here one
                return (jnp.zeros((1, 24, 24)),), system.discriminator_input(discriminator, batch, image, {})
            return jnp.zeros((1, 1, 1)), (10 * image, 100 * image, 1000 * image)

        return system.generator_loss({}, batch, batch.image / 2, discriminate)

    return make


@pytest.mark.parametrize(
    ("system", "weights"),
    [
        (
            "ipmedgan",
            {"adversarial": 0.11, "local": 0.22, "style": 0.33, "perceptual": 0.44, "reconstruction": 0.55},
        ),
        ("ipmedgan_plus", {"adversarial": 0.11, "reconstruction": 0.55, "content": 0.66, "structure": 0.77}),
        (
            "casnet_plus",
            {"global": 0.11, "local": 0.22, "style": 0.33, "perceptual": 0.44, "reconstruction": 0.55, "content": 0.66},
        ),
        ("context_encoder", {"adversarial": 0.11, "reconstruction": 0.55}),
        ("glcic", {"adversarial": 0.11, "reconstruction": 0.55}),
        ("glcic_cited", {"adversarial": 0.11, "reconstruction": 0.55}),
        ("unet", {"l1": 0.55}),
    ],
)
def test_every_term_has_its_own_weight(terms, system, weights):
    assert {name: term.weight for name, term in terms(system).items()} == weights


def test_layer_weights_and_the_l1_region_are_the_config_s(terms, batch):
    found, error = terms("ipmedgan"), np.abs(batch.image / 2).mean()
    assert float(found["perceptual"].value) == pytest.approx((1 + 20 + 300 + 4000) * error, rel=1e-4)
    expected = style_loss(Maps().apply({}, batch.image / 2), Maps().apply({}, batch.image), weights=LOSS["loss.style_layers"])
    assert float(found["style"].value) == pytest.approx(float(expected), rel=1e-4)
    assert float(terms("unet")["l1"].value) == pytest.approx(error, rel=1e-4)  # over the whole image


# ------------------------------------------------------------------ updates


def two_steps(optimiser):
    """Returns the optimiser's updates of a scalar for a gradient of 1, and then for a gradient of 0."""
    weight = jnp.zeros(())
    first, state = optimiser.update(jnp.ones(()), optimiser.init(weight), weight)
    return float(first), float(optimiser.update(jnp.zeros(()), state, weight)[0])


def test_both_optimisers_have_the_config_s_rates_and_moments(changed):
    """Adam by hand (Kingma and Ba, arXiv 1412.6980, Algorithm 1)."""
    update = build.build_experiment(changed("ipmedgan", OPTIMISER)).phases[-1].update
    second = (0.6 / (1 + 0.6)) / ((0.8 / (1 + 0.8)) ** 0.5 + 0.25)
    for optimiser, rate in ((update.optimiser, 1e-3), (update.discriminator_optimiser, 4e-3)):
        rate *= 12 / 3  # train.batch_size / optimiser.rate_batch
        assert two_steps(optimiser) == pytest.approx((-rate / 1.25, -rate * second), rel=1e-4)


def test_discriminators_without_a_rate_of_their_own_have_the_generator_s(changed):
    update = build.build_experiment(changed("ipmedgan", OPTIMISER | {"optimiser.discriminator_rate": 0.0})).phases[-1].update
    assert two_steps(update.discriminator_optimiser) == two_steps(update.optimiser)


def rates(optimiser, steps):
    """Returns the learning rate of each step of an SGD optimiser."""
    weight, found = jnp.zeros(()), []
    state = optimiser.init(weight)
    for _ in range(steps):
        update, state = optimiser.update(jnp.ones(()), state, weight)
        found.append(-float(update))
    return found


def test_learning_rates_rise_stay_and_fall_to_0_over_each_network_s_own_steps(changed):
    changes = SCHEDULE | {"optimiser.name": "sgd", "optimiser.learning_rate": 1.0, "train.steps": 20}
    changes |= {"train.generator_alone": 0.4, "train.discriminators_alone": 0.2, "train.generator_updates": 2}
    update = build.build_experiment(changed("ipmedgan", changes)).phases[-1].update
    found = rates(update.optimiser, 33)  # 16 steps of two updates each, and one more
    assert found[:5] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert set(found[3:17]) == {1}
    assert found[16:33] == pytest.approx(np.linspace(1, 0, 17))
    found = rates(update.discriminator_optimiser, 13)
    assert found == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, *np.linspace(1, 0, 7)])


def test_a_rate_that_only_rises_has_no_end(changed):
    config = changed("unet", {"optimiser.name": "sgd", "optimiser.learning_rate": 1.0, "optimiser.warmup_steps": 2})
    update = phases.make_update(config, build.make_system(config, VGG19("caffe")))  # of a run of unknown length
    assert rates(update.optimiser, 4) == [0.5, 1, 1, 1]


@pytest.mark.parametrize(("name", "first"), [("sgd", -1e-3), ("adadelta", -1e-3 * (1e-6 / (0.05 + 1e-6)) ** 0.5)])
def test_the_optimiser_is_the_one_that_the_config_names(changed, name, first):
    built = build.build_experiment(changed("unet", {"optimiser.name": name, "optimiser.learning_rate": 1e-3}))
    assert two_steps(built.phases[-1].update.optimiser)[0] == pytest.approx(first, rel=1e-4)


def test_every_phase_s_update_is_the_config_s(changed):
    phases = {"train.steps": 20, "train.generator_alone": 0.5, "train.discriminators_alone": 0.25}
    found = build.build_experiment(changed("ipmedgan", OPTIMISER | phases)).phases
    assert [(phase.name, phase.last) for phase in found] == [
        ("the generator alone", 10),
        ("the discriminators alone", 15),
        ("both sides", 20),
    ]
    updates = [phase.update for phase in found]
    assert [(update.generator_updates, update.accumulate, update.average_decay) for update in updates] == [(2, 3, 0.75)] * 3


@pytest.mark.parametrize(("steps", "per_dispatch"), [(20, 20), (1, 1), (100, 50)])
def test_a_run_whose_last_phase_would_have_no_step_is_refused(changed, steps, per_dispatch):
    changes = {"train.steps": steps, "train.steps_per_dispatch": per_dispatch, "train.generator_alone": 0.8}
    changes |= dict.fromkeys(("train.log_every", "train.validate_every", "train.checkpoint_every"), per_dispatch)
    with pytest.raises(UserError, match=f"{steps} steps in dispatches of {per_dispatch} leave none in which all"):
        build.build_experiment(changed("ipmedgan", changes))


# ------------------------------------------------------------------ inference


def test_inference_settings_are_the_config_s(changed):
    changes = PREPARATION | HOLES | {"train.keep": 6, "train.best": "mae", "train.ema": 0.75}
    found = build.build_inference(config := changed("unet", changes))
    assert found.preparation == preparation_settings(config)
    assert (found.keep, found.best, found.hole_size, found.trained_on_any_shape) == (6, "mae", 20, True)
    assert (found.uses_ema, found.is_finder, found.name) == (True, False, "unet")
    plain = build.build_inference(changed("finder", {"train.ema": 0.0}))
    assert (plain.uses_ema, plain.is_finder, plain.trained_on_any_shape) == (False, True, False)


# ------------------------------------------------------------------ shipped configs


def test_holes_go_by_the_level_that_the_data_were_prepared_with(changed):
    prepared = preparation_settings(changed("finder", {"data.foreground_level": 0.25}))
    found = hole_settings(changed("finder", {"data.foreground_level": 0.4}), prepared=prepared)
    assert (found.foreground, found.damage.foreground) == (-0.5, -0.5)


@pytest.mark.parametrize("name", ["ct", "ct_any", "ct_small", "demo"])
def test_a_ct_config_takes_no_foam_for_head_and_keeps_hounsfield_units(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    assert config.modality == "ct"
    settings = preparation_settings(config)
    assert settings.threshold(settings.window_hu) == pytest.approx(-500)
    augmentation = augmentation_settings(config) or AugmentationSettings()
    assert not any((augmentation.gamma, augmentation.bias, augmentation.window, augmentation.noise))
