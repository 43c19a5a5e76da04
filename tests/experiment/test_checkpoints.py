"""Checkpoints: which are kept, which is the best, and errors for folders and files that cannot be used."""

import json
import logging
import math
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from orbax.checkpoint._src.serialization import ocdbt_utils

from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.evaluation import detection, metrics, reports
from ipmedgan_jax.experiment.checkpoint_scores import HIGHER_IS_BETTER
from ipmedgan_jax.experiment.checkpoints import Checkpoints
from ipmedgan_jax.experiment.checks import FINDING_SCORES, VALIDATION_SCORES

STATE = {"x": np.arange(3, dtype=np.float32)}


def steps_in(folder):
    return sorted(int(path.name) for path in folder.iterdir())


@pytest.mark.parametrize(("best", "expected"), [("psnr", 2), ("ssim", 2), ("vgg_distance", 1)])
def test_the_best_step_has_the_highest_psnr_or_the_lowest_distance(tmp_path, best, expected):
    with Checkpoints(tmp_path, keep=1, best=best) as checkpoints:
        for step, value in ((1, 0.1), (2, 0.9), (3, 0.5)):
            checkpoints.save(step, STATE, {}, {best: value})
    with Checkpoints(tmp_path, keep=1, best=best) as again:
        assert again.best_step() == expected
    assert steps_in(tmp_path) == [expected, 3]


def test_a_perfect_fill_is_better_than_a_bad_one_by_every_score_of_fills():
    image = np.random.default_rng(0).uniform(0, 255, (1, 32, 32)).astype(np.float32)
    perfect, bad = (metrics.scores(fill, image) for fill in (image, np.clip(image + 30, 0, 255)))
    assert perfect.keys() | {"vgg_distance"} == set(VALIDATION_SCORES)
    for name in perfect:
        assert (float(perfect[name][0]) > float(bad[name][0])) is (name in HIGHER_IS_BETTER), name
    assert "vgg_distance" not in HIGHER_IS_BETTER


def test_damage_found_is_better_than_damage_missed_by_every_score_of_finders():
    perfect, bad = (
        reports.mean_over_subjects(detection.subject_scores([detection.Count("a", "void", *pixels, 0.1)]))
        for pixels in ((9, 0, 0), (4, 5, 5))
    )
    assert all(perfect[name] > bad[name] and name in HIGHER_IS_BETTER for name in FINDING_SCORES)


def test_a_step_without_scores_is_never_the_best_and_is_deleted_when_newer_ones_come(tmp_path):
    with Checkpoints(tmp_path, keep=1, best="psnr") as checkpoints:
        assert checkpoints.best_step() is None
        for step in (1, 2):
            checkpoints.save(step, STATE, {}, None)
        assert checkpoints.best_step() is None
    assert steps_in(tmp_path) == [2]


def test_state_and_input_state_are_restored_as_they_were_saved(tmp_path):
    with Checkpoints(tmp_path, keep=1, best="psnr") as checkpoints:
        checkpoints.save(5, STATE, {"next": 7}, None)
    with Checkpoints(tmp_path, keep=1, best="psnr") as again:
        state, input_state = again.restore(5, STATE)
    np.testing.assert_array_equal(state["x"], STATE["x"])
    assert input_state == {"next": 7}


@pytest.mark.parametrize("name", ["trial [2]", r"[!a]/x*\b", "**", "100% # | {é}"])
def test_a_folder_may_have_any_name(name, tmp_path):
    folder = tmp_path / name / "checkpoints"
    state = STATE | {"key": jax.random.key(1)}
    with Checkpoints(folder, keep=1, best="psnr") as checkpoints:
        checkpoints.save(1, state, {"next": 7}, {"psnr": 20.0})
    with Checkpoints(folder, keep=1, best="psnr", create=False) as again:
        found, input_state = again.restore(1, state)
        part = again.restore_part(1, {"x": STATE["x"]})
    for values in (found["x"], part["x"]):
        np.testing.assert_array_equal(values, STATE["x"])
    assert (jax.random.key_data(found["key"]) == jax.random.key_data(state["key"])).all()
    assert input_state == {"next": 7}
    assert steps_in(folder) == [1]


