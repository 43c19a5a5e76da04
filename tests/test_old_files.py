"""Files of older commits still open and give the same numbers: prepared data, runs, exported models.

The files and the numbers are in tests/data/old_files; make_fixture.py there made them with each commit's own commands. What
is only read must be bit-equal. Computed numbers may differ by the rounding of another processor.
"""

import hashlib
import json
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from ipmedgan_jax import compare
from ipmedgan_jax.configs import base, demo
from ipmedgan_jax.core import files, json_fields
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import dataset_file, records
from ipmedgan_jax.evaluation import comparison, evaluate_run, evaluated_runs, reports
from ipmedgan_jax.evaluation.seed_groups import group_seeds
from ipmedgan_jax.experiment import build, run_folder, saved_config
from ipmedgan_jax.inpainting import exported, load, load_run, scan
from ipmedgan_jax.inpainting.filling_options import Filling
from ipmedgan_jax.inpainting.jobs import Job
from ipmedgan_jax.training import devices, loop, start
from tests.data.old_files.make_fixture import named_leaves, state_digest

FILES = Path(__file__).parent / "data" / "old_files"

EXPECTED = {path.parent.name: json.loads(path.read_text()) for path in sorted(FILES.glob("*/expected.json"))}
"""What make_fixture.py found, by folder; the oldest is the first."""

RUNS = [(name, system) for name, expected in EXPECTED.items() for system in expected["runs"]]

FILLED = [
    (name, source) for name, expected in EXPECTED.items() for run in expected["runs"].values() for source in run["filled"]
]

ROUNDING = 1e-4
"""Relative tolerance between two processors, or between two numbers of devices."""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """A function (fixture) -> its folder, unpacked once, for reading only."""
    folders = {}

    def unpack(name):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            with tarfile.open(FILES / name / "files.tar.xz") as archive:
                archive.extractall(folders[name], filter="data")
        return folders[name]

    return unpack


def present_name(name, system):
    """Returns the system's present name."""
    return saved_config.RENAMED_SYSTEMS.get(system, system) if "generator.noise" not in EXPECTED[name]["keys"] else system


def experiment_of_today(name, system, folder, steps):
    """Builds a run's experiment as the command does today, from configs/demo.py and the same --config flags."""
    config = demo.get_config(present_name(name, system)).unlock()
    settings = EXPECTED[name]["settings"] | {"data.dir": str(folder / "prepared"), "train.steps": steps}
    settings = {key: value for key, value in settings.items() if key not in saved_config.REMOVED_KEYS}
    settings["train.ema"] = run_folder.read_config(folder / f"run_{system}")["train"]["ema"]  # the first config had none
    config.update_from_flattened_dict(
        {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    )
    return build.build_experiment(config.lock())


def latest(built, run):
    """Returns step, state, input state and validation scores of the latest checkpoint."""
    with run_folder.open_checkpoints(built.training, run, create=False) as checkpoints:
        step = checkpoints.latest_step()
        state, input_state = checkpoints.restore(step, devices.replicated_like(start.InitialState(built).shapes))
        return step, state, input_state, checkpoints.scores(step)


def records_digest(directory, split):
    """Reads with the package what the function of this name in make_fixture.py reads with ArrayRecord alone."""
    digest = hashlib.sha256()
    for path in records.shard_paths(directory, split):
        for record in records.read_shard(path):
            header = {name: getattr(record, name) for name in ("subject", "volume", "index", "window", "scale", "offset")}
            header["shape"] = record.codes.shape
            digest.update(json.dumps(header, sort_keys=True).encode() + record.codes.astype("<u2").tobytes())
    return digest.hexdigest()


def means(region):
    """Returns {metric: value} of a region of metrics.json, without the distance by VGG-19's random weights."""
    return {name: value["mean"] for name, value in region.items() if isinstance(value, dict) and name != "vgg_distance"}


@pytest.mark.parametrize("name", EXPECTED)
def test_old_prepared_data_can_be_read(unpacked, name):
    dataset = dataset_file.load_dataset(unpacked(name) / "prepared")
    assert EXPECTED[name]["fingerprint"] in ("", dataset.fingerprint)  # the first runs had none
    assert dataset.slices == {"train": 12, "validation": 6, "test": 6}
    assert {split: records_digest(dataset.directory, split) for split in records.SPLITS} == EXPECTED[name]["records"]


@pytest.mark.parametrize(("name", "system"), RUNS)
def test_an_old_run_is_restored_bit_exactly(unpacked, name, system):
    expected = EXPECTED[name]["runs"][system]
    run = unpacked(name) / f"run_{system}"
    built = run_folder.read_experiment(run, str(unpacked(name) / "prepared"))
    step, state, input_state, scores = latest(built, run)
    assert (step, input_state, scores and dict(scores)) == (2, expected["input"], expected["validation"])
    assert state_digest(named_leaves(state)) == expected["state"]


def draws_as_today(name):
    """Whether training draws slices and holes as then; that changed when several processes could train, before v0.1.0."""
    return "optimiser.rate_batch" in EXPECTED[name]["keys"]


@pytest.mark.parametrize(
    ("name", "system"),
    [pytest.param(*run, marks=[] if run == RUNS[-1] else pytest.mark.slow) for run in RUNS],
)
def test_an_old_run_resumes_as_then(unpacked, tmp_path, name, system):
    expected = EXPECTED[name]["runs"][system]["resumed"]
    run = Path(shutil.copytree(unpacked(name) / f"run_{system}", tmp_path / "run"))
    built = experiment_of_today(name, system, unpacked(name), EXPECTED[name]["steps"])
    assert loop.train(built, run) is loop.Outcome.FINISHED
    step, state, _, _ = latest(built, run)
    assert step == EXPECTED[name]["steps"]
    found = {leaf: value for leaf, value in named_leaves(state).items() if "/params/" in leaf}
    assert found.keys() == expected.keys()
    for leaf, (total, norm) in expected.items() if draws_as_today(name) else ():
        values = found[leaf].astype(np.float64)
        assert [values.sum(), np.sqrt((values**2).sum())] == pytest.approx([total, norm], abs=ROUNDING * norm), leaf


@pytest.mark.parametrize(("name", "system"), RUNS)
def test_an_old_run_has_the_same_scores(unpacked, tmp_path, name, system):
    expected = EXPECTED[name]["runs"][system]["evaluation"]
    run = Path(shutil.copytree(unpacked(name) / f"run_{system}", tmp_path / "run"))
    if (run / "evaluation" / "slices.csv").exists():
        evaluated = evaluated_runs.read(run)
        then = evaluated.report  # the old commit's metrics.json
        assert then["system"] == present_name(name, system)
        assert {region: means(scores) for region, scores in then["region"].items()} == expected
        groups = group_seeds([evaluated])
        comparison.write(groups, tmp_path / "compared", reference=groups[0], cases=1, caption="")
        assert "Comparison of 1 system" in (tmp_path / "compared" / "report.html").read_text()
    else:
        with pytest.raises(UserError, match="evaluate the run again"):
            evaluated_runs.read(run)
    shutil.rmtree(run / "evaluation")
    report = evaluate_run.evaluate_run(run_folder.read_experiment(run, str(unpacked(name) / "prepared")), run)
    assert report["step"] == 2
    for region, scores in expected.items():
        assert means(report["region"][region]) == pytest.approx(scores, rel=ROUNDING), region


def test_two_seeds_of_a_run_are_one_row_of_the_command(unpacked, tmp_path, monkeypatch, capsys):
    """The newest old run beside itself with another seed: their scores are equal, and so are their spreads of seeds."""
    name, system = RUNS[-1]
    for seed in (0, 1):
        run = Path(shutil.copytree(unpacked(name) / f"run_{system}", tmp_path / f"run{seed}"))
        config = {key: value for key, value in json_fields.read(run / "config.json").items() if key != json_fields.SEAL}
        files.write_json(run / "config.json", json_fields.sealed(config | {"seed": seed}))
    monkeypatch.setattr(
        compare.flags, "FLAGS", SimpleNamespace(output=str(tmp_path / "out"), reference=None, cases=1, caption="")
    )
    compare.main([str(tmp_path / "run0"), str(tmp_path / "run1")])
    heading, _, row = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()[:3]
    )
    assert dict(zip(heading, row, strict=True))["seeds"] == "2"
    expected = evaluated_runs.read(tmp_path / "run0").report["region"]["hole"]["psnr"]
    (psnr,) = (
        row for row in reports.read_rows(tmp_path / "out" / "table.csv") if (row["region"], row["metric"]) == ("hole", "psnr")
    )
    assert (psnr["seeds"], float(psnr["mean"]), float(psnr["sd_seeds"])) == ("2", expected["mean"], 0)
    assert "Fewer than 3 seeds" in (tmp_path / "out" / "table.tex").read_text()


