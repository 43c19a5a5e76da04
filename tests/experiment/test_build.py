"""Building experiments: every config builds, every key is read, and errors name the key that cannot be run."""

import contextlib
import importlib
import json
import shutil
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from ipmedgan_jax.configs import base, ct, mri, small
from ipmedgan_jax.core import json_fields
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import dataset_file, pipeline
from ipmedgan_jax.experiment import build, datasets, phases, saved_config
from ipmedgan_jax.experiment.checks import _RANGES, check_config
from ipmedgan_jax.experiment.datasets import find_dataset
from ipmedgan_jax.experiment.network_size import input_size
from ipmedgan_jax.experiment.saved_config import ADDED_KEYS
from ipmedgan_jax.experiment.settings import hole_settings, preparation_settings
from ipmedgan_jax.networks.layers import DATA_AXIS
from ipmedgan_jax.networks.vgg19 import VGG19
from ipmedgan_jax.systems.interface import Batch
from ipmedgan_jax.systems.registry import FINDERS, SYSTEMS
from ipmedgan_jax.systems.state import init_state
from ipmedgan_jax.systems.update import train_step
from ipmedgan_jax.training import devices, loop, run_facts
from tests.old_prepared import without_digests

CONFIGS = {
    path.stem: importlib.import_module(f"ipmedgan_jax.configs.{path.stem}")
    for path in sorted(Path(base.__file__).parent.glob("*.py"))
    if path.stem not in ("__init__", "base")
}


def check_one_update(config):
    """Traces one update abstractly: networks of any size are neither allocated nor run."""
    vgg19 = VGG19("caffe")
    update = phases.make_update(config, build.make_system(config, vgg19))
    size = input_size(config)
    state = jax.eval_shape(partial(init_state, update, image_size=size), jax.random.key(0))
    batch = Batch(**pipeline.abstract_batch(hole_settings(config), size, config.train.batch_size))
    frozen = jax.eval_shape(vgg19.init, jax.random.key(0), batch.image)["params"]

    def mapped(state, frozen, batch):
        stacked = jax.tree.map(lambda x: x[None], (state, frozen, batch))
        return jax.vmap(partial(train_step, update), axis_name=DATA_AXIS)(*stacked)

    after, metrics = jax.eval_shape(mapped, state, frozen, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        assert (new.shape, new.dtype) == ((1, *old.shape), old.dtype)
    assert {value.shape for value in metrics.values()} == {(1,)}


@pytest.mark.slow
@pytest.mark.parametrize(  # mri makes ct's update (tested below); other configs differ from these in sizes and holes
    ("name", "system"),
    [*(("ct", system) for system in SYSTEMS | FINDERS), ("demo", "ipmedgan"), ("small", "unet")],
)
def test_one_update_of_every_config_keeps_shapes_and_types(name, system):
    check_one_update(CONFIGS[name].get_config(system))


@pytest.mark.parametrize(
    "changes",
    [
        {"train__dtype": "bfloat16", "loss__style": 1e-4},
        {"normalisation__statistics": "batch"},
        {"train__ema": 0.9},
        {"holes__kinds": ("square", "blob"), "generator__sees_mask": True},
        {"train__accumulate": 2, "train__generator_updates": 2, "generator__dropout": 0.5},
    ],
)
def test_one_update_of_every_mode_keeps_shapes_and_types(tiny_config, changes):
    check_one_update(tiny_config(**changes))


@pytest.mark.parametrize("system", SYSTEMS | FINDERS)
def test_every_system_learns_from_windows(tiny_config, window_data, system):
    config = tiny_config(system, data__dir=str(window_data), data__window=32, data__image_size=256)
    built = build.build_experiment(config)
    with contextlib.closing(loop.training_batches(built)) as batches:
        found = {key: array.shape for key, array in next(batches).items()}
    expected = pipeline.abstract_batch(built.holes, 32, 4)
    assert found == {key: array.shape for key, array in expected.items()}
    check_one_update(config)


@pytest.mark.parametrize("system", SYSTEMS)
def test_mri_makes_the_same_update_as_ct(system):
    a, b = (module.get_config(system) for module in (ct, mri))
    vgg19 = VGG19("caffe")
    assert build.make_system(a, vgg19) == build.make_system(b, vgg19)
    assert (a.optimiser.to_dict(), a.train.to_dict()) == (b.optimiser.to_dict(), b.train.to_dict())


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_passes_its_own_checks(name, system):
    config = CONFIGS[name].get_config(system)
    check_config(config)
    preparation_settings(config)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("ipmedgan", {"generator": 326_446_848, "global": 2_764_544, "local": 661_248}),
        ("medgan", {"generator": 326_446_848, "global": 2_764_544}),
        ("unet", {"generator": 54_407_808}),
        ("context_encoder", {"generator": 71_124_448, "local": 2_763_521}),
        ("glcic", {"generator": 6_065_377, "joint": 45_053_825}),
        ("glcic_cited", {"generator": 6_063_777, "joint": 45_053_825}),
    ],
)
def test_the_paper_s_configs_have_the_paper_s_networks(name, counts):
    config = ct.get_config(name)
    update = phases.make_update(config, build.make_system(config, VGG19("caffe")))
    state = jax.eval_shape(partial(init_state, update, image_size=256), jax.random.key(0))
    nets = {"generator": state.generator} | state.discriminators
    assert {key: sum(leaf.size for leaf in jax.tree.leaves(net.params)) for key, net in nets.items()} == counts


