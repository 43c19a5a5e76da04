"""A run's settings beside the published ones."""

import dataclasses
import inspect
import re
import sys

import pytest

from ipmedgan_jax.configs import mri, mri_any, small
from ipmedgan_jax.experiment import build, published, saved_config
from ipmedgan_jax.experiment.settings import hole_settings
from ipmedgan_jax.networks.vgg19 import VGG19
from ipmedgan_jax.systems.building_blocks import BuildingBlocks, LossSettings
from ipmedgan_jax.systems.registry import FINDERS, SYSTEMS


def settings_of(config):
    return {setting.key: setting for setting in published.beside_published(saved_config.as_json(config))}


def test_the_paper_s_own_config_has_no_changed_setting():
    for system in ("", "medgan", "glcic", "ipmedgan_plus"):
        found = settings_of(mri.get_config(system))
        assert not [key for key, setting in found.items() if setting.is_changed]


def test_changed_settings_lead_and_those_that_change_results_come_first():
    config = small.get_config().unlock()
    config.data.dir = "/home/somebody/data/flair"
    found = list(settings_of(config).values())
    order = [(not setting.is_changed, not setting.changes_results) for setting in found]
    assert order == sorted(order)
    width = settings_of(config)["generator.width"]
    assert (width.value, width.published, width.meaning) == ("32", "64", "channels of the first layer")
    assert (settings_of(config)["data.dir"].value, settings_of(config)["data.dir"].changes_results) == ("flair", False)


def test_every_setting_has_its_meaning():
    without = [key for key, setting in settings_of(mri.get_config()).items() if not setting.meaning]
    assert without == []


def test_subjects_are_counted_and_not_named():
    config = mri.get_config().unlock()
    config.data.test_subjects = ("Doe_Jane", "Doe_John")
    found = settings_of(config)
    assert found["data.test_subjects"].value == "2 names"
    assert "Doe" not in published.markdown(list(found.values()), "the paper")


def test_what_settings_are_compared_with_is_named():
    assert published.published_name({"modality": "mri", "system": "ipmedgan"}) == "the paper (configs/mri.py:ipmedgan)"
    assert published.published_name({"modality": "ct", "system": "ipmedgan_plus"}) == "configs/ct.py:ipmedgan_plus"


def test_a_system_without_a_paper_has_defaults_and_not_published_settings():
    titles = {system: published.column_title({"system": system}) for system in SYSTEMS | FINDERS}
    assert {system for system, title in titles.items() if title == "default"} == published.OWN_SYSTEMS
    assert set(titles.values()) == {"default", "published"}


def test_a_setting_that_the_system_does_not_use_does_not_change_its_results():
    changed = {key: setting for key, setting in settings_of(small.get_config("unet")).items() if setting.is_changed}
    assert changed["discriminator.width"].is_used is changed["discriminator.width"].changes_results is False
    assert changed["generator.width"].changes_results
    assert not settings_of(mri_any.get_config("unet"))["generator.sees_mask"].is_used
    settings = published.beside_published(saved_config.as_json(small.get_config("unet")))
    order = [(not setting.is_changed, not setting.is_used) for setting in settings if setting.is_changed]
    assert order == sorted(order)


BLOCKS = {
    "fill": "holes.fill", "unet_blocks": "generator.blocks", "width": "generator.width", "dropout": "generator.dropout",
    "stacked": "generator.stacked", "remat": "generator.remat", "sees_mask": "generator.sees_mask",
    "smooth_start": "generator.smooth_start", "noise": "generator.noise", "opposite": "generator.opposite",
    "discriminator_width": "discriminator.width", "discriminator_layers": "discriminator.layers",
    "normalise": "normalisation.statistics", "vgg19": "vgg19.weights",
}  # fmt: skip


@pytest.mark.parametrize("system", [*SYSTEMS, *FINDERS])
def test_a_key_is_unused_exactly_if_the_system_s_code_does_not_read_it(system, monkeypatch):
    """Of the building blocks by what its maker reads, of the losses by what its module names."""
    read = set()

    def recorded(blocks, name):
        read.add(name)
        return object.__getattribute__(blocks, name)

    monkeypatch.setattr(BuildingBlocks, "__getattribute__", recorded)
    build.make_system(mri.get_config(system), VGG19("caffe"))
    used = {key for name, key in BLOCKS.items() if name in read}
    source = inspect.getsource(sys.modules[(SYSTEMS | FINDERS)[system].__module__])
    used |= {f"loss.{name}" for name in re.findall(r"\bloss\.(\w+)", source)}
    if "loss.perceptual" in used:  # `loss_settings` gives it the weight
        used |= {"loss.perceptual_reduction", "loss.perceptual_scale_by_size"}
    losses = {f"loss.{field.name}" for field in dataclasses.fields(LossSettings)}
    is_used = {key: setting.is_used for key, setting in settings_of(mri.get_config(system)).items()}
    assert {key for key in losses | set(BLOCKS.values()) if is_used[key]} == used & (losses | set(BLOCKS.values()))
    assert is_used["damage.intact"] == (hole_settings(mri.get_config(system)).damage is not None)
    assert is_used["loss.perceptual_scale_by_size"] == is_used["loss.perceptual"]
    assert is_used["optimiser.discriminator_rate"] == is_used["discriminator.width"]
