"""Comparisons of runs: which runs are compared, which are refused, and the content of the tables."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.stats import ttest_1samp

from ipmedgan_jax import compare
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.evaluation import (
    comparable_runs,
    comparison,
    comparison_tables,
    evaluated_runs,
    paired_tests,
    reports,
    saved_fills,
)
from ipmedgan_jax.evaluation.evaluate_run import evaluate_classical
from ipmedgan_jax.evaluation.intervals import mean_interval
from ipmedgan_jax.evaluation.seed_groups import find_reference, group_seeds
from ipmedgan_jax.experiment import build
from tests.changed_json import OTHERS, REMOVED, changed, places
from tests.evaluation.made_up_runs import make_run


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three evaluated runs on the same made-up slices; the error of the fills grows with the subject's number."""
    root = tmp_path_factory.mktemp("runs")
    for system, error in (("ipmedgan", 10.0), ("telea", 20.0), ("glcic_cited", 5.0)):
        make_run(root / system, system, error)
    return root


def runs_of(folders, *names):
    """Returns a group for each run: they have no config.json."""
    found, left_out = comparable_runs.read_all([folders / name for name in names])
    assert not left_out
    return group_seeds(found)


def test_windows_and_whole_slices_are_not_compared_and_windows_are_named(folders, tmp_path):
    windows = make_run(tmp_path / "windows", "unet", 8.0, window=32)
    runs, left_out = comparable_runs.read_all([folders / "telea", windows])
    assert [run.system for run in runs] == ["telea"]
    assert re.search(r"windows: scored on windows of 32 pixels, but .*telea on whole slices; compare runs", left_out[0])
    (group,) = group_seeds(comparable_runs.read_all([windows])[0])
    comparison.write([group], tmp_path / "out", reference=group, cases=1, caption="")
    assert "16 holes of 16x16 pixels in windows of 32x32, 8 test subjects" in (tmp_path / "out" / "table.md").read_text()
    whole = make_run(tmp_path / "whole", "unet", 8.0, window=0)
    assert not comparable_runs.read_all([folders / "telea", whole])[1]  # older reports have no window


def test_scores_of_the_former_ipmedgan_plus_have_its_present_name(tmp_path):
    folders = [make_run(tmp_path / "old", "ipmedgan_plus", 8.0), make_run(tmp_path / "new", "ipmedgan_plus", 8.0, window=0)]
    runs, left_out = comparable_runs.read_all(folders)
    assert not left_out
    assert [(run.system, run.label) for run in runs] == [
        ("casnet_plus", "CasNet plus (ours)"),
        ("ipmedgan_plus", "ip-MedGAN plus (ours)"),
    ]


def test_scores_of_slices_are_read_back_from_their_file(folders):
    run = runs_of(folders, "telea")[0].first
    assert len(run.scores) == 16
    assert run.scores[3].foreground == 0.8
    assert np.mean(run.per_subject("mse")) == pytest.approx(run.report["region"]["hole"]["mse"]["mean"])
    assert run.fills.inpainted(0).shape == (32, 32)


def test_the_tables_have_the_numbers_of_the_reports(folders):
    runs = runs_of(folders, "telea", "glcic_cited", "ipmedgan")
    table = comparison_tables.hole_table(runs)
    assert [row[0] for row in table.rows] == ["Telea", "GLCIC as cited", "ip-MedGAN"]
    cells = dict(zip(table.heading, table.rows[2], strict=True))
    mse = runs[2].first.report["region"]["hole"]["mse"]
    assert cells["MSE"] == f"{mse['mean']:.1f} [{mse['ci95'][0]:.1f}, {mse['ci95'][1]:.1f}]"
    low, high = mean_interval(np.linspace(0.1, 0.3, 8))
    assert cells["KID"] == f"0.2000 [{low:.4f}, {high:.4f}]"
    assert [cells[name] for name in ("seeds", "slices", "parameters")] == ["1", "400", "6.00 M"]
    assert table.rows[0][-4:] == ("-", "-", "-", "0.5")


def test_differences_are_paired_and_tested_over_subjects(folders, tmp_path):
    make_run(tmp_path / "laplace", "laplace", 5.0)
    make_run(tmp_path / "rbf", "rbf", 9.6)
    paths = [folders / "telea", tmp_path / "laplace", tmp_path / "rbf"]
    runs = group_seeds(comparable_runs.read_all(paths)[0])
    table = comparison_tables.difference_table(runs, runs[2])
    assert [row[0] for row in table.rows] == ["Telea", "Laplace"]
    difference = runs[0].per_subject("mse") - runs[2].per_subject("mse")
    cell = dict(zip(table.heading, table.rows[0], strict=True))["MSE"]
    low, high = mean_interval(difference)
    both = [ttest_1samp(run.per_subject("mse") - runs[2].per_subject("mse"), 0).pvalue for run in runs[:2]]
    assert both[0] < both[1]  # so Holm doubles the first
    assert cell == f"+{difference.mean():.1f} [+{low:.1f}, +{high:.1f}], p {f'{2 * both[0]:.3f}'[1:]}"
    uqi = dict(zip(table.heading, table.rows[0], strict=True))["UQI"]
    assert uqi == "+0.0000 [+0.0000, +0.0000], p 1.000"