def test_the_paper_s_training_is_in_its_configs(tiny_config):
    for config in (ct.get_config(), mri.get_config()):
        optimiser = config.optimiser
        assert (optimiser.learning_rate, optimiser.b1, optimiser.b2) == (2e-4, 0.5, 0.999)
        assert (config.data.image_size, config.holes.size, config.train.batch_size, config.train.epochs) == (256, 64, 1, 200)
    assert hole_settings(ct.get_config()).foreground == pytest.approx(-2 / 3)  # -500 HU
    built = build.build_experiment(tiny_config(train__steps=0, train__epochs=2))
    assert built.training.steps == built.dataset.slices["train"] * 2 // 4
    assert build.build_experiment(tiny_config(train__steps=0, train__images=40)).training.steps == 10


@pytest.mark.parametrize(
    ("system", "batch_size"), [("context_encoder", 64), ("glcic", 96), ("glcic_cited", 16), ("medgan", 1)]
)
def test_other_systems_have_their_own_batch_sizes_and_optimisers(system, batch_size):
    config = ct.get_config(system)
    assert config.train.batch_size == batch_size
    assert small.get_config(system).train.batch_size < 16
    assert config.optimiser.name == ("adadelta" if system == "glcic" else "adam")
    assert (config.normalisation.statistics == "batch") == (system != "medgan")


def test_learning_rates_are_proportional_to_the_batch_with_rate_batch(tiny_config):
    def first_step(**changes):
        built = build.build_experiment(tiny_config(train__batch_size=8, optimiser__learning_rate=1e-3, **changes))
        optimiser = built.phases[-1].update.optimiser
        weight = jnp.zeros(())
        return -float(optimiser.update(jnp.ones(()), optimiser.init(weight), weight)[0])

    assert first_step() == pytest.approx(1e-3, rel=1e-4)
    assert first_step(optimiser__rate_batch=2) == pytest.approx(4e-3, rel=1e-4)


def test_the_paper_s_weights_are_in_its_configs():
    for module in (ct, mri):
        loss = module.get_config().loss
        assert (loss.adversarial, loss.local, loss.style, loss.perceptual) == (0.8, 0.2, 1e-4, 1e-4)
        medgan = module.get_config("medgan").loss
        assert (medgan.adversarial, medgan.local) == (1.0, 0.0)


def test_the_perceptual_weight_grows_where_the_image_is_smaller():
    system = build.make_system(small.get_config(), VGG19("caffe"))
    assert system.loss.perceptual == pytest.approx(4e-4)
    unscaled = small.get_config().unlock()
    unscaled.loss.perceptual_scale_by_size = False
    assert build.make_system(unscaled, VGG19("caffe")).loss.perceptual == pytest.approx(1e-4)


