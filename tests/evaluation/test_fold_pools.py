"""Folds of a cross-validation in a comparison: which runs become one row, which are refused, and what the table says."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from ipmedgan_jax import compare
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.evaluation import comparable_runs, comparison_notes, comparison_tables, evaluated_runs
from ipmedgan_jax.evaluation.saved_fills import Fills, joined
from ipmedgan_jax.evaluation.seed_groups import find_reference, group_seeds
from tests.evaluation.made_up_runs import add_config, make_run


def make_fold(root, system, k, count=3, *, seed=0, subjects=4, prefix=None, division="d", **changes):
    """Writes the run of fold k, whose test subjects are named after it; `changes` with __ are of its config."""
    scored = {key: changes.pop(key) for key in list(changes) if "__" not in key}
    folder = make_run(
        root / f"{system}-{k}-{seed}", system, 10.0 + k + seed, subjects=subjects, fingerprint=f"f{k}",
        subject_prefix=prefix or f"{'bca'[k % 3]}{k}-", fold=f"{k} of {count}", division=division, **scored,
    )  # fmt: skip
    return folder if system == "telea" else add_config(folder, system, seed=seed, data__fold=f"{k} of {count}", **changes)


def read(*folders):
    runs, left_out = comparable_runs.read_all(folders)
    return group_seeds(runs), left_out


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three folds of two seeds of a system, of one seed of another, and of a classical fill: {system: folders}."""
    root = tmp_path_factory.mktemp("folds")
    found = {system: [make_fold(root, system, k) for k in (1, 2, 3)] for system in ("ipmedgan", "unet", "telea")}
    return found | {"seed 1": [make_fold(root, "ipmedgan", k, seed=1) for k in (1, 2, 3)]}


def test_folds_of_a_system_are_one_row_and_each_subject_has_the_scores_of_its_own_training(folders):
    groups, left_out = read(*folders["telea"], *folders["unet"][::-1])
    assert not left_out
    assert [group.label for group in groups] == ["Telea", "U-Net, L1 alone"]
    single: dict[str, dict[str, float]] = {}
    for path in folders["unet"]:
        single |= evaluated_runs.read(path).subject_means["hole"]
    assert len(single) == 12
    pooled = groups[1].first
    assert pooled.subject_means["hole"] == single
    assert [fold.index for fold in pooled.folds] == [1, 2, 3]
    assert pooled.fold_of_subjects.tolist() == [int(name[1]) for name in sorted(single)]
    assert (pooled.report["subjects"], pooled.report["slices"]) == (12, 24)
    kid = np.mean([evaluated_runs.read(path).estimate("kid")["mean"] for path in folders["unet"]])
    assert pooled.estimate("kid")["mean"] == pytest.approx(kid)


def test_seeds_of_folds_are_one_row_and_the_reference_is_found_by_any_of_its_folders(folders):
    groups, left_out = read(*folders["seed 1"], *folders["ipmedgan"], *folders["telea"])
    assert not left_out
    assert [(group.seeds, group.trainings) for group in groups] == [((1, 0), 6), ((None,), 0)]
    assert groups[0].scores_of("psnr").values.shape == (2, 12)
    assert find_reference(groups, folders["ipmedgan"][2].name) is groups[0]


def test_scores_of_some_holes_keep_the_folds_of_their_subjects(folders):
    (group,), _ = read(*folders["unet"])
    assert group.scores_of("psnr").folds.tolist() == [2, 2, 2, 2, 3, 3, 3, 3, 1, 1, 1, 1]
    assert group.scores_where("psnr", 0.0, 0.75).folds.tolist() == [2, 2, 3, 3, 1, 1]  # subjects 0 and 3 of each


def test_images_that_are_kept_as_grey_levels_stay_with_their_slices():
    def fills(count, level):
        names = np.array([f"s{level}"] * count)
        boxes, empty = np.tile([0, 0, 1, 1], (count, 1)), np.zeros((0, 4, 4), np.float32)
        filled = np.full((count, 1, 1), level, np.float32)
        kept = np.array([count - 1][:level], int)
        grey = np.full((len(kept), 4, 4), level, np.uint8)
        return Fills(names, names, np.arange(count), boxes, filled, np.zeros(0, int), empty, kept, grey)

    found = joined([fills(2, 0), fills(3, 1), fills(2, 2)])
    assert found.kept.tolist() == [4, 6]
    assert found.image_of(4)[0, 0] == np.float32(1 / 127.5 - 1)
    assert found.image_of(6)[0, 0] == np.float32(2 / 127.5 - 1)