@pytest.mark.parametrize(("name", "source"), FILLED)
def test_a_scan_is_filled_as_then(unpacked, tmp_path, name, source):
    system = source.split("_", 1)[1].removesuffix("_stablehlo").removesuffix("_weights")
    expected = EXPECTED[name]["runs"][system]["filled"][source]
    path = str(unpacked(name) / source)
    workdir, model = (path, None) if source.startswith("run") else (None, path)
    filled = fill(load.load_filler(workdir, model, None, "best"), unpacked(name) / "scan", tmp_path)
    np.testing.assert_allclose(filled, expected, rtol=0, atol=1)  # in stored units


def fill(filler, folder, output):
    """Fills the fixture's scan; returns the masked voxels as they are stored."""
    work = Job(folder / "image.nii.gz", folder / "mask.nii.gz", output / "filled.nii.gz")
    scan.inpaint_file(filler, work, Filling())
    image, mask, filled = (np.asarray(nibabel.load(path).dataobj) for path in (work.image, work.mask, work.output))
    assert filled.dtype == image.dtype
    np.testing.assert_array_equal(filled[mask == 0], image[mask == 0])
    return filled[mask > 0]


@pytest.mark.parametrize(("name", "system"), [(name, system) for name, system in RUNS if name == next(iter(EXPECTED))])
def test_a_run_older_than_inpaint_and_export_is_filled_with_and_exported(unpacked, tmp_path, name, system):
    run = unpacked(name) / f"run_{system}"
    network = load_run.load_network(run, "best")
    exported.write(tmp_path / "model", network.generator(), network.program, network.weights, "card")
    by_run = fill(load.load_filler(str(run), None, None, "best"), unpacked(name) / "scan", tmp_path)
    by_model = fill(load.load_filler(None, str(tmp_path / "model"), None, "best"), unpacked(name) / "scan", tmp_path)
    np.testing.assert_array_equal(by_run, by_model)


def test_every_key_since_the_first_runs_has_a_value_for_runs_without_it():
    """A key of configs/base.py that a run may be too old for belongs in ADDED_KEYS."""
    first = next(iter(EXPECTED.values()))["keys"]
    assert saved_config.flattened(base.get_config().to_dict()).keys() - set(first) == saved_config.ADDED_KEYS.keys()