def test_a_name_with_a_wildcard_does_not_take_in_another_run_s_arrays(tmp_path):
    for name, value in (("run1", 1.0), ("run*", 2.0)):
        with Checkpoints(tmp_path / name, keep=1, best="psnr") as checkpoints:
            checkpoints.save(1, {"x": np.full(3, value, np.float32)}, {}, None)
    with Checkpoints(tmp_path / "run*", keep=1, best="psnr") as checkpoints:
        np.testing.assert_array_equal(checkpoints.restore(1, STATE)[0]["x"], np.full(3, 2.0))


def test_a_temporary_folder_with_a_wildcard_is_refused_too(tmp_path, monkeypatch):
    (tmp_path / "[t]").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "[t]"))
    with pytest.raises(UserError, match=r"its name and that of TMPDIR"):
        Checkpoints(tmp_path / "[a]", keep=1, best="psnr")


@pytest.mark.parametrize(
    ("damage", "line"),
    [("not merged", "an array is missing"), ("other values", "state: x: not what was saved")],
)
def test_a_first_checkpoint_that_cannot_be_read_back_stops_the_run(damage, line, tmp_path, monkeypatch):
    async def skip(*_, **__):
        pass

    with Checkpoints(tmp_path, keep=1, best="psnr") as checkpoints:
        if damage == "not merged":
            monkeypatch.setattr(ocdbt_utils, "merge_ocdbt_per_process_files", skip)
        else:
            monkeypatch.setattr(ocp.PyTreeCheckpointHandler, "restore", lambda *_, **__: {"x": STATE["x"] + 1})
        with pytest.raises(UserError, match=rf"/1: .*{line}.*, when it was read back; choose another --workdir"):
            checkpoints.save(1, STATE, {}, None)


def test_only_the_first_checkpoint_is_read_back(tmp_path, monkeypatch):
    with Checkpoints(tmp_path, keep=1, best="psnr") as checkpoints:
        checkpoints.save(1, STATE, {}, None)
        monkeypatch.setattr(checkpoints, "_read_back", lambda *_: pytest.fail("read again"))
        checkpoints.save(2, STATE, {}, None)


def test_orbax_s_warning_of_a_checkpoint_without_index_is_an_error(tmp_path):
    with Checkpoints(tmp_path, keep=1, best="psnr") as checkpoints:
        checkpoints.save(1, STATE, {}, None)
        logging.getLogger("absl").warning("Skipping merge of %s", "x")
        with pytest.raises(UserError, match=r"without its index \(Skipping merge of x\)"):
            checkpoints.save(2, STATE, {}, None)


@pytest.mark.parametrize(
    ("order", "bad", "best"),
    [
        ((0.5, None, 0.4), math.nan, "psnr"),
        ((None, 0.5, 0.4), math.nan, "psnr"),
        ((0.5, 0.4, None), math.inf, "psnr"),
        ((0.5, None, 0.4), math.nan, "vgg_distance"),
        ((None, 0.4, 0.5), -math.inf, "vgg_distance"),
    ],
)
def test_a_score_that_is_not_finite_neither_wins_nor_deletes_the_best(order, bad, best, tmp_path, caplog):
    with Checkpoints(tmp_path, keep=1, best=best) as checkpoints:
        for step, value in enumerate(order):
            checkpoints.save(step, STATE, {}, {best: bad if value is None else value})
    finite = [step for step, value in enumerate(order) if value is not None]
    expected = (max if best == "psnr" else min)(finite, key=lambda step: order[step])
    with Checkpoints(tmp_path, keep=1, best=best) as again:
        assert again.best_step() == expected
    assert expected in steps_in(tmp_path)
    assert f"step {order.index(None)}: {best} is {bad}; this checkpoint cannot become the best" in caplog.text


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_an_older_version_saved_though_it_is_not_finite_does_not_win(bad, tmp_path):
    with Checkpoints(tmp_path, keep=2, best="psnr") as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, STATE, {}, {"psnr": 20.0})
    (tmp_path / "2" / "metrics" / "metrics").write_text(json.dumps({"psnr": bad}))
    shutil.rmtree(tmp_path / "2" / "digests")
    (tmp_path / "2" / "_CHECKPOINT_METADATA").unlink()  # it lists the digests, which that version did not write
    with Checkpoints(tmp_path, keep=1, best="psnr") as again:
        assert again.best_step() == 1
        for step in (3, 4):
            again.save(step, STATE, {}, None)
    assert steps_in(tmp_path) == [1, 4]


