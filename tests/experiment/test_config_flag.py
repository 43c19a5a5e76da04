"""The flag --config: how a config is found and read, and the errors if it cannot be."""

import os
import sys
from pathlib import Path

import pytest

from ipmedgan_jax.configs import base, small
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.experiment import config_flag

ROOT = Path(__file__).parents[2]
NAMES = "base, ct, ct_any, ct_small, demo, flair, mri, mri_any, small, small_any, small_tuned"

OWN = """
from ipmedgan_jax.configs import base

def get_config(system=""):
    config = base.get_config().unlock()
    config.train.epochs = 3
    return base.for_system(config, system)
"""


def parsed(argument, *overrides, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ipmedgan train", f"--config={argument}", *overrides])
    return config_flag._Parser().parse(argument)


@pytest.mark.parametrize("folder", ["/", ROOT])
@pytest.mark.parametrize("argument", ["small", "configs/small.py", "./configs/small.py", str(ROOT / "configs" / "small.py")])
def test_a_shipped_config_is_found_from_any_folder(monkeypatch, capsys, folder, argument):
    monkeypatch.chdir(folder)
    assert parsed(f"{argument}:unet", monkeypatch=monkeypatch) == small.get_config("unet")
    is_announced = argument.removeprefix("./") == "configs/small.py" and folder == "/"
    assert ("not in this folder; using the shipped" in capsys.readouterr().err) is is_announced


def test_the_tuned_config_changes_ip_medgan_alone(monkeypatch):
    assert parsed("small_tuned:unet", monkeypatch=monkeypatch) == small.get_config("unet")
    assert parsed("small_tuned:ipmedgan", monkeypatch=monkeypatch) == parsed("small_tuned", monkeypatch=monkeypatch)
    assert parsed("small_tuned", monkeypatch=monkeypatch) != small.get_config()


def test_a_user_s_file_comes_before_the_shipped_one_of_the_same_path(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    for path in ("configs/ct.py", "mine.py", "small"):
        Path(path).write_text(OWN)
    for argument in ("configs/ct.py:medgan", "mine.py:medgan", f"{tmp_path}/mine.py:medgan"):
        config = parsed(argument, monkeypatch=monkeypatch)
        assert (config.train.epochs, config.system) == (3, "medgan")
    assert parsed("small", monkeypatch=monkeypatch) == small.get_config()  # a name is no path


def test_a_path_in_the_home_folder_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.py").write_text(OWN)
    assert parsed("~/mine.py", monkeypatch=monkeypatch).train.epochs == 3


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("smal", f"--config=smal: no such config; shipped are {NAMES}; did you mean --config=small?"),
        ("xyzzy", f"--config=xyzzy: no such config; shipped are {NAMES}, or give a file"),
        ("configs/nowhere.py", f"--config=configs/nowhere.py: no such file; shipped are {NAMES}, or give a file"),
        ("elsewhere/ct.py", f"--config=elsewhere/ct.py: no such file; shipped are {NAMES}; did you mean --config=ct?"),
    ],
)
def test_the_error_for_an_unknown_config_names_the_shipped_ones(argument, message):
    with pytest.raises(UserError) as error:
        config_flag.find(argument)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def get_config(:", "cannot be read (SyntaxError: "),
        ("x = 1", "cannot be read (AttributeError: "),
        ("def get_config(): return 1 / 0", "cannot be read (ZeroDivisionError: division by zero)"),
        ("def get_config(): return {}", "get_config returned dict, expected a ConfigDict"),
    ],
)
def test_the_error_for_a_file_that_is_no_config_gives_the_reason(tmp_path, source, message):
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(UserError) as error:
        config_flag.load(tmp_path / "mine.py")
    assert str(error.value).startswith(f"{tmp_path}/mine.py: {message}")


def test_the_error_for_an_import_from_configs_says_what_to_write(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path and Path(path).resolve() != ROOT])
    monkeypatch.delitem(sys.modules, "configs", raising=False)
    (tmp_path / "mine.py").write_text("from configs import base")
    with pytest.raises(UserError, match=r"No module named 'configs'\): write `from ipmedgan_jax\.configs import \.\.\.`"):
        config_flag.load(tmp_path / "mine.py")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.train.step=3", "config.train.step: no such key; did you mean config.train.steps?"),
        ("--config.steps", "config.steps: no such key; did you mean config.train.steps?"),
        ("--config.trian.steps=3", "config.trian.steps: no such key; did you mean config.train.steps?"),
        ("--noconfig.train.miror", "config.train.miror: no such key; did you mean config.train.mirror?"),
        ("-config.holes.sise=3", "config.holes.sise: no such key; did you mean config.holes.size?"),
        ("--config.xyzzy=3", "config.xyzzy: no such key; --print_config prints all"),
        ("--config.system=unet", "config.system is set by the config's suffix: --config=NAME:SYSTEM, see --help"),
    ],
)
def test_a_misspelt_key_names_the_nearest_right_one(override, message):
    with pytest.raises(UserError) as error:
        config_flag.check_keys(base.get_config(), [f"--config={os.devnull}", "--workdir=x", override])
    assert str(error.value) == message


def test_known_keys_and_groups_pass():
    config_flag.check_keys(base.get_config(), ["--config.train.steps=3", "--noconfig.train.mirror", "--config.damage={}"])


def test_the_help_names_every_shipped_config_and_its_purpose():
    lines = config_flag._help("the settings").splitlines()[1:]
    assert [line.split()[0] for line in lines] == NAMES.split(", ")
    assert all(len(line.split()) > 4 for line in lines)