def test_every_key_is_used(tiny_config, phantom_data, monkeypatch):
    read = set()
    original = ConfigDict.__getitem__

    def recorded(self, key):
        read.add((id(self), key))
        return original(self, key)

    dataset = dataset_file.load_dataset(phantom_data)
    monkeypatch.setattr(ConfigDict, "__getitem__", recorded)
    monkeypatch.setattr(build, "as_json", lambda config: {"data": {}})
    monkeypatch.setattr(build, "check_config", lambda config: None)  # a check reads keys without using them
    monkeypatch.setattr(datasets.phantom, "write_phantoms", lambda *_, **__: [])
    monkeypatch.setattr(datasets.preparation, "prepare", lambda *_, **__: None)
    monkeypatch.setattr(datasets.dataset_file, "load_dataset", lambda _: dataset)
    unused = set(saved_config.flattened(base.get_config().to_dict()))
    for system in SYSTEMS | FINDERS:
        config = tiny_config(system, train__steps=0, data__dir="")
        groups = {"": config} | {name: value for name, value in config.items() if isinstance(value, ConfigDict)}
        names = {(id(group), key): f"{name}.{key}".lstrip(".") for name, group in groups.items() for key in group}
        read.clear()  # the lines above read keys too
        build.build_experiment(config)
        unused -= {names[access] for access in read if access in names}
    assert unused == {"holes.avoid", "train.deterministic"}  # the commands `prepare` and `main` read them


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modality": "pet"}, "config.modality is 'pet': expected one of mri, ct"),
        ({"normalisation__statistics": "layer"}, "config.normalisation.statistics is 'layer'"),
        ({"loss__perceptual_reduction": "max"}, "config.loss.perceptual_reduction is 'max'"),
        ({"train__dtype": "float16"}, "config.train.dtype is 'float16'"),
        ({"holes__size": 18}, "config.holes.size is 18: expected a multiple of 4 for the local discriminator"),
        (
            {"discriminator__layers": 4, "loss__perceptual_layers": (1.0,) * 6},
            "config.discriminator.layers is 4: leaves no logit for 32 pixels",
        ),
        ({"optimiser__b1": 1.5}, "config.optimiser.b1 is 1.5: expected 0 to 0.999999"),
        ({"train__steps_per_dispatch": 3}, "config.train.steps is 4: expected a multiple of train.steps_per_dispatch, 3"),
        ({"train__best": "beauty"}, "config.train.best is 'beauty'"),
        ({"data__image_size": 100}, "config.data.image_size is 100: expected a power of two"),
        ({"holes__size": 8}, "config.holes.size is 8: expected 16 to data.image_size, 32"),
        ({"loss__l1_region": "brain"}, "config.loss.l1_region is 'brain': expected one of hole, image"),
        ({"evaluation__checkpoint": "first"}, "config.evaluation.checkpoint is 'first': expected best, latest or a step"),
        ({"holes__size": 64}, "config.holes.size is 64: expected 16 to data.image_size, 32"),
        ({"holes__fill": -1000.0}, "config.holes.fill is -1000.0: expected -1 to 1"),
        ({"holes__kinds": ("square", "star")}, r"config.holes.kinds is .*: expected some of square, .*, lesion"),
        ({"holes__shares": (1.0, 2.0)}, "config.holes.shares is .*: expected a share for each of 1 kinds"),
        ({"holes__smallest": 17}, "config.holes.smallest is 17: expected 1 to holes.size, 16"),
        ({"holes__kinds": ("lesion",)}, "no NIfTI file .* matches ''"),
        ({"train__ema": 1.0}, "config.train.ema is 1.0: expected 0 to 0.999999"),
        ({"train__steps": -1}, "config.train.steps is -1: expected at least 0"),
        *(
            ({key.replace(".", "__"): 0}, f"config.{key} is 0: expected (at least 1|1 to )")
            for key, (low, _) in _RANGES.items()
            if low == 1
        ),
        ({"loss__perceptual_layers": (1.0,)}, r"config.loss.perceptual_layers has 1 weights: expected 4"),
        ({"augment__noise": -0.1}, r"config\.augment\.noise is -0\.1: expected 0 to 0\.5"),
        ({"augment__scale": 0.8}, r"config\.augment\.scale is 0\.8: expected 0 \(off\) or a factor of at least 1"),
        ({"augment__gamma": 0.5}, r"config\.augment\.gamma is 0\.5: expected 0 \(off\) or"),
        ({"augment__bias": 0.1, "train__target_cache_gib": 1.0}, r"target_cache_gib keeps .*expected 0 with config\.augment"),
        (
            {"data__window": 32, "train__target_cache_gib": 1.0},
            r"target_cache_gib keeps .*expected 0 with config\.data\.window",
        ),
        ({"data__window": 48}, r"config\.data\.window is 48: expected a power of two of at least 32"),
        ({"data__window": 32, "holes__size": 64}, r"config\.holes\.size is 64: expected 16 to data\.window, 32"),
        ({"data__window": 32}, r"holds slices brought to 32 pixels, but config\.data\.window is 32: prepare it again"),
        ({"optimiser__decay": 1.5}, r"config\.optimiser\.decay is 1\.5: expected 0 to 1"),
        ({"optimiser__warmup_steps": -1}, r"config\.optimiser\.warmup_steps is -1: expected at least 0"),
        ({"system": "finder", "augment__crop": 0.2}, r"config\.augment\.crop is 0\.2: expected 0 for finder"),
        ({"loss__style_layers": (1.0,)}, r"config.loss.style_layers has 1 weights: expected 5"),
        ({"data__image_size": 64}, "prepared with data.image_size 32, the config has 64"),
        ({"modality": "mri"}, "prepared with modality 'ct', the config has 'mri'"),
        ({"data__dir": "/nowhere"}, r"/nowhere/dataset.json: not found"),
        ({"data__fold": "1 of 3"}, r"prepared without folds, but config.data.fold is '1 of 3'; name the folder of that fold"),
        ({"holes__avoid": "masks/*.nii"}, r"prepared without the masks of config.holes.avoid; prepare the data again"),
    ],
)
def test_settings_that_cannot_be_run_are_named(tiny_config, changes, message):
    with pytest.raises(UserError, match=message):
        build.build_experiment(tiny_config(**changes))


