"""Damage in a checkpoint is noticed; training uses the newest whole one, and commands that fill name one."""

import contextlib
import json
import os
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.experiment import checkpoint_digests, run_folder
from ipmedgan_jax.experiment.checkpoint_folder import StepFolder
from ipmedgan_jax.experiment.checkpoints import Checkpoints, DamagedChoice
from ipmedgan_jax.inpainting import load, load_run
from ipmedgan_jax.training import start

PART = {"generator": {"w": jax.ShapeDtypeStruct((2000,), jnp.float32)}}


def state_of(step):
    values = np.random.default_rng(step).normal(size=2000)
    return {"generator": {"w": jnp.asarray(values, jnp.float32)}, "step": jnp.int32(step), "key": jax.random.key(step)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Makes the checkpoints of steps 1, 2 and 3, of which step 2 has the best score."""
    folder = tmp_path_factory.mktemp("saved")
    with Checkpoints(folder, keep=3, best="psnr") as checkpoints:
        for step, score in ((1, 20.0), (2, 22.0), (3, 21.0)):
            checkpoints.save(step, state_of(step), {"next": step}, {"psnr": score})
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """Copies the checkpoints, for a test to damage them."""
    return shutil.copytree(saved, tmp_path / "checkpoints")


def opened(folder, create=False):
    return Checkpoints(folder, keep=3, best="psnr", create=create)


def flip_a_value(step_folder):
    """Flips one bit in the middle of the largest file, which holds the array."""
    path = max((path for path in (step_folder / "state").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)


def unlist(step_folder):
    """Makes a checkpoint one of a version that wrote no digests."""
    shutil.rmtree(step_folder / "digests")
    path = step_folder / "_CHECKPOINT_METADATA"
    content = json.loads(path.read_text())
    del content["item_handlers"]["digests"]
    path.write_text(json.dumps(content))


def change(path, old, new):
    text = path.read_text()
    assert re.search(old, text)
    path.write_text(re.sub(old, new, text, count=1))


def swap(folder, item):
    """Exchanges an item between the checkpoints of steps 2 and 3, so that both are damaged."""
    mine, other, between = folder / "3" / item, folder / "2" / item, folder / "between"
    mine.rename(between)
    other.rename(mine)
    between.rename(other)


FAULTS = {
    "a bit in a value": (lambda folder: flip_a_value(folder / "3"), "state: generator/w: "),
    "a whole state of another step": (lambda folder: swap(folder, "state"), "state: generator/w: not what was saved"),
    "an input state of another step": (lambda folder: swap(folder, "input"), "input/metadata: not what was saved"),
    "digests of another step": (lambda folder: swap(folder, "digests"), "digests/metadata: of step 2"),
    "no digests": (lambda folder: shutil.rmtree(folder / "3" / "digests"), "digests/metadata: missing"),
    "no state": (lambda folder: shutil.rmtree(folder / "3" / "state"), "state: a part is missing"),
    "no input": (lambda folder: shutil.rmtree(folder / "3" / "input"), "input/metadata: missing"),
    "input cut short": (lambda folder: os.truncate(folder / "3" / "input" / "metadata", 5), "input/metadata: .*JSON"),
    "another digit": (lambda folder: change(folder / "3" / "input" / "metadata", "3", "2"), "input/metadata: not what was"),
    "another digest": (
        lambda folder: change(folder / "3" / "digests" / "metadata", "float32", "float23"),
        "digests/metadata: not",
    ),
    "no manifest": (lambda folder: (folder / "3" / "state" / "manifest.ocdbt").unlink(), "state: .*: an array is missing"),
    "an empty manifest": (lambda folder: os.truncate(folder / "3" / "state" / "manifest.ocdbt", 0), "an array is missing"),
    "tree not JSON": (
        lambda folder: os.truncate(folder / "3" / "state" / "_METADATA", 9),
        "state/_METADATA: incomplete",
    ),
    "tree not text": (
        lambda folder: (folder / "3" / "state" / "_METADATA").write_bytes(b"\xff"),
        "state/_METADATA: not",
    ),
    "an empty folder": (lambda folder: (folder / "4").mkdir(), "damaged or of another system .*a part is missing"),
}


def same(state, step):
    pairs = zip(jax.tree.leaves(state_of(step)), jax.tree.leaves(state), strict=True)
    return all((saved == found).all() for saved, found in pairs)


@pytest.mark.parametrize("fault", FAULTS)
def test_training_uses_the_newest_whole_checkpoint_and_sets_damaged_ones_aside(fault, folder, caplog):
    make, line = FAULTS[fault]
    make(folder)
    damaged, whole = ([4], 3) if (folder / "4").exists() else ([3, 2], 1) if "another step" in fault else ([3], 2)
    with opened(folder, create=True) as checkpoints:
        step, state, input_state = checkpoints.restore_newest(state_of(0))
        assert checkpoints.latest_step() == step == whole
    assert same(state, whole)
    assert input_state == {"next": whole}
    warnings = [record.getMessage() for record in caplog.records if "moved to" in record.getMessage()]
    assert re.search(rf"/{damaged[0]}: .*{line}", warnings[0])
    for other, warning in zip(damaged, warnings, strict=True):
        assert f"/{other}: damaged" in warning
        assert warning.endswith(f"moved to {folder}/damaged/{other}, step {whole} is used instead")
        assert (folder / "damaged" / str(other)).is_dir()


@pytest.mark.parametrize(
    "fault",
    [
        name
        for name in FAULTS
        if name not in ("no input", "input cut short", "another digit", "an input state of another step")
    ],
)
def test_a_command_that_fills_refuses_a_damaged_checkpoint_and_names_a_whole_one(fault, folder):
    make, line = FAULTS[fault]
    make(folder)
    names = sorted(path.name for path in folder.iterdir())
    whole = 3 if (folder / "4").exists() else 1 if "another step" in fault else 2
    with opened(folder) as checkpoints:
        step = run_folder.chosen_step(checkpoints, "latest")
        with pytest.raises(UserError, match=rf"{line}.*; --checkpoint={whole} takes a whole one"):
            checkpoints.restore_part(step, PART)
        assert checkpoints.restore_part(whole, PART)["generator"]["w"][0] == state_of(whole)["generator"]["w"][0]
    assert sorted(path.name for path in folder.iterdir()) == names


def test_nothing_is_moved_if_no_checkpoint_is_whole(folder):
    for step in "123":
        flip_a_value(folder / step)
    with opened(folder, create=True) as checkpoints:
        with pytest.raises(UserError, match=r"/3: damaged .*; no checkpoint of this run is whole, and none was moved"):
            checkpoints.restore_newest(state_of(0))
        with pytest.raises(UserError, match=r"/3: damaged .*; no other one of this run is whole"):
            checkpoints.restore_part(3, PART)
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2", "3"]


def test_a_second_damaged_checkpoint_of_a_step_gets_another_name(folder):
    for name in ("damaged/3", "damaged/3-2"):
        (folder / name).mkdir(parents=True)
    assert StepFolder(folder / "3").set_aside() == folder / "damaged" / "3-3"


def test_a_checkpoint_of_another_system_is_not_damaged_and_not_moved(folder):
    other = state_of(0) | {"step": jnp.zeros(2)}
    with opened(folder, create=True) as checkpoints:
        with pytest.raises(UserError, match=r"/3: of another .* \(step is int32 \(\), expected float32 \(2,\)\)"):
            checkpoints.restore_newest(other)
    assert (folder / "3").is_dir()


def test_a_checkpoint_without_digests_of_an_older_version_still_opens(folder, caplog):
    unlist(folder / "3")
    with caplog.at_level("INFO"), opened(folder, create=True) as checkpoints:
        assert checkpoints.restore_newest(state_of(0))[0] == 3
    assert "/3: of a version that wrote no digests" in caplog.text


SCORE_FAULTS = {
    "missing": lambda folder: shutil.rmtree(folder / "2" / "metrics"),
    "empty": lambda folder: os.truncate(folder / "2" / "metrics" / "metrics", 0),
    "another digit": lambda folder: change(folder / "2" / "metrics" / "metrics", "22", "12"),
    "text": lambda folder: change(folder / "2" / "metrics" / "metrics", "22[.]0", '"22"'),
    "of another step": lambda folder: swap(folder, "metrics"),
}


@pytest.mark.parametrize("fault", SCORE_FAULTS)
def test_damaged_scores_stop_nothing_and_do_not_change_the_best(fault, folder, caplog):
    SCORE_FAULTS[fault](folder)
    with opened(folder, create=True) as checkpoints:
        assert checkpoints.best_step() == 2
        assert checkpoints.restore_newest(state_of(0))[0] == 3
    assert "/2: damaged (metrics/metrics: " in caplog.text


@pytest.mark.parametrize("fault", ["missing", "empty", "text"])
def test_lost_scores_of_an_older_version_leave_the_best_unknown_and_its_checkpoint_kept(fault, folder):
    unlist(folder / "2")
    SCORE_FAULTS[fault](folder)
    with Checkpoints(folder, keep=1, best="psnr") as checkpoints:
        with pytest.raises(UserError, match=r"/2: damaged .*may be the best .*--checkpoint=latest or a step of 1, 2, 3"):
            run_folder.chosen_step(checkpoints, "best")
        assert run_folder.chosen_step(checkpoints, "latest") == 3
        for step in (4, 5):
            checkpoints.save(step, state_of(step), {}, None)
    assert sorted(int(path.name) for path in folder.iterdir()) == [2, 3, 5]  # 3 is the best of the known ones


@pytest.mark.parametrize("content", [None, b"", b"[", b"\xff", b"[]", b'{"item_handlers": 3, "commit_timestamp_nsecs": "x"}'])
def test_a_damaged_list_of_items_stops_nothing(content, folder):
    path = folder / "3" / "_CHECKPOINT_METADATA"
    path.unlink() if content is None else path.write_bytes(content)
    with opened(folder, create=True) as checkpoints:
        assert checkpoints.restore_newest(state_of(0))[0] == 3
        assert checkpoints.best_step() == 2


def test_a_step_may_be_chosen_by_its_number(folder):
    with opened(folder) as checkpoints:
        assert [run_folder.chosen_step(checkpoints, choice) for choice in ("best", "latest", "1")] == [2, 3, 1]
        with pytest.raises(UserError, match="has no step 7; it has 1, 2, 3"):
            run_folder.chosen_step(checkpoints, "7")


def test_every_bit_of_a_small_record_is_covered_by_its_digest():
    record = checkpoint_digests.make(1, {"x": np.zeros(2, np.float32)}, {"next": 1}, {"psnr": 1.0})
    text = json.dumps(record.as_json()).encode()
    assert checkpoint_digests.from_json(json.loads(text), 1) == record
    for bit in range(8 * len(text)):
        content = bytearray(text)
        content[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(ValueError, UnicodeDecodeError):
            assert checkpoint_digests.from_json(json.loads(bytes(content)), 1) == record  # a blank may become another one


def test_only_a_command_with_the_flag_is_told_to_choose_another_checkpoint(tmp_path, monkeypatch):
    """`inpaint --finder` and `train.start_from` take the best one."""

    def damaged(*_):
        raise DamagedChoice("run/checkpoints/3: damaged (state)", "--checkpoint=2 takes a whole one")

    monkeypatch.setattr(run_folder, "read_inference", lambda _: None)
    monkeypatch.setattr(run_folder, "restore_for_inference", damaged)
    monkeypatch.setattr(load_run, "load_finder", damaged)
    for read, name in (
        (lambda: start.with_generator_of(tmp_path, None), "config.train.start_from"),
        (lambda: load.load_finder("run", None), "--finder=run"),
    ):
        with pytest.raises(UserError, match=rf"^{name}: run/checkpoints/3: damaged \(state\); move that checkpoint away"):
            read()
