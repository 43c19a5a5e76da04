"""Every file that describes results says what made it, and none holds a home folder."""

import json
import os
import shutil

import nibabel
import numpy as np
import pytest

from ipmedgan_jax.core import json_fields, provenance
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import dataset_file, preparation, records
from ipmedgan_jax.evaluation import comparison, evaluated_runs
from ipmedgan_jax.evaluation.evaluate_run import evaluate_run
from ipmedgan_jax.evaluation.seed_groups import group_seeds
from ipmedgan_jax.experiment import build, run_folder, saved_config
from ipmedgan_jax.imaging.settings import PreparationSettings
from ipmedgan_jax.inpainting import exported, load_run, model_card
from ipmedgan_jax.training import loop

ENTRIES = {"ipmedgan_jax", "commit", "jax", "machine", "devices", "date", "command"}


@pytest.fixture
def run(tiny_config, phantom_data, tmp_path, monkeypatch):
    """A trained and evaluated run in a home folder, on data in that home folder, with paths given in full."""
    home = tmp_path / "home" / "ada"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("sys.argv", ["ipmedgan train", f"--workdir={home}/run"])
    shutil.copytree(phantom_data, home / "data")
    built = build.build_experiment(tiny_config("unet", data__dir=str(home / "data"), train__steps=2))
    loop.train(built, home / "run")
    evaluate_run(built, home / "run")
    return home / "run"


def test_all_files_of_a_run_have_a_provenance_and_no_home_folder(run, tmp_path):
    groups = group_seeds([evaluated_runs.read(run)])
    comparison.write(groups, tmp_path / "out", reference=groups[0], cases=1, caption="")
    network = load_run.load_network(run, "best")
    generator = network.generator()
    exported.write(tmp_path / "model", generator, network.program, network.weights, model_card.card(generator, None))
    config, metrics, model, table = (
        json.loads(path.read_text())
        for path in (
            *(run / "config.json", run / "evaluation" / "metrics.json"),
            *(tmp_path / "model" / "model.json", tmp_path / "out" / "provenance.json"),
        )
    )
    (started,) = config["provenance"]
    for made in (started, metrics["provenance"], model["provenance"], table):
        assert made.keys() >= ENTRIES
        assert made["command"] == "ipmedgan train '--workdir=~/run'"
    assert config["data"]["dir"] == metrics["data"]["directory"] == "~/data"
    assert metrics["weights_sha256"] == generator.weights_sha256 == exported.read(tmp_path / "model").weights_sha256
    assert table["runs"][0]["weights_sha256"] == generator.weights_sha256
    assert "`Made 2" in (tmp_path / "out" / "table.md").read_text()
    assert (tmp_path / "out" / "table.tex").read_text().startswith("% Made 2")
    assert b"Made 2" in b"".join(path.read_bytes() for path in (run / "tensorboard").iterdir())
    for path in [*run.rglob("*"), *(tmp_path / "model").iterdir(), *(tmp_path / "out").iterdir()]:
        if path.is_file() and "checkpoints" not in path.parts:
            assert str(run.parent).encode() not in path.read_bytes(), path


def test_a_run_is_found_again_and_its_start_is_kept(run, tiny_config, monkeypatch):
    again = run_folder.read_experiment(run)  # its data are in `~/data`
    assert again.dataset.directory == run.parent / "data"
    assert provenance.KEY not in again.config
    first = json.loads((run / "config.json").read_text())["provenance"]
    for command, count in (("ipmedgan train", 2), ("ipmedgan train", 2), ("ipmedgan train --x", 3)):
        monkeypatch.setattr("sys.argv", command.split(" --x")[:1] + (["--x"] if "--x" in command else []))
        loop.train(again, run)
        history = json.loads((run / "config.json").read_text())["provenance"]
        assert (history[0], len(history)) == (first[0], count)


@pytest.mark.parametrize("key", saved_config.PATH_KEYS)
def test_a_run_that_was_saved_with_full_paths_is_the_same_run(tiny_config, monkeypatch, key):
    monkeypatch.setenv("HOME", "/somewhere/ada")
    group, _, name = key.partition(".")
    config = saved_config.as_json(tiny_config(**{f"{group}__{name}": "/somewhere/ada/x,/data/y"}))
    assert config[group][name] == "~/x,/data/y"
    old = json.loads(json.dumps(config))
    old[group][name] = "/somewhere/ada/x,/data/y"
    assert saved_config.differing_keys(saved_config.with_added_keys(old), config) == []


def test_a_run_s_training_is_described_for_its_fills(run, tiny_config, tmp_path):
    known = load_run.load(run, "best").training_data
    assert (known["phantom"], known["slices_seen"], known["contrasts"]) == (False, 8, ["CT"])
    path = run / "config.json"
    saved = json.loads(path.read_text())
    saved["data"]["dir"] = ""
    path.write_text(json.dumps({key: value for key, value in saved.items() if key != json_fields.SEAL}))
    (run / "data.json").unlink()  # a run older than that file, on the built-in phantom
    network = load_run.load_network(run, "best")
    generator = network.generator()
    assert generator.training_data == {"phantom": True, "slices_seen": 8}
    exported.write(tmp_path / "model", generator, network.program, network.weights, model_card.card(generator, None))
    assert exported.read(tmp_path / "model").training_data == generator.training_data


# ------------------------------------------------------------------ names in Latin-1


def latin_1(folder, text):
    path = folder / os.fsdecode(text.encode("latin-1"))
    try:
        path.mkdir(parents=True)
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    return path


def test_scans_with_names_in_latin_1_are_prepared_and_read(tmp_path):
    folder = latin_1(tmp_path, "patiënten")
    names = [os.fsdecode(f"José{i}é_ct.nii.gz".encode("latin-1")) for i in range(3)]
    for i, name in enumerate(names):
        array = np.random.default_rng(i).integers(0, 900, (32, 32, 2)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / name)
    settings = PreparationSettings("ct", image_size=32, resample_mm=0.0, subject_regex=r"(Jos[^_]*)_")
    dataset = preparation.prepare(settings, [folder / name for name in names], tmp_path / "out", progress=False)
    assert sorted(subject for split in dataset.subjects.values() for subject in split) == [f"Jos%E9{i}%E9" for i in range(3)]
    assert sum(1 for split in records.SPLITS for path in records.shard_paths(tmp_path / "out", split)
               for _ in records.read_shard(path)) == 6  # fmt: skip
    with pytest.raises(UserError, match="its name is not UTF-8"):
        preparation.prepare(settings, [folder / name for name in names], folder / "out", progress=False)


def test_folders_that_the_libraries_cannot_open_are_refused_in_one_line(tiny_config, tmp_path, phantom_data):
    folder = latin_1(tmp_path, "données")
    shutil.copytree(phantom_data, folder / "data")
    with pytest.raises(UserError, match=r"not UTF-8.* rename the folder"):
        dataset_file.load_dataset(folder / "data")
    built = build.build_experiment(tiny_config("unet"))
    with pytest.raises(UserError, match=r"not UTF-8.* choose another --workdir"):
        loop.train(built, folder / "run")


def test_names_in_latin_1_are_printed(command, tmp_path):
    folder = latin_1(tmp_path, "données")
    flag = f"--image={folder}/nothing.nii"
    result = command("inpaint", "--model=x", flag, "--mask=m.nii", f"--output={tmp_path}/x.nii")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
