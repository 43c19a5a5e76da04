"""Every config builds, every key is read, and what cannot be run is refused by its key's name."""

from functools import partial

import jax
import pytest
from ml_collections import ConfigDict

from configs import base, ct, demo, mri, small
from ipmedgan_jax import experiment, parallel, steps
from ipmedgan_jax.errors import UserError
from ipmedgan_jax.networks.layers import DATA_AXIS
from ipmedgan_jax.networks.vgg19 import VGG19

CONFIGS = {"ct": ct, "mri": mri, "small": small, "demo": demo}


@pytest.mark.parametrize("system", experiment.SYSTEMS)
@pytest.mark.parametrize("name", CONFIGS)
def test_one_update_of_every_config_keeps_shapes_and_types(name, system):
    """Abstractly: the full networks are neither allocated nor run."""
    config = CONFIGS[name].get_config(system)
    vgg19 = VGG19("caffe")
    update = experiment.make_update(config, experiment.make_system(config, vgg19))
    size, batch_size = config.data.image_size, config.train.batch_size
    state = jax.eval_shape(partial(steps.init_state, update, image_size=size), jax.random.key(0))
    image = jax.ShapeDtypeStruct((batch_size, size, size, 1), "float32")
    frozen = jax.eval_shape(vgg19.init, jax.random.key(0), image)["params"]
    batch = steps.Batch(image, jax.ShapeDtypeStruct((batch_size, 4), "int32"))

    def mapped(state, frozen, batch):
        stacked = jax.tree.map(lambda x: x[None], (state, frozen, batch))
        return jax.vmap(partial(steps.train_step, update), axis_name=DATA_AXIS)(*stacked)

    after, metrics = jax.eval_shape(mapped, state, frozen, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        assert (new.shape, new.dtype) == ((1, *old.shape), old.dtype)
    assert {value.shape for value in metrics.values()} == {(1,)}


def test_systems_have_the_networks_of_the_papers():
    wanted = {"ipmedgan": ["global", "local"], "medgan": ["global"], "unet": []}
    for name, discriminators in wanted.items():
        system = experiment.make_system(ct.get_config(name), VGG19("caffe"))
        assert list(system.discriminators) == discriminators


def test_the_paper_s_weights_are_in_its_configs():
    for module in (ct, mri):
        loss = module.get_config().loss
        assert (loss.adversarial, loss.local, loss.style, loss.perceptual) == (0.8, 0.2, 1e-4, 1e-4)
        medgan = module.get_config("medgan").loss
        assert (medgan.adversarial, medgan.local) == (1.0, 0.0)


def test_the_perceptual_weight_grows_where_the_image_is_smaller():
    system = experiment.make_system(small.get_config(), VGG19("caffe"))
    assert system.perceptual == pytest.approx(4e-4)
    unscaled = small.get_config().unlock()
    unscaled.loss.perceptual_scale_by_size = False
    assert experiment.make_system(unscaled, VGG19("caffe")).perceptual == pytest.approx(1e-4)


def test_every_key_is_read(tiny_config, monkeypatch):
    read = set()
    original = ConfigDict.__getitem__

    def noted(self, key):
        read.add((id(self), key))
        return original(self, key)

    monkeypatch.setattr(ConfigDict, "__getitem__", noted)
    monkeypatch.setattr(experiment, "as_json", lambda config: {})
    seen = {key for key in experiment.flat(base.get_config().to_dict()) if not key.startswith("phantom.")}
    for system in experiment.SYSTEMS:
        config = tiny_config(system, train__steps=0)
        read.clear()
        experiment.build(config)
        experiment.preparation_settings(config)
        groups = {"": config} | {name: value for name, value in config.items() if isinstance(value, ConfigDict)}
        names = {(id(group), key): f"{name}.{key}".lstrip(".") for name, group in groups.items() for key in group}
        seen -= {names[each] for each in read if each in names}
    assert not seen


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modality": "pet"}, "config.modality is 'pet': wanted one of mri, ct"),
        ({"normalisation__statistics": "layer"}, "config.normalisation.statistics is 'layer'"),
        ({"loss__perceptual_reduction": "max"}, "config.loss.perceptual_reduction is 'max'"),
        ({"train__dtype": "float16"}, "config.train.dtype is 'float16'"),
        ({"train__best": "beauty"}, "config.train.best is 'beauty'"),
        ({"data__image_size": 100}, "config.data.image_size is 100: wanted a power of two"),
        ({"holes__size": 8}, "config.holes.size is 8: wanted 16 to data.image_size, 32"),
        ({"train__keep": 0}, "config.train.keep is 0: wanted at least 1"),
        ({"train__batch_size": 6}, r"batch_size 6 does not divide over 4 device.*nearest sizes 4 or 8"),
        ({"loss__perceptual_layers": (1.0,)}, r"config.loss.perceptual_layers has 1 weights: wanted 4"),
        ({"loss__style_layers": (1.0,)}, r"config.loss.style_layers has 1 weights: wanted 5"),
        ({"data__image_size": 64}, "prepared with data.image_size 32, the config has 64"),
        ({"modality": "mri"}, "prepared with modality 'ct', the config has 'mri'"),
        ({"data__dir": "/nowhere"}, r"/nowhere/dataset.json: not found"),
    ],
)
def test_settings_that_cannot_be_run_are_named(tiny_config, changes, message):
    with pytest.raises(UserError, match=message):
        experiment.build(tiny_config(**changes))


def test_an_unknown_system_is_refused(tiny_config):
    config = tiny_config().unlock()
    config.system = "gan"
    with pytest.raises(UserError, match="system 'gan': wanted one of ipmedgan, medgan, unet"):
        experiment.build(config)


def test_an_unknown_system_in_the_config_suffix_is_refused():
    with pytest.raises(ValueError, match="unknown system 'medgam': ipmedgan, medgan or unet"):
        ct.get_config("medgam")


def test_a_misspelt_key_is_refused():
    with pytest.raises(AttributeError, match="learning_rat"):
        ct.get_config().optimiser.learning_rat = 1.0


def test_a_config_survives_its_file(tiny_config):
    config = tiny_config("medgan")
    again = experiment.from_json(experiment.as_json(config))
    assert experiment.as_json(again) == experiment.as_json(config)
    assert again.data.window_hu == config.data.window_hu


def test_only_keys_that_change_the_run_s_numbers_count_as_another_config(tiny_config):
    a = experiment.as_json(tiny_config())
    b = experiment.as_json(tiny_config(train__steps=9, train__minutes=3.0, evaluation__batch_size=1))
    c = experiment.as_json(tiny_config(loss__style=0.5, holes__fill=0.0))
    assert experiment.differing_keys(a, b) == []
    assert experiment.differing_keys(a, c) == ["holes.fill", "loss.style"]


def test_without_data_the_phantom_is_made_once(tiny_config, cache, caplog):
    changes = {"data__dir": "", "phantom__subjects": 4, "phantom__slices": 2}
    first = experiment.find_dataset(tiny_config(**changes))
    marker = first.directory / "dataset.json"
    time = marker.stat().st_mtime_ns
    again = experiment.find_dataset(tiny_config(**changes))
    assert marker.stat().st_mtime_ns == time
    assert again.directory.is_relative_to(cache)
    assert all(again.subjects[split] for split in ("train", "validation", "test"))


def test_a_batch_of_zero_is_refused():
    with pytest.raises(UserError, match="nearest sizes 4"):
        parallel.check_batch_size(0, 1)