def test_data_of_whole_slices_are_for_windows_alone(tiny_config, window_data):
    with pytest.raises(UserError, match=r"holds whole slices, but config\.data\.window is 0: prepare it again"):
        build.build_experiment(tiny_config(data__dir=str(window_data)))
    with pytest.raises(UserError, match=r"prepared with data\.window 32, the config has 64"):
        build.build_experiment(tiny_config(data__dir=str(window_data), data__window=64))
    built = build.build_experiment(tiny_config(data__dir=str(window_data), data__window=32, data__image_size=64))
    assert (built.holes.window, built.describe_data()["window"]) == (32, 32)
    assert build.build_experiment(tiny_config()).describe_data()["window"] == 0


def test_an_unknown_system_is_refused(tiny_config):
    config = tiny_config().unlock()
    config.system = "gan"
    with pytest.raises(UserError, match=r"system is 'gan': expected one of ipmedgan, .*unet"):
        build.build_experiment(config)


def test_an_unknown_system_in_the_config_suffix_is_refused():
    with pytest.raises(UserError, match=r"config\.system is 'medgam': expected one of"):
        check_config(ct.get_config("medgam"))


@pytest.mark.parametrize(("system", "differing"), [("glcic", ["train.images"]), ("unet", [])])
def test_a_run_whose_phases_are_shares_of_its_length_keeps_its_length(system, differing):
    saved = small.get_config(system).to_dict()
    longer = small.get_config(system).unlock()
    longer.train.images = 99
    assert saved_config.differing_keys(saved, longer.to_dict()) == differing


def test_a_misspelt_key_is_refused():
    with pytest.raises(AttributeError, match="learning_rat"):
        ct.get_config().optimiser.learning_rat = 1.0


def test_a_config_survives_its_file(tiny_config):
    config = tiny_config("medgan")
    again = saved_config.from_json(saved_config.as_json(config))
    assert saved_config.as_json(again) == saved_config.as_json(config)
    assert again.data.window_hu == config.data.window_hu


def test_only_keys_that_change_the_run_s_numbers_count_as_another_config(tiny_config):
    a = saved_config.as_json(tiny_config())
    b = saved_config.as_json(tiny_config(train__steps=9, train__minutes=3.0, evaluation__batch_size=1))
    c = saved_config.as_json(tiny_config(loss__style=0.5, holes__fill=0.0))
    assert saved_config.differing_keys(a, b) == []
    assert saved_config.differing_keys(a, c) == ["holes.fill", "loss.style"]


def test_without_data_the_phantom_is_made_once(tiny_config, cache_folder, caplog):
    changes = {"data__dir": "", "phantom__subjects": 4, "phantom__slices": 2}
    first = find_dataset(tiny_config(**changes))
    marker = first.directory / "dataset.json"
    time = marker.stat().st_mtime_ns
    again = find_dataset(tiny_config(**changes))
    assert marker.stat().st_mtime_ns == time
    assert again.directory.is_relative_to(cache_folder)
    assert all(again.subjects[split] for split in ("train", "validation", "test"))


def test_data_prepared_with_other_settings_than_the_config_s_give_a_warning(tiny_config, caplog):
    build.build_experiment(tiny_config(data__window_hu=(-200.0, 1000.0)))
    assert "prepared with data.window_hu [-1000.0, 2000.0]; this is used" in caplog.text


