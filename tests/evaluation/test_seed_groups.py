"""Which runs are seeds of one system, and what a comparison of them shows."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from ipmedgan_jax.evaluation import (
    comparable_runs,
    comparison,
    comparison_notes,
    comparison_tables,
    evaluated_runs,
    reports,
)
from ipmedgan_jax.evaluation.seed_groups import find_reference, group_seeds
from tests.evaluation.made_up_runs import add_config, make_run


def make_seed(folder, seed, system="ipmedgan", error=10.0, **changes):
    return add_config(make_run(folder, system, error), system, seed=seed, **changes)


def groups_in(*folders):
    runs, left_out = comparable_runs.read_all(folders)
    assert not left_out
    return group_seeds(runs)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three seeds of one system, another system's, and a classical fill."""
    root = tmp_path_factory.mktemp("seeds")
    folders = [make_seed(root / f"ip-{seed}", seed, error=10.0 + seed) for seed in range(3)]
    folders += [make_seed(root / f"glcic-{seed}", seed, "glcic", 6.0 + seed) for seed in (4, 9)]
    return [*folders, make_run(root / "telea", "telea", 20.0)]


def test_seeds_of_one_system_are_one_row(three):
    groups = groups_in(*three)
    assert [(group.label, group.seeds) for group in groups] == [
        ("ip-MedGAN", (0, 1, 2)),
        ("GLCIC", (4, 9)),
        ("Telea", (None,)),
    ]
    assert groups[0].scores_of("psnr").values.shape == (3, 8)
    assert groups[0].shown_label == "ip-MedGAN, seed 0"
    table = comparison_tables.hole_table(groups)
    rows = [dict(zip(table.heading, row, strict=True)) for row in table.rows]
    assert [row["seeds"] for row in rows] == ["3", "2", "-"]
    means = [run.report["region"]["hole"]["mse"]["mean"] for run in groups[0].runs]
    assert rows[0]["MSE"].startswith(f"{np.mean(means):.1f} [")
    assert "Fewer than 3 seeds: GLCIC." in table.note
    assert "One seed" not in table.note


def test_order_and_single_runs_do_not_matter(three):
    groups = groups_in(*(three[i] for i in (5, 2, 3, 0)))
    assert [(group.system, group.seeds) for group in groups] == [("telea", (None,)), ("ipmedgan", (2, 0)), ("glcic", (4,))]
    for table in (
        comparison_tables.hole_table(groups),
        comparison_tables.image_table(groups),
        comparison_tables.group_table(groups),
        comparison_tables.difference_table(groups, groups[0]),
    ):
        assert "One seed: GLCIC." in table.note


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"loss__style": 1.0, "train__ema": 0.5}, "other loss.style, train.ema"),
        ({"train__steps": 7}, "other train.steps"),
        ({"train__validate_every": 7}, "other train.validate_every"),  # it chooses the checkpoint
        ({"seed": 0}, "the same seed 0"),
    ],
)
def test_runs_that_are_more_than_seeds_stay_apart_and_say_why(three, tmp_path, change, reason):
    other = make_seed(tmp_path / "other", **({"seed": 5} | change))
    first, second = groups_in(*three[:2], other)
    assert (first.label, second.label) == ("ip-MedGAN (ip-0 and 1 more)", "ip-MedGAN (other)")
    assert second.apart == f"ip-0 ({reason})"
    assert f"ip-MedGAN (other) is no further seed of ip-0 ({reason})." in comparison_tables.spread_table([first, second]).note


@pytest.mark.parametrize("change", [{"data__dir": "elsewhere"}, {"train__log_every": 7}, {"data__threads": 3}])
def test_folders_and_logs_may_differ_between_seeds(three, tmp_path, change):
    (group,) = groups_in(three[0], make_seed(tmp_path / "other", 5, **change))
    assert group.seeds == (0, 5)


def changed_config(folder):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seed": 3}))


