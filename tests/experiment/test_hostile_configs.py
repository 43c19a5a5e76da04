"""Configs of others: runs and models hold them as JSON, so whatever is in them gives a network soon, or a UserError."""

import contextlib
import json
import time

import pytest
from hostile import VALUES, altered, replaced
from hypothesis import given
from hypothesis import strategies as st
from properties import property_test

from ipmedgan_jax.configs import demo
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.experiment import run_folder, saved_config

SECONDS = 20


def config_of(system):
    return saved_config.as_json(demo.get_config(system)) | {"provenance": []}


def build(folder):
    inference = run_folder.read_inference(folder)
    run_folder.generator_shapes(inference.system, inference.preparation.image_size)
    return inference


@pytest.mark.parametrize("system", ["", "casnet_plus", "ipmedgan_plus", "finder"])
@property_test
@given(data=st.data())
def test_a_changed_config_builds_a_network_or_is_refused(system, data, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "config"
    folder.mkdir(exist_ok=True)
    config = data.draw(replaced(config_of(system), places=2))
    (folder / "config.json").write_text(json.dumps(config))
    start = time.monotonic()
    with contextlib.suppress(UserError):
        build(folder)
    assert time.monotonic() - start < SECONDS


@pytest.mark.parametrize(
    "key",
    ["generator.blocks", "generator.width", "discriminator.layers", "discriminator.width", "data.image_size", "holes.size"],
)
@pytest.mark.parametrize("value", [value for value in VALUES if value != 1])
def test_sizes_of_networks_are_bounded(key, value, tmp_path):
    config = config_of("")
    group, _, name = key.partition(".")
    config[group][name] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"config\.|damaged|version"):
        build(tmp_path)


@property_test
@given(data=st.data())
def test_altered_bytes_of_a_config_or_of_the_training_data_are_one_error(data, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "altered"
    folder.mkdir(exist_ok=True)
    for name, content in (("config.json", config_of("")), ("data.json", {"subjects": 3, "preparation": {"modality": "mri"}})):
        (folder / name).write_bytes(data.draw(altered(json.dumps(content).encode())))
    with contextlib.suppress(UserError):
        run_folder.read_training_data(folder)
    with contextlib.suppress(UserError):
        run_folder.read_inference(folder)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000, "1" * 10_000, "\xff", '{"a": 1, "a": 2}', ""]
)
@pytest.mark.parametrize("name", ["config.json", "data.json"])
def test_json_that_no_reader_takes_is_damaged(name, text, tmp_path):
    (tmp_path / name).write_bytes(text.encode("latin1"))
    read = {"config.json": run_folder.read_config, "data.json": run_folder.read_training_data}[name]
    with pytest.raises(UserError, match=rf"{name}: damaged \("):
        read(tmp_path)