def test_holm_s_correction_by_hand():
    assert paired_tests.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert paired_tests.holm([0.9, 0.8]) == [1.0, 1.0]


def test_each_hole_is_in_one_group_by_foreground(folders):
    runs = runs_of(folders, "telea", "ipmedgan")
    table = comparison_tables.group_table(runs)
    assert [name.split(", ")[1] for name in table.heading[1::2]] == ["below 75% (6)", "75% to 95% (6)", "95% and more (4)"]
    few = "Fewer than 6 subjects have such holes: below 75% (3), 75% to 95% (3), 95% and more (2)."
    assert few in table.note
    first = [score.hole_scores["psnr"] for score in runs[0].first.scores if score.foreground < 0.75]
    assert table.rows[0][1].startswith(f"{np.mean(first):.2f}")


def test_the_paper_s_printed_uqi_stands_beside_sewar_s_uqi(folders):
    table = comparison_tables.paper_table(runs_of(folders, "ipmedgan", "telea"))
    (row,) = table.rows
    cells = dict(zip(table.heading, row, strict=True))
    assert cells["UQI"].startswith("0.9000")
    assert (cells["SSIM, printed"], cells["UQI, printed"]) == ("0.3818", "0.9262")
    assert "Other data" in table.note
    assert comparison_tables.paper_table(runs_of(folders, "telea")) is None


def test_a_comparison_writes_tables_and_figures(folders, tmp_path):
    runs = runs_of(folders, "telea", "ipmedgan")
    comparison.write(runs, tmp_path / "out", reference=runs[1], cases=2, caption="Trained on nothing.")
    text = (tmp_path / "out" / "table.md").read_text()
    assert text.startswith("16 holes of 16x16 pixels in slices of 32x32, 8 test subjects (MRI). Trained on nothing.")
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert len(titles) == 6
    rows = reports.read_rows(tmp_path / "out" / "table.csv")
    expected = runs[1].first.report["region"]["image"]["mse"]["mean"]
    (found,) = (r for r in rows if (r["system"], r["region"], r["metric"]) == ("ip-MedGAN", "image", "mse"))
    assert float(found["mean"]) == expected
    assert float(found["sd_subjects"]) > 0 == len(found["sd_seeds"])
    assert (tmp_path / "out" / "table.tex").read_text().count(r"\begin{table}") >= 6
    with Image.open(tmp_path / "out" / "figure.png") as picture:
        assert picture.width > 4 * 192  # context, two systems, image
    with Image.open(tmp_path / "out" / "subjects.png") as picture:
        assert picture.width > 300
    for name in ("figure.pdf", "subjects.pdf"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"%PDF-1.4")


def test_each_reference_has_a_table_of_differences(folders, tmp_path):
    groups = runs_of(folders, "telea", "ipmedgan", "glcic_cited")
    comparison.write(groups, tmp_path, reference=groups[1], further=groups[:1], cases=1, caption="")
    tables = (tmp_path / "table.md").read_text().split("## Paired differences from ")[1:]
    assert [text.splitlines()[0] for text in tables] == ["ip-MedGAN", "Telea"]
    assert [line.split(" | ")[0].strip("| ") for line in tables[1].split("\n## ")[0].splitlines()[6:] if line] == [
        "ip-MedGAN", "GLCIC as cited",
    ]  # fmt: skip
    assert "Paired differences from Telea" in (tmp_path / "report.html").read_text()


def test_two_runs_of_one_system_are_labelled_by_their_folders(folders, tmp_path):
    make_run(tmp_path / "without_style", "ipmedgan", 12.0)
    runs = group_seeds(comparable_runs.read_all([folders / "ipmedgan", tmp_path / "without_style"])[0])
    assert [run.label for run in runs] == ["ip-MedGAN (ipmedgan)", "ip-MedGAN (without_style)"]
    assert find_reference(runs, "without_style") is runs[1]
    assert find_reference(runs, "ipmedgan") is runs[0]
    with pytest.raises(
        UserError, match=r"--reference=without_styl: .* ipmedgan, without_style; did you mean --reference=without_style"
    ):
        find_reference(runs, "without_styl")