def without_data(folder):
    path = folder / "config.json"
    path.write_text(
        json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k not in ("dataset", "fields_sha256")})
    )


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda folder: (folder / "config.json").unlink(), "other/config.json: not found"),
        (lambda folder: (folder / "config.json").write_text("{"), "other/config.json: damaged"),
        (changed_config, "other/config.json: was changed"),
        (without_data, "other/config.json: names no training data"),
    ],
)
def test_a_run_whose_config_cannot_be_read_stays_apart_and_says_why(three, tmp_path, edit, reason):
    edit(make_seed(tmp_path / "other", 5))
    first, second = groups_in(three[0], tmp_path / "other")
    assert second.apart.startswith(f"ip-0 ({reason}")
    assert str(tmp_path) not in comparison_tables.spread_table([first, second]).note


def test_a_run_that_was_trained_shorter_is_no_seed(three, tmp_path):
    folders = [make_seed(tmp_path / f"{steps}", steps) for steps in (400, 200)]
    for folder in folders:
        (folder / "checkpoints" / folder.name).mkdir(parents=True)
    assert groups_in(*folders)[1].apart == "400 (trained for 200 steps, not 400)"


def test_a_run_that_was_scored_at_another_checkpoint_is_no_seed(tmp_path):
    folders = [make_seed(tmp_path / name, seed) for seed, name in enumerate(("best", "best_too", "latest", "older"))]
    for folder, choice in zip(folders, ("best", "best", "latest"), strict=False):
        path = folder / "evaluation" / "metrics.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"checkpoint": choice}))
    groups = groups_in(*folders)
    assert [group.seeds for group in groups] == [(0, 1, 3), (2,)]  # what an earlier version scored is not known
    assert groups[1].apart == "best (scored at the checkpoint latest, not best)"


def test_a_folder_that_is_given_twice_or_linked_is_compared_once(three, tmp_path):
    (tmp_path / "link").symlink_to(three[0])
    runs, left_out = comparable_runs.read_all([*three[:2], three[0], tmp_path / "link"])
    assert left_out == [
        f"{folder}: the same folder as {three[0]}, which is compared already" for folder in (three[0], tmp_path / "link")
    ]
    assert [group.seeds for group in group_seeds(runs)] == [(0, 1)]


def test_folders_of_one_name_are_told_apart_by_those_above_them(three, tmp_path, monkeypatch):
    others = [make_seed(tmp_path / name / "ip", seed, train__ema=0.1 * seed) for seed, name in enumerate("ab", 1)]
    monkeypatch.chdir(others[0])
    groups = groups_in(three[0], *others)
    assert [group.label for group in groups] == ["ip-MedGAN (ip-0)", "ip-MedGAN (a/ip)", "ip-MedGAN (b/ip)"]
    assert [group.label for group in groups_in(three[0], Path())] == ["ip-MedGAN (ip-0)", "ip-MedGAN (ip)"]
    assert groups[2].apart == "ip-0 (other train.ema)"
    assert find_reference(groups, "b/ip") is groups[2]