def test_a_run_whose_scores_are_all_not_finite_has_no_best_step(tmp_path):
    with Checkpoints(tmp_path, keep=1, best="psnr") as checkpoints:
        checkpoints.save(1, STATE, {}, {"psnr": math.nan})
        assert checkpoints.best_step() is None


def test_a_folder_that_is_missing_or_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"none: not found; expected the folder of a run"):
        Checkpoints(tmp_path / "none", keep=1, best="psnr", create=False)
    with pytest.raises(UserError, match="file/c: cannot be used for checkpoints"):
        Checkpoints(tmp_path / "file" / "c", keep=1, best="psnr")


def test_the_error_for_a_full_disk_names_the_last_step_that_was_saved(tmp_path, monkeypatch):
    with Checkpoints(tmp_path, keep=1, best="psnr") as checkpoints:
        checkpoints.save(1, STATE, {}, None)

        def full(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(checkpoints._manager, "save", full)
        with pytest.raises(UserError, match=r"cannot be written \(.*No space left.*step 1 is the last one saved"):
            checkpoints.save(2, STATE, {}, None)


def test_other_files_beside_the_checkpoints_are_passed_over(tmp_path):
    with Checkpoints(tmp_path, keep=2, best="psnr") as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, STATE, {}, None)
    (tmp_path / "2").rename(tmp_path / "2.damaged")
    for name in (".ipynb_checkpoints", "1 (copy)"):
        (tmp_path / name).mkdir()
    (tmp_path / ".DS_Store").touch()
    with Checkpoints(tmp_path, keep=2, best="psnr") as again:
        assert again.latest_step() == 1
        again.save(2, STATE, {}, None)


def test_too_little_memory_is_not_reported_as_damage(tmp_path, monkeypatch):
    with Checkpoints(tmp_path, keep=1, best="psnr") as checkpoints:
        checkpoints.save(1, STATE, {}, None)

        def exhausted(*_, **__):
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

        monkeypatch.setattr(ocp.StandardCheckpointHandler, "restore", exhausted)
        with pytest.raises(UserError, match="1: not enough memory to read it"):
            checkpoints.restore_newest(STATE)
    assert steps_in(tmp_path) == [1]


def test_every_file_of_a_checkpoint_is_on_the_disk_before_the_folder_has_its_name(tmp_path, monkeypatch):
    synced, at_rename, sync, rename = set(), {}, files.sync, os.rename

    def record_sync(path):
        synced.add(str(path))
        sync(path)

    def record_rename(source, target, **options):
        if str(target) == str(tmp_path / "1"):
            at_rename.update({str(path): str(path) in synced for path in Path(source).rglob("*")})
        rename(source, target, **options)

    monkeypatch.setattr(files, "sync", record_sync)
    monkeypatch.setattr(os, "rename", record_rename)
    with Checkpoints(tmp_path, keep=1, best="psnr") as checkpoints:
        checkpoints.save(1, STATE, {}, None)
    late = {path for path, was_synced in at_rename.items() if not was_synced}
    assert {Path(path).name for path in late} == {"commit_success.txt"}  # Orbax writes it just before the rename
    assert at_rename.keys() - late
    assert {str(tmp_path / "1" / "commit_success.txt"), str(tmp_path / "1"), str(tmp_path)} <= synced