def test_without_ipmedgan_and_a_reference_differences_are_taken_from_the_first_run(folders):
    runs = runs_of(folders, "telea", "glcic_cited")
    assert find_reference(runs, None) is runs[0]
    assert find_reference(runs_of(folders, "telea", "ipmedgan"), None).system == "ipmedgan"


# ------------------------------------------------------------------ runs that are left out


def tampered(folders, tmp_path, edit):
    folder = tmp_path / "tampered"
    shutil.copytree(folders / "telea", folder)
    edit(folder / "evaluation")
    runs, left_out = comparable_runs.read_all([folders / "ipmedgan", folder])
    assert [run.system for run in runs] == ["ipmedgan"]
    (reason,) = left_out
    return reason


def better_mean(directory):
    report = json.loads((directory / "metrics.json").read_text())
    report["region"]["hole"]["ssim"]["mean"] = 0.99
    (directory / "metrics.json").write_text(json.dumps(report))


def better_subject(directory):
    lines = (directory / "subjects.csv").read_text().splitlines()
    cells = lines[1].split(",")
    cells[2] = "0.999"
    (directory / "subjects.csv").write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")


def score_that_is_nan(directory):
    lines = (directory / "slices.csv").read_text().splitlines()
    cells = lines[1].split(",")
    cells[lines[0].split(",").index("hole_psnr")] = "nan"
    (directory / "slices.csv").write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")


def older_report(directory):
    report = json.loads((directory / "metrics.json").read_text())
    del report["images_seen"]
    (directory / "metrics.json").write_text(json.dumps(report))


def fewer_slices(directory):
    lines = (directory / "slices.csv").read_text().splitlines()
    (directory / "slices.csv").write_text("\n".join(lines[:-1]) + "\n")


def foreign_slices(text):
    """Returns an edit that replaces slices.csv; `{head}` is its heading, `{row}` that and its first row."""

    def edit(directory):
        lines = (directory / "slices.csv").read_text().splitlines()
        (directory / "slices.csv").write_text(text.format(head=lines[0], row="\n".join(lines[:2])))

    return edit


def repeated_subject(directory):
    lines = (directory / "subjects.csv").read_text().splitlines()
    (directory / "subjects.csv").write_text("\n".join([*lines[:-1], lines[1]]) + "\n")


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (foreign_slices("a,b"), r"damaged or of another version \(slices\.csv has no slice\)"),
        (foreign_slices(""), r"slices\.csv has no slice"),
        (foreign_slices("{head}\n"), r"slices\.csv has no slice"),
        (foreign_slices("a,b\n1,2\n"), r"damaged or of another version"),
        (foreign_slices("{head}\na,b\n"), r"a row has other columns"),
        (foreign_slices("{row},1\n"), r"a row has other columns"),
        (foreign_slices("{head},subject\n"), r"slices\.csv has two columns subject"),
        (
            foreign_slices("subject,volume,slice,row,column,height,width,foreground\ns0,v,0,0,0,4,4,1\n"),
            r"slices\.csv has no score of hole and image",
        ),
        (repeated_subject, r"subjects\.csv and slices\.csv have other subjects"),
        (better_mean, r"metrics\.json and slices\.csv differ in ssim \(hole\)"),
        (better_subject, r"subjects\.csv and slices\.csv differ in s0's ssim"),
        (score_that_is_nan, r"subject s0, .*: expected a finite psnr, got nan .*evaluate the run again"),
        (fewer_slices, r"metrics\.json counts other slices"),
        (lambda d: (d / "metrics.json").write_text("{"), "damaged or of another version"),
        (lambda d: (d / "metrics.json").write_text("{}"), "damaged or of another version"),
        (older_report, r"damaged or of another version \('images_seen'\)"),
        (lambda d: (d / "slices.csv").write_text((d / "slices.csv").read_text()[:-1] + ",1\n"), "damaged or of another"),
        (lambda d: (d / "subjects.csv").unlink(), r"subjects\.csv: not found; evaluate the run"),
        (lambda d: (d / "fills.npz").write_bytes(b"PK"), r"fills\.npz: damaged"),
        (lambda d: (d / "fills.npz").unlink(), r"fills\.npz: not found; evaluate the run again"),
        (lambda d: shutil.rmtree(d), r"metrics\.json: not found"),
    ],
)
def test_a_run_whose_files_do_not_agree_is_named_and_left_out(edit, reason, folders, tmp_path):
    found = tampered(folders, tmp_path, edit)
    assert "tampered" in found
    assert re.search(reason, found)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fingerprint": "g"}, "scored with other data than"),
        ({"corner": 5}, "scored on other holes than"),
        ({"subjects": 7}, "scored on other holes than"),
    ],
)
def test_a_run_on_other_data_or_holes_is_named_and_left_out(changes, reason, folders, tmp_path):
    other = make_run(tmp_path / "other", "telea", 20.0, **changes)
    runs, left_out = comparable_runs.read_all([folders / "ipmedgan", other])
    assert len(runs) == 1
    assert f"{other}: {reason}" in left_out[0]