def test_a_folder_s_name_breaks_no_table(three, tmp_path):
    groups = groups_in(three[0], make_seed(tmp_path / "new\nline|2", 5, train__ema=0.5))
    lines = comparison_tables.spread_table(groups).markdown().splitlines()
    assert len(lines) == 4
    assert len({len(re.split(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert groups[1].label == "ip-MedGAN (new line|2)"


def test_a_reference_is_found_by_any_of_its_folders(three):
    groups = groups_in(*three)
    assert find_reference(groups, "glcic-9") is find_reference(groups, "glcic") is groups[1]


def test_a_comparison_shows_the_groups(three, tmp_path):
    groups = groups_in(*three)
    comparison.write(groups, tmp_path, reference=groups[0], cases=1, caption="")
    written = (tmp_path / "table.md").read_text()
    spreads = written.split("## Spread of subjects and of seeds")[1].split("## ")[0]
    row = [cell.strip() for cell in next(line for line in spreads.splitlines() if "ip-MedGAN" in line).strip("|").split("|")]
    assert row[1] == "0, 1, 2"
    seeds = [run.report["region"]["hole"]["psnr"]["mean"] for run in groups[0].runs]
    assert row[5] == f"{np.std(seeds, ddof=1):.2f}"
    entry = next(row for row in reports.read_rows(tmp_path / "table.csv") if row["metric"] == "psnr")
    assert (entry["system"], entry["seeds"]) == ("ip-MedGAN", "3")
    assert float(entry["sd_seeds"]) == pytest.approx(np.std(seeds, ddof=1))
    page = (tmp_path / "report.html").read_text()
    assert "Comparison of 3 systems" in page
    assert "ip-MedGAN, seed 0" in page
    assert "A system with several seeds is shown by the first of its runs." in page
    data = json.loads(re.search(r'id="data"[^>]*>(.*?)</script>', page, re.DOTALL)[1])
    assert [len(seeds) for seeds in data["metrics"][1]["seeds"]] == [3, 2, 0]
    assert len(json.loads((tmp_path / "provenance.json").read_text())["runs"]) == 6


def test_kid_of_seeds_has_an_interval_where_all_runs_have_pseudo_values(three):
    (group,) = groups_in(*three[:2])
    low, high = group.estimate("kid")["ci95"]
    assert low < group.estimate("kid")["mean"] < high
    report = json.loads(json.dumps(group.first.report))
    del report["region"]["hole"]["kid"]["pseudo_values"]
    older = dataclasses.replace(group, runs=(dataclasses.replace(group.first, report=report), group.runs[1]))
    assert older.estimate("kid") == {"mean": pytest.approx(0.2), "ci95": None}
    assert comparison_tables.difference_cells([older], group, "kid", 4) == ["-"]


def without_pseudo_values(run):
    report = json.loads(json.dumps(run.report))
    report["region"]["hole"]["kid"] = {"mean": 0.2, "ci95": None}
    return dataclasses.replace(run, report=report)


def test_the_note_says_why_kid_has_no_interval(three):
    groups = groups_in(*three)
    assert "KID" not in comparison_notes.weak_points(groups, kid=True)
    older = dataclasses.replace(groups[0], runs=(groups[0].first, without_pseudo_values(groups[0].runs[1])))
    with_older = [older, *groups[1:]]
    assert "KID has no interval for ip-MedGAN: evaluate ip-1 again." in comparison_notes.weak_points(with_older, kid=True)
    assert "KID" not in comparison_tables.image_table(with_older).note  # has no such column


def test_a_classical_fill_without_kid_s_interval_is_no_trained_system(three):
    groups = groups_in(*three)
    older = [dataclasses.replace(group, runs=tuple(map(without_pseudo_values, group.runs))) for group in groups]
    third = dataclasses.replace(groups[1], label="another")
    assert "for ip-MedGAN, GLCIC, Telea: evaluate ip-0 and" in comparison_notes.weak_points([*older, third], kid=True)


@pytest.mark.parametrize(
    ("subjects", "text"), [(1, "One subject: no intervals and no p."), (2, "KID has no interval with 2 subjects.")]
)
def test_the_note_says_what_one_and_two_subjects_lack(tmp_path, subjects, text):
    groups = groups_in(make_run(tmp_path / "telea", "telea", 20.0, subjects=subjects))
    note = comparison_notes.weak_points(groups, kid=True)
    assert text in note
    assert ("hold for normally" in note) == (subjects > 1)


def test_intervals_of_earlier_versions_are_computed_anew(tmp_path):
    folder = make_run(tmp_path / "old", "telea", 20.0)
    path = folder / "evaluation" / "metrics.json"
    report = json.loads(path.read_text())
    for metrics in report["region"].values():
        for entry in metrics.values():
            if isinstance(entry, dict):
                entry["ci95"] = [0.0, 1.0]
                entry.pop("pseudo_values", None)
    path.write_text(json.dumps(report))
    fresh = evaluated_runs.read(make_run(tmp_path / "new", "telea", 20.0)).report["region"]
    found = evaluated_runs.read(folder).report["region"]
    assert found["hole"]["psnr"] == fresh["hole"]["psnr"]
    assert found["image"] == fresh["image"]
    assert found["hole"]["kid"] == {"mean": fresh["hole"]["kid"]["mean"], "ci95": None}
