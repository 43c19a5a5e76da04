"""`data.json` and `config.json` of a run: a changed or damaged one is refused in one line that names it."""

import json

import pytest

from ipmedgan_jax.core import json_fields
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import dataset_file
from ipmedgan_jax.experiment import run_folder, saved_config
from tests.changed_json import OTHERS, REMOVED, changed, places


@pytest.fixture
def described(phantom_data):
    return json.loads(json.dumps(dataset_file.load_dataset(phantom_data).training_data()))


def test_every_changed_field_of_data_json_is_noticed(described, tmp_path):
    sealed = json_fields.sealed(described)
    (tmp_path / "data.json").write_text(json.dumps(sealed))
    assert run_folder.read_training_data(tmp_path) == described
    for place in places(described):
        for value in (REMOVED, "other", 77):
            (tmp_path / "data.json").write_text(changed(sealed, place, value))
            with pytest.raises(UserError, match=r"data.json: damaged .*; move it away to continue without it"):
                run_folder.read_training_data(tmp_path)


def test_every_changed_setting_of_config_json_is_noticed(tiny_config, tmp_path):
    config = saved_config.as_json(tiny_config("unet"))
    sealed = json_fields.sealed(config)
    (tmp_path / "config.json").write_text(json.dumps(sealed))
    assert run_folder.read_config(tmp_path) == config
    for place in places(config):
        for value in (REMOVED, "other", 77, 0.5, True):
            if (text := changed(sealed, place, value)) != json.dumps(sealed):
                (tmp_path / "config.json").write_text(text)
                with pytest.raises(
                    UserError, match=r"config.json: (was changed since|damaged|is of the system|has the setting)"
                ):
                    run_folder.read_config(tmp_path)


def test_an_older_data_json_is_read_or_refused_whatever_it_holds(described, tmp_path):
    refused = 0
    for place in places(described):
        for value in OTHERS:
            (tmp_path / "data.json").write_text(changed(described, place, value))
            try:
                assert run_folder.read_training_data(tmp_path).keys() <= described.keys()
            except UserError:
                refused += 1
    assert refused > 200


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000])
@pytest.mark.parametrize("name", ["data.json", "config.json"])
def test_what_is_no_json_object_is_named(tmp_path, name, text):
    (tmp_path / name).write_bytes(text)
    read = {"data.json": run_folder.read_training_data, "config.json": run_folder.read_config}[name]
    with pytest.raises(UserError, match=f"{name}: damaged"):
        read(tmp_path)


def test_a_run_without_data_json_has_none(tmp_path):
    assert run_folder.read_training_data(tmp_path) == {}