def test_a_figure_s_row_shows_every_run_s_fill_of_one_slice(folders, tmp_path):
    first, second = (group.first for group in runs_of(folders, "ipmedgan", "telea"))
    which = first.fills.shown[2]
    row, column, height, width = first.fills.hole[which]
    shown = first.fills.inpainted(2, second.fills.fill[which])
    np.testing.assert_array_equal(shown[row : row + height, column : column + width], second.fills.fill[which])
    np.testing.assert_array_equal(shown[0], first.fills.image[2][0])


def test_fills_of_other_slices_are_noticed(folders, tmp_path):
    other = make_run(tmp_path / "other", "telea", 20.0, subjects=7)
    reason = tampered(folders, tmp_path, lambda d: shutil.copy(other / "evaluation" / saved_fills.FILE, d))
    assert "are of other slices" in reason


# ------------------------------------------------------------------ the command


@pytest.fixture
def flags_of(monkeypatch):
    class Values:
        reference, cases, caption = None, 2, ""

    def give(output):
        Values.output = str(output)
        monkeypatch.setattr(compare.flags, "FLAGS", Values)

    return give


def test_the_command_compares_the_other_runs_if_one_is_missing_and_ends_with_an_error(folders, tmp_path, flags_of, capsys):
    flags_of(tmp_path / "out")
    with pytest.raises(UserError, match="1 of 3 runs left out"):
        compare.main([str(folders / "ipmedgan"), str(tmp_path / "nowhere"), str(folders / "telea")])
    printed = capsys.readouterr().out
    assert "| Telea" in printed
    assert "One seed: ip-MedGAN." in printed
    assert (tmp_path / "out" / "figure.png").exists()


def test_nothing_to_compare_is_an_error(tmp_path, flags_of):
    flags_of(tmp_path / "out")
    with pytest.raises(UserError, match="no run left to compare"):
        compare.main([str(tmp_path / "nowhere")])


def test_an_output_that_cannot_be_written_is_an_error(folders, tmp_path, flags_of):
    (tmp_path / "file").write_text("")
    flags_of(tmp_path / "file" / "out")
    with pytest.raises(UserError, match="cannot be written"):
        compare.main([str(folders / "telea")])


def test_runs_that_evaluate_wrote_can_be_compared(tiny_config, tmp_path):
    for system in ("telea", "rbf"):
        evaluate_classical(build.build_experiment(tiny_config(evaluation__examples=1)), system, tmp_path / system)
    runs, left_out = comparable_runs.read_all([tmp_path / "telea", tmp_path / "rbf"])
    assert not left_out
    assert {run.label for run in runs} == {"Telea", "thin-plate spline"}
    first = runs[0]
    assert 0.5 <= min(score.foreground for score in first.scores) <= 1
    which = first.fills.shown[0]
    row, column, height, width = first.fills.hole[which]
    inpainted = first.fills.inpainted(0)
    np.testing.assert_array_equal(inpainted[row : row + height, column : column + width], first.fills.fill[which])
    kept = [i for i in range(4, len(first.scores), saved_fills.KEEP_EVERY) if i not in first.fills.shown]
    assert first.fills.kept.tolist() == kept != []
    assert first.fills.image_of(kept[0]).shape == inpainted.shape


def test_any_value_in_a_report_is_read_or_refused(folders, tmp_path):
    run = shutil.copytree(folders / "ipmedgan", tmp_path / "run")
    path, refused = run / "evaluation" / "metrics.json", 0
    report, telea = json.loads(path.read_text()), runs_of(folders, "telea")
    for i, place in enumerate(places(report)):
        for value in (REMOVED, OTHERS[1 + i % (len(OTHERS) - 1)], [0, 1]):
            path.write_text(changed(report, place, value))
            try:
                found = [*telea, *group_seeds([evaluated_runs.read(run)])]
            except UserError:
                refused += 1
                continue
            comparison_tables.hole_table(found)
            comparison_tables.difference_table(found, found[0])
    assert refused > 60


def test_a_report_of_nested_json_is_refused_in_one_line(folders, tmp_path):
    run = shutil.copytree(folders / "ipmedgan", tmp_path / "run")
    (run / "evaluation" / "metrics.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="nested too deep"):
        evaluated_runs.read(run)
