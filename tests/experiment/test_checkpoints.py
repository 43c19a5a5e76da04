"""Checkpoints: which are kept, which is the best, and errors for folders and files that cannot be used."""

import numpy as np
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.evaluation import detection, metrics, reports
from ipmedgan_jax.experiment.checkpoints import HIGHER_IS_BETTER, Checkpoints
from ipmedgan_jax.experiment.checks import FINDING_SCORES, VALIDATION_SCORES

STATE = {"x": np.arange(3.0)}


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


def test_a_folder_that_is_missing_or_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"none: not found; --workdir must name a run"):
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


def test_damaged_scores_raise_an_error_that_names_the_folder(tmp_path):
    with Checkpoints(tmp_path, keep=1, best="psnr") as checkpoints:
        checkpoints.save(1, STATE, {}, {"psnr": 20.0})
    (scores,) = (path for path in (tmp_path / "1" / "metrics").iterdir() if "metrics" in path.name)
    scores.write_text("")
    with pytest.raises(UserError, match="cannot be used for checkpoints"):
        Checkpoints(tmp_path, keep=1, best="psnr").best_step()


def test_too_little_memory_is_not_reported_as_damage(tmp_path, monkeypatch):
    with Checkpoints(tmp_path, keep=1, best="psnr") as checkpoints:
        checkpoints.save(1, STATE, {}, None)

        def exhausted(*_, **__):
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

        monkeypatch.setattr(checkpoints._manager, "restore", exhausted)
        with pytest.raises(UserError, match="1: not enough memory to read it"):
            checkpoints.restore(1, STATE)
