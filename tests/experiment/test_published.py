"""A run's settings beside the published ones."""

from ipmedgan_jax.configs import mri, small
from ipmedgan_jax.experiment import published, saved_config


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
