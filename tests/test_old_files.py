"""Files of version 0.1.0 still open and give the same numbers: prepared data, a run, an exported model.

The files and the numbers are in tests/data/v0.1.0; make_fixtures.py there made them. Data that are only read must be
bit-equal. Computed numbers may differ by the rounding of another processor.
"""

import hashlib
import json
import shutil
import tarfile
from pathlib import Path

import jax
import nibabel
import numpy as np
import pytest

from ipmedgan_jax.configs import demo
from ipmedgan_jax.data import dataset_file, records
from ipmedgan_jax.evaluation import evaluate_run, evaluated_runs
from ipmedgan_jax.experiment import build, run_folder, saved_config
from ipmedgan_jax.inpainting import exported, load, load_run, scan
from ipmedgan_jax.inpainting.jobs import Job
from ipmedgan_jax.training import devices, loop, start

FILES = Path(__file__).parent / "data" / "v0.1.0"

EXPECTED = json.loads((FILES / "expected.json").read_text())

ROUNDING = 1e-4
"""Relative tolerance between two processors, or between two numbers of devices."""


@pytest.fixture
def old(tmp_path):
    """Unpacks a folder with `prepared`, `run`, `model` and `scan`, a copy for each test."""
    for name in ("prepared", "run", "model", "scan"):
        with tarfile.open(FILES / f"{name}.tar.gz") as archive:
            archive.extractall(tmp_path, filter="data")
    return tmp_path


