"""Reports: means and intervals over subjects, and the content of the files."""

import csv
import json
import math

import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.evaluation import reports


def slice_score(subject: str, index: int, mse: float, **more: float) -> reports.SliceScore:
    return reports.SliceScore(subject, "v", index, (0, 0, 8, 8), 0.5, {"mse": mse, **more}, {"mse": mse / 16})


def make_report(scores: list[reports.SliceScore], system: str = "telea") -> dict:
    return reports.report(scores, system=system, step=None, data={"dir": ""}, holes={"size": 8}, seconds_per_slice=0.1)


SCORES = [slice_score("b", 0, 100.0), slice_score("a", 0, 10.0), slice_score("a", 1, 30.0), slice_score("c", 0, 0.0)]


def test_means_are_over_subjects_not_slices():
    found = make_report(SCORES)
    assert found["region"]["hole"]["mse"]["mean"] == pytest.approx((20 + 100 + 0) / 3)
    assert found["region"]["image"]["mse"]["mean"] == pytest.approx((20 + 100 + 0) / 48)
    assert (found["subjects"], found["slices"]) == (3, 4)


def test_report_has_the_keys_of_metrics_json():
    found = make_report(SCORES)
    assert list(found) == [
        "system",
        "step",
        "checkpoint",
        "images_seen",
        "parameters",
        "data",
        "holes",
        "region",
        "subjects",
        "slices",
        "seconds_per_slice",
    ]
    assert set(found["region"]) == {"hole", "image"}
    assert set(found["region"]["hole"]) == {"mse", "psnr_of_mean_mse"}
    assert set(found["region"]["hole"]["mse"]) == {"mean", "ci95"}


def test_psnr_of_the_mean_mse_is_not_raised_by_a_perfect_slice():
    found = make_report(SCORES)["region"]["hole"]["psnr_of_mean_mse"]
    assert found == pytest.approx(10 * math.log10(255**2 / 40))
    assert make_report([slice_score("a", 0, 0.0)])["region"]["hole"]["psnr_of_mean_mse"] == 100


def test_one_subject_has_no_interval(tmp_path):
    scores = [slice_score("a", index, 5.0 + index) for index in range(3)]
    reports.write_report(tmp_path, make_report(scores), scores)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["region"]["hole"]["mse"] == {"mean": 6.0, "ci95": None}


def test_the_files_hold_the_report(tmp_path):
    found = make_report(SCORES)
    reports.write_report(tmp_path / "evaluation", found, SCORES)
    written = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert written["region"]["hole"]["mse"]["ci95"] == list(found["region"]["hole"]["mse"]["ci95"])
    assert sorted(path.name for path in (tmp_path / "evaluation").iterdir()) == ["metrics.json", "slices.csv", "subjects.csv"]


def test_subjects_csv_has_one_row_a_subject(tmp_path):
    reports.write_report(tmp_path, make_report(SCORES), SCORES)
    with (tmp_path / "subjects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"subject": "a", "slices": "2", "hole_mse": "20.0", "image_mse": "1.25"}
    assert [row["subject"] for row in rows] == ["a", "b", "c"]


def test_table_is_aligned_and_marks_metrics_that_were_not_taken():
    one = [slice_score("a", 0, 12.0, ssim=0.5)]
    lines = reports.table([make_report(SCORES), make_report(one, system="ipmedgan")]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].replace(" ", "") == "|system|SSIM|PSNR|MSE|UQI|MAE|VGG|KID|"
    assert set(lines[1]) == {"|", "-", " "}
    assert lines[2].startswith("| telea    | -      | -    | 40.0 [")
    assert lines[3].replace(" ", "") == "|ipmedgan|0.5000|-|12.0|-|-|-|-|"


def test_a_name_is_no_markup_in_a_table():
    assert reports.markdown_table([["p < .001"], ["<b>a|b</i>"]]).splitlines()[2] == r"| \<b>a\|b\</i> |"
    assert "| p < .001 " in reports.markdown_table([["p < .001"]])


def test_a_score_that_is_not_finite_is_refused_by_name():
    with pytest.raises(UserError, match="subject b, volume v, slice 7, hole: expected a finite mse, got nan"):
        make_report([*SCORES, slice_score("b", 7, math.nan)])


def test_slices_with_other_metrics_are_refused():
    with pytest.raises(ValueError, match=r"slice 7, hole: expected metrics \['mse'\], got \['mse', 'ssim'\]"):
        make_report([*SCORES, slice_score("b", 7, 1.0, ssim=1.0)])


def test_a_report_of_nothing_is_refused():
    with pytest.raises(UserError, match="telea: no slice to score"):
        make_report([])