def test_the_pooled_slices_fills_and_images_belong_together(folders):
    (group,), _ = read(*folders["unet"])
    fills, scores = group.first.fills, group.first.scores
    names = list(zip(fills.subject, fills.index.tolist(), strict=True))
    assert names == [(score.subject, score.index) for score in scores]
    shown = fills.subject[fills.shown]
    assert [name[1] for name in shown[:3]] == ["1", "2", "3"]  # the first figures show every fold
    for path in folders["unet"]:
        own = evaluated_runs.read(path).fills
        position = names.index((own.subject[own.shown[1]], own.index[own.shown[1]]))
        np.testing.assert_array_equal(fills.image_of(position), own.image_of(own.shown[1]))
        np.testing.assert_array_equal(fills.fill[position], own.fill[own.shown[1]])


def test_several_seeds_have_the_spread_of_trainings_from_within_the_folds(folders):
    note = comparison_tables.hole_table(read(*folders["ipmedgan"], *folders["seed 1"])[0]).note
    assert "With several seeds, the spread of trainings is that of the seeds within the folds." in note
    assert "Fewer than" not in note


def test_missing_folds_are_said_and_all_systems_must_lack_the_same(folders, tmp_path, monkeypatch, caplog):
    options = {"output": str(tmp_path), "reference": None, "cases": 1, "caption": ""}
    monkeypatch.setattr(compare.flags, "FLAGS", SimpleNamespace(**options))
    with pytest.raises(UserError, match="3 of 7 runs left out"):
        compare.main([str(path) for path in (*folders["ipmedgan"][:2], *folders["telea"][:2], *folders["unet"])])
    assert "fold 3 of 3 missing: no score of the subjects tested there" in caplog.text
    assert re.search(
        r"unet-1-0 and 2 more: scored on folds 1, 2 and 3 of 3, but .*ipmedgan-1-0 on folds 1 and 2 of 3\n", caplog.text
    )
    text = (tmp_path / "table.md").read_text()
    assert "16 holes of 16x16 pixels in slices of 32x32, 8 test subjects, 2 of 3 folds (MRI)." in text
    assert "Each subject is scored by a training without it, that of its fold (2 of 3 folds, without fold 3)." in text
    assert "the interval is Student's t over the folds' means, and covers the spread of trainings and that of" in text
    assert "1, 2 of 3 folds" in text
    assert ", one seed" not in text
    assert len(json.loads((tmp_path / "provenance.json").read_text())["runs"]) == 4


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"prefix": "c1-"}, "4 subjects of fold 3 of 3 are in fold 1 of 3 too, such as c1-0"),
        ({"division": "e"}, "prepared from other files, with other settings, or as one of another number of folds"),
        ({"count": 4}, "prepared from other files, with other settings, or as one of another number of folds"),
        ({"train__ema": 0.5}, "other train.ema"),
        ({"corner": 4, "split": "validation"}, "scored on another split, on other holes or with other VGG-19 weights"),
        ({"window": 32}, "scored with other metrics, or on images of another size"),
    ],
)
def test_what_is_no_further_fold_is_refused_with_the_reason(folders, tmp_path, changes, reason):
    other = make_fold(tmp_path, "unet", 3, **changes)
    groups, left_out = read(*folders["unet"][:2], other)
    assert len(groups) == 1
    assert re.search(r"scored on fold 3 of \d, but .*unet-1-0 on folds 1 and 2 of 3; it is not pooled with", left_out[0])
    assert left_out[0].endswith(f" unet-1-0 ({reason})")


def test_kid_of_folds_with_two_subjects_has_no_interval_and_the_note_says_why(tmp_path):
    groups, _ = read(*[make_fold(tmp_path, "telea", k, subjects=2) for k in (1, 2, 3)])
    note = comparison_notes.weak_points(groups, kid=True)
    assert "KID has no interval for Telea: telea-1-0 and 2 other runs have 2 subjects each." in note


def test_a_fold_that_is_given_twice_is_refused(folders, tmp_path):
    _, left_out = read(*folders["telea"], make_fold(tmp_path, "telea", 2))
    assert left_out[0].endswith("; it is not pooled with telea-1-0 (both are fold 2 of 3)")


def test_a_run_without_folds_is_not_compared_with_folds(folders, tmp_path):
    _, left_out = read(make_run(tmp_path / "rbf", "rbf", 3.0, subjects=12), *folders["telea"])
    assert re.search(r"scored on folds 1, 2 and 3 of 3, but .*rbf on no fold of a cross-validation$", left_out[0])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"fold": "2/5", "division": "d"}, "data.fold: expected k of n, found 2/5"),
        ({"fold": 2, "division": "d"}, "data.fold: expected"),
        ({"fold": "2 of 5", "division": ""}, "data.division: expected a digest, found none"),
        ({"fold": "2 of 5"}, ".*division"),
    ],
)
def test_a_damaged_fold_in_a_report_is_named(tmp_path, data, problem):
    folder = make_run(tmp_path / "rbf", "rbf", 3.0, **data)
    with pytest.raises(UserError, match=rf"damaged or of another version \({problem}"):
        evaluated_runs.read(folder)
