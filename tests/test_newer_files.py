"""Files of a newer version are refused in one line that says so, in every command that opens them."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from ipmedgan_jax import configs
from ipmedgan_jax.configs import base
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import dataset_file
from ipmedgan_jax.experiment import config_flag, run_folder, saved_config
from ipmedgan_jax.inpainting import exported, exported_weights, load_run
from ipmedgan_jax.training import start

FILES = Path(__file__).parent / "data" / "old_files"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files of a commit in tests/data/old_files: `prepared`, a run and its models."""
    folder = tmp_path_factory.mktemp("files")
    with tarfile.open(FILES / "2026-11-26_70e477f" / "files.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def changed(source, target, change):
    """Copies a folder; `change` edits the content of its JSON file of that name."""
    shutil.copytree(source, target)
    ((name, edit),) = change.items()
    content = json.loads((target / name).read_text())
    edit(content)
    content.pop("fields_sha256", None)
    (target / name).write_text(json.dumps(content))
    return target


def with_new_setting(content):
    content["train"]["teleport"] = 3
    content["provenance"] = [{"ipmedgan_jax": "0.9.0", "commit": "abc1234"}]


def with_new_system(content):
    content["system"] = "diffusion"


COMMANDS = {
    "evaluate": run_folder.read_experiment,
    "evaluate --print_config, export --format=weights": run_folder.read_config,
    "inpaint, export": lambda run: load_run.load_network(run, "best"),
    "inpaint --finder": lambda run: load_run.load_finder(run, "best"),
    "main with train.start_from": lambda run: start.with_generator_of(run, None),
    "main": lambda run: run_folder.check_same_run(None, run),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            with_new_setting,
            r"config.json: has the setting train.teleport, which ipmedgan_jax .* does not have: written by "
            r"ipmedgan_jax 0.9.0 at commit abc1234; update the package",
        ),
        (with_new_system, r"is of the system diffusion, which .* does not have: written by .*; update the package"),
    ],
)
def test_a_run_of_a_newer_version_is_refused(files, tmp_path, command, edit, message):
    run = changed(files / "run_ipmedgan", tmp_path / "run", {"config.json": edit})
    with pytest.raises(UserError, match=message):
        COMMANDS[command](run)


def test_data_of_a_newer_version_are_refused(files, tmp_path):
    newer = dataset_file.FORMAT_VERSION + 1
    data = changed(files / "prepared", tmp_path / "data", {"dataset.json": lambda c: c.update(format_version=newer)})
    with pytest.raises(UserError, match=rf"got {newer}: written by a newer version; update the package"):
        dataset_file.load_dataset(data)


def test_models_of_a_newer_version_are_refused(files, tmp_path):
    for reader, name in ((exported.read, "model_ipmedgan_stablehlo"), (exported_weights.read, "model_ipmedgan_weights")):
        newer = changed(files / name, tmp_path / name, {"model.json": lambda c: c.update(format_version=4)})
        with pytest.raises(UserError, match=r"has format 4, .* reads formats 1 to 3; update the package"):
            reader(newer)
    newer = changed(files / name, tmp_path / "config", {"model.json": lambda c: with_new_setting(c["config"])})
    with pytest.raises(UserError, match=r"model.json: has the setting train.teleport, .*; update the package"):
        exported_weights.read(newer)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c["train"].pop("steps"), r"damaged \(no field train.steps"),
        (lambda c: c["train"].update(steps="4"), r"damaged \(train.steps: expected a number, found a text"),
        (lambda c: c["train"].update(mirror=1), r"damaged \(train.mirror: expected true or false, found a number"),
        (lambda c: c.update(train=3), r"damaged \(train: expected an object"),
        (lambda c: c.update(system=None), r"damaged \(system: expected a text"),
        (lambda c: c["data"].update(window_hu=[{}, []]), "damaged"),
    ],
)
def test_a_damaged_config_of_a_run_is_named_with_its_setting(files, tmp_path, edit, message):
    run = changed(files / "run_ipmedgan", tmp_path / "run", {"config.json": edit})
    with pytest.raises(UserError, match=rf"config.json: {message}"):
        run_folder.read_inference(run)


def test_a_config_file_with_a_key_that_no_setting_has_is_refused(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from ipmedgan_jax.configs import base\n"
        "def get_config(system=''):\n"
        "    config = base.get_config(system).unlock()\n"
        "    config.train.step = 5\n"
        "    return config\n"
    )
    with pytest.raises(UserError, match=r"mine.py: config.train.step: no such key; did you mean config.train.steps"):
        config_flag.load(path)


def test_every_shipped_config_has_the_settings_of_base_alone():
    known = saved_config.flattened(base.get_config().to_dict()).keys()
    for path in Path(configs.__file__).parent.glob("[a-z]*.py"):
        assert saved_config.flattened(config_flag.load(path).to_dict()).keys() == known, path


def test_a_run_whose_data_moved_is_told_evaluate_s_own_flag(files, tmp_path):
    run = changed(files / "run_ipmedgan", tmp_path / "run", {"config.json": lambda c: c["data"].update(dir="/moved/away")})
    with pytest.raises(UserError, match=r"/moved/away: not found; say by --data_dir where"):
        run_folder.read_experiment(run)
    assert run_folder.read_inference(run).name == "ipmedgan"