def demo_run(folder, steps):
    """Builds the run's experiment as the command does today, from configs/demo.py and the same --config flags."""
    config = demo.get_config().unlock()
    settings = EXPECTED["settings"] | {"data.dir": str(folder / "prepared"), "train.steps": steps}
    config.update_from_flattened_dict(
        {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    )
    return build.build_experiment(config.lock())


def latest(built, workdir):
    """Returns step, state, input state and validation scores of the latest checkpoint."""
    with run_folder.open_checkpoints(built.training, workdir, create=False) as checkpoints:
        step = checkpoints.latest_step()
        state, input_state = checkpoints.restore(step, devices.replicated_like(start.InitialState(built).shapes))
        return step, state, input_state, checkpoints.scores(step)


def split_digest(directory, split):
    """Must equal the function of this name in make_fixtures.py."""
    digest = hashlib.sha256()
    for path in records.shard_paths(directory, split):
        for record in records.read_shard(path):
            fields = [record.subject, record.volume, record.index, record.window, record.scale, record.offset]
            header = json.dumps([*fields, record.codes.shape])
            digest.update(header.encode() + record.codes.astype("<u2").tobytes())
    return digest.hexdigest()


def state_digest(state):
    """Must equal the function of this name in make_fixtures.py."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        digest.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def parameter_numbers(state):
    """Must equal the function of this name in make_fixtures.py."""
    nets = {"generator": state.generator, "average": state.average, **state.discriminators}
    numbers = {}
    for name, net in nets.items():
        for path, leaf in jax.tree.leaves_with_path(net.params):
            values = np.asarray(leaf, np.float64)
            key = "/".join([name, *(entry.key for entry in path)])
            numbers[key] = [float(values.sum()), float(np.sqrt((values**2).sum()))]
    return numbers


def means(region):
    """Returns {metric: value} of a region of metrics.json."""
    return {name: value["mean"] if isinstance(value, dict) else value for name, value in region.items()}


def test_old_prepared_data_can_be_read(old):
    expected = EXPECTED["prepared"]
    dataset = dataset_file.load_dataset(old / "prepared")
    assert (dataset.fingerprint, dataset.slices) == (expected["fingerprint"], expected["slices"])
    assert {split: split_digest(old / "prepared", split) for split in records.SPLITS} == expected["records_sha256"]


def test_an_old_run_is_restored_bit_exactly(old):
    expected = EXPECTED["run"]
    built = run_folder.read_experiment(old / "run", str(old / "prepared"))
    step, state, input_state, scores = latest(built, old / "run")
    assert (step, input_state, dict(scores)) == (expected["step"], expected["input"], expected["validation"])
    assert state_digest(state) == expected["state_sha256"]


def test_an_old_run_resumes_as_in_the_old_version(old):
    expected = EXPECTED["resumed"]
    built = demo_run(old, expected["step"])
    assert loop.train(built, old / "run") is loop.Outcome.FINISHED
    step, state, input_state, scores = latest(built, old / "run")
    assert (step, input_state) == (expected["step"], expected["input"])
    assert dict(scores) == pytest.approx(expected["validation"], rel=ROUNDING)
    found = parameter_numbers(state)
    assert found.keys() == expected["parameters"].keys()
    for name, (total, norm) in expected["parameters"].items():
        assert found[name] == pytest.approx([total, norm], abs=ROUNDING * norm), name


def test_an_old_run_has_the_same_scores(old):
    expected = EXPECTED["evaluation"]
    assert evaluated_runs.read(old / "run").report["region"] == expected  # the old version's metrics.json
    shutil.rmtree(old / "run" / "evaluation")
    report = evaluate_run.evaluate_run(run_folder.read_experiment(old / "run", str(old / "prepared")), old / "run")
    assert report["step"] == EXPECTED["run"]["step"]
    assert report["region"].keys() == expected.keys()
    for name, region in expected.items():
        assert means(report["region"][name]) == pytest.approx(means(region), rel=ROUNDING), name


@pytest.mark.parametrize("source", ["workdir", "model"])
def test_a_scan_is_filled_as_in_the_old_version(old, source):
    expected = EXPECTED["filled"][source]
    workdir, model = (str(old / "run"), None) if source == "workdir" else (None, str(old / "model"))
    work = Job(old / "scan" / "image.nii.gz", old / "scan" / "mask.nii.gz", old / "filled.nii.gz")
    report = scan.inpaint_file(load.load_filler(workdir, model, None, "best"), work, scan.Filling())
    assert (report["system"], report["step"]) == ("ipmedgan", EXPECTED["run"]["step"])
    image, mask, filled = (np.asarray(nibabel.load(path).dataobj) for path in (work.image, work.mask, work.output))
    assert str(filled.dtype) == expected["dtype"]
    np.testing.assert_array_equal(filled[mask == 0], image[mask == 0])
    np.testing.assert_allclose(filled[mask > 0], expected["masked"], rtol=0, atol=1)  # in stored units


def as_before_the_renaming(run):
    """Rewrites a run's config.json as version 0.1.0 wrote it for the system that was named ipmedgan_plus."""
    saved = json.loads((run / "config.json").read_text())
    assert saved["system"] == "casnet_plus"
    for key in saved_config.ADDED_KEYS:
        group, _, name = key.partition(".")
        if group in ("augment", "optimiser") or key in ("generator.noise", "generator.opposite", "data.window"):
            saved[group].pop(name, None)
    (run / "config.json").write_text(json.dumps(saved | {"system": "ipmedgan_plus"}))


@pytest.mark.slow
def test_a_run_of_the_former_ipmedgan_plus_fills_is_scored_exported_and_resumed_as_casnet_plus(
    tiny_config, without_vgg19, tmp_path
):
    changes = {"loss__content": 0.0, "train__generator_alone": 0.0, "train__best": "ssim", "train__validate_every": 100}
    run = tmp_path / "run"
    first, longer = (
        without_vgg19(build.build_experiment(tiny_config("casnet_plus", train__steps=n, **changes))) for n in (2, 4)
    )
    loop.train(first, run)
    digest = load_run.load_network(run, "latest").generator().weights_sha256
    as_before_the_renaming(run)

    network = load_run.load_network(run, "latest")
    generator = network.generator()
    assert (generator.name, generator.weights_sha256, generator.trained.inputs) == ("casnet_plus", digest, ())
    report = evaluate_run.evaluate_run(without_vgg19(run_folder.read_experiment(run)), run)
    assert (report["system"], report["step"]) == ("casnet_plus", 2)
    exported.write(tmp_path / "model", generator, network.program, network.weights, "card")
    assert exported.read(tmp_path / "model").name == "casnet_plus"
    assert loop.train(longer, run) is loop.Outcome.FINISHED
    assert json.loads((run / "config.json").read_text())["system"] == "casnet_plus"