def test_older_data_are_warned_of_and_their_foreground_is_used(tiny_config, phantom_data, tmp_path, caplog):
    folder = without_digests(shutil.copytree(phantom_data, tmp_path / "old"), 1)
    content = json.loads((folder / "dataset.json").read_text())
    content["settings"].pop("foreground")
    (folder / "dataset.json").write_text(json.dumps(content))
    built = build.build_experiment(tiny_config(data__dir=str(tmp_path / "old")))
    assert "prepared with data.foreground 'threshold'; this is used" in caplog.text
    assert "clear_of_masks" not in built.describe_holes()


def test_a_run_takes_the_fold_of_its_data_and_refuses_another(tiny_config, phantom_data, tmp_path, caplog):
    folder = without_digests(shutil.copytree(phantom_data, tmp_path / "fold"), 1)
    content = json.loads((folder / "dataset.json").read_text())
    content["settings"] |= {"fold": "2 of 4", "foreground": "head"}
    (folder / "dataset.json").write_text(json.dumps(content))
    built = build.build_experiment(tiny_config(data__dir=str(folder)))
    named = build.build_experiment(tiny_config(data__dir=str(folder), data__fold="2 of 4"))
    assert built.config == named.config
    assert built.config["data"]["fold"] == built.describe_data()["fold"] == "2 of 4"
    assert built.describe_data()["division"] == built.dataset.division != ""
    assert ("fold", "2 of 4") in run_facts.data_rows(built)
    assert "prepared with data.fold" not in caplog.text
    with pytest.raises(UserError, match=r"prepared as fold 2 of 4, but config.data.fold is '3 of 4'"):
        build.build_experiment(tiny_config(data__dir=str(folder), data__fold="3 of 4"))


def test_a_run_on_data_with_masks_says_that_its_holes_are_clear_of_them(tiny_config, phantom_data, tmp_path):
    shutil.copytree(phantom_data, tmp_path / "avoid")
    content = json.loads((tmp_path / "avoid" / "dataset.json").read_text())
    next(iter(content["volumes"].values()))["avoided"] = "12ab"
    (tmp_path / "avoid" / "dataset.json").write_text(json.dumps(json_fields.sealed(content)))
    built = build.build_experiment(tiny_config(data__dir=str(tmp_path / "avoid"), holes__avoid="masks/*.nii"))
    assert built.holes.avoids
    assert built.describe_holes()["clear_of_masks"] is True


def test_prepare_refuses_an_image_size_that_no_network_takes():
    config = ct.get_config().unlock()
    config.data.image_size = 200
    with pytest.raises(UserError, match=r"config\.data\.image_size is 200: expected a power of two"):
        preparation_settings(config)


def test_a_cache_that_cannot_be_written_is_named(tiny_config, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"file/ipmedgan_jax/phantom-ct-.*: cannot be written .*set XDG_CACHE_HOME to a"):
        find_dataset(tiny_config(data__dir=""))


def test_a_batch_of_zero_is_refused():
    with pytest.raises(UserError, match="nearest sizes 4"):
        devices.check_batch_size(0, 1)


def test_an_old_run_of_ipmedgan_plus_is_one_of_casnet_plus_and_a_new_one_is_not(tiny_config):
    def system_of(saved, *, without):
        group, _, name = without.partition(".")
        saved[group].pop(name)
        return saved_config.with_added_keys(saved)["system"]

    for name, expected in (("ipmedgan_plus", "casnet_plus"), ("ipmedgan", "ipmedgan"), ("casnet_plus", "casnet_plus")):
        assert system_of(saved_config.as_json(tiny_config(name)), without="generator.noise") == expected
        assert system_of(saved_config.as_json(tiny_config(name)), without="augment.noise") == name


def test_a_config_older_than_a_key_has_the_value_that_changes_nothing(tiny_config):
    saved = saved_config.as_json(tiny_config(data__foreground="threshold"))
    old = json.loads(json.dumps(saved))
    for key in ADDED_KEYS:
        group, _, name = key.partition(".")
        del old[group][name]
    assert saved_config.with_added_keys(old) == saved
    assert old != saved  # the argument is not changed


def test_a_damaged_phantom_is_made_again(tiny_config, monkeypatch):
    config = tiny_config(data__dir="", phantom__subjects=4, phantom__slices=2)
    first = datasets.find_dataset(config)
    (first.directory / "dataset.json").write_text("{")
    (first.directory / "train" / "stray.arrayrecord").touch()
    assert datasets.find_dataset(config) == first
    assert not (first.directory / "train" / "stray.arrayrecord").exists()
