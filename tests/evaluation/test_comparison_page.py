"""The report of a comparison: what it says, what it escapes, and which slices it shows."""

import dataclasses
import html
import re

import numpy as np
import pytest
from PIL import Image

from ipmedgan_jax.evaluation import (
    comparable_runs,
    comparison,
    comparison_pictures,
    comparison_tables,
    evaluated_runs,
    paired_tests,
    reports,
    saved_fills,
    table_html,
)
from ipmedgan_jax.evaluation.seed_groups import SeedGroup, group_seeds
from ipmedgan_jax.evaluation.seed_model import SystemScores
from tests.evaluation.made_up_runs import make_run


def runs_in(folder, **settings):
    systems = (("ipmedgan", 10.0), ("telea", 20.0), ("glcic_cited", 5.0))
    found, left_out = comparable_runs.read_all([make_run(folder / name, name, error, **settings) for name, error in systems])
    assert not left_out
    return group_seeds(found)


def page_of(runs, output, **changes):
    settings = {"reference": runs[0], "cases": 2, "caption": ""} | changes
    comparison.write(runs, output, **settings)
    return (output / "report.html").read_text()


def tables_of(page):
    """Returns the rows of each table of text, as a reader sees them."""
    tables = []
    for table in re.findall(r"<table.*?</table>", page, re.DOTALL):
        rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
        cells = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
        tables.append([[html.unescape(re.sub(r"<.*?>", "", cell)) for cell in row] for row in cells])
    return tables


def test_the_tables_of_the_page_are_those_of_table_md(tmp_path):
    page = page_of(runs_in(tmp_path), tmp_path / "out")
    written = (tmp_path / "out" / "table.md").read_text()
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in written.splitlines() if line[:1] == "|"]
    expected = [row for row in lines if not re.fullmatch("[-|]+", "".join(row))]
    found = [row for table in tables_of(page)[:6] for row in table]
    assert found == expected
    assert [line[3:] for line in written.splitlines() if line.startswith("## ")] == [
        html.unescape(title) for title in re.findall(r"<h3.*?>(.*?)</h3>", page)
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1230 [0.1, 0.2]", 0.123),
        ("-12.5 [-20.0, -3.1], p .016", -12.5),
        ("+0.3, p < .001", 0.3),
        ("+0.3 [+0.1, +0.5], one seed", 0.3),
        ("9,600", 9600),
        ("4.62 M", 4.62),
        ("1e-05", 1e-5),
        ("-", None),
    ],
)
def test_a_cell_is_sorted_by_its_first_number_and_keeps_its_text(text, value):
    cell = table_html.cell_html(text)
    assert table_html.sort_value(text) == value
    assert html.unescape(re.sub("<.*?>", "", cell)).strip() == text
    assert ("data-sort" in cell) == (value is not None)


def test_names_of_runs_and_subjects_are_text(tmp_path):
    hostile = '<img src=x onerror="alert(1)">&\'\u2028</script>'
    runs = [dataclasses.replace(run, label=hostile + run.label) for run in runs_in(tmp_path, subject_prefix=hostile)]
    page = page_of(runs, tmp_path / "out", caption=hostile)
    assert 'onerror="' not in page
    assert "<img src=x" not in page
    assert page.count("</script>") == 4  # the data and three scripts
    assert sorted(path.name for path in (tmp_path / "out" / "report").iterdir())[0] == "slice-00000.png"


def test_a_slice_s_picture_has_the_context_every_fill_and_the_image(tmp_path):
    runs = runs_in(tmp_path)
    (picture,) = comparison_pictures.write_pictures(runs, [2], tmp_path).values()
    with Image.open(tmp_path / picture.file) as found:
        pixels = np.array(found)
    assert pixels.shape == (32, 5 * 32)
    tiles = np.split(pixels, 5, axis=1)
    row, column, height, width = picture.hole
    box = np.s_[row : row + height, column : column + width]
    assert np.all(tiles[0][box] == 0)
    for run, tile in zip(runs, tiles[1:4], strict=True):
        np.testing.assert_array_equal(tile[box], np.rint((run.first.fills.fill[2] + 1) * 127.5))
        np.testing.assert_array_equal(tile[0], tiles[4][0])


def test_pictures_of_an_earlier_report_are_removed(tmp_path):
    runs = runs_in(tmp_path)
    comparison_pictures.write_pictures(runs, [0, 2], tmp_path)
    comparison_pictures.write_pictures(runs, [4], tmp_path)
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["slice-00004.png"]


def test_subjects_without_a_kept_image_are_shown_by_their_fills_and_the_page_says_so(tmp_path):
    page = page_of(runs_in(tmp_path), tmp_path / "out")
    parts = re.findall(r"<summary>(s\d) <small>(.*?)</small>", page)
    assert parts[0] == ("s0", "2 holes, 1 slice shown")
    assert parts[7] == ("s7", "2 holes, 2 slices shown, fills alone: the runs kept no image of this subject")
    assert "kept no image of some subjects" in page
    assert 'class="tiles alone"' in page


def test_an_image_that_one_run_kept_serves_all(tmp_path):
    runs = runs_in(tmp_path)
    grey = np.full((8, 32, 32), 51, np.uint8)
    fills = dataclasses.replace(runs[2].first.fills, kept=np.arange(1, 16, 2), kept_grey=grey)
    runs[2] = dataclasses.replace(runs[2], runs=(dataclasses.replace(runs[2].first, fills=fills),))
    chosen = comparison_pictures.subject_positions(runs)
    assert chosen["s0"] == [0, 1]
    assert chosen["s7"] == [15]
    (picture,) = comparison_pictures.write_pictures(runs, [15], tmp_path).values()
    with Image.open(tmp_path / picture.file) as found:
        assert found.getpixel((0, 0)) == 51
    assert "kept no image" not in page_of(runs, tmp_path / "out")


@pytest.mark.parametrize(("subjects", "slices"), [(1, 6), (100, 6), (300, 2), (601, 1)])
def test_a_page_of_many_subjects_shows_fewer_slices_of_each(subjects, slices):
    scores = [reports.SliceScore(f"{i}", "v", j, (0, 0, 1, 1), 1.0, {}, {}) for i in range(subjects) for j in range(9)]
    fills = dataclasses.make_dataclass("Fills", ["shown", "kept"])(np.arange(len(scores)), np.array([], int))
    run = dataclasses.make_dataclass("Run", ["scores", "fills"])(scores, fills)
    chosen = comparison_pictures.subject_positions([SeedGroup("", (run,), (None,))])
    assert {len(positions) for positions in chosen.values()} == {slices}


def test_files_of_earlier_versions_have_no_kept_images(tmp_path):
    path = make_run(tmp_path / "old", "telea", 20.0) / "evaluation" / saved_fills.FILE
    with np.load(path) as arrays:
        np.savez_compressed(path, **{name: arrays[name] for name in arrays if name not in saved_fills.OPTIONAL})
    fills = saved_fills.read(path)
    assert len(fills.kept) == len(fills.kept_grey) == 0
    assert fills.image_of(0).shape == (32, 32)
    assert fills.image_of(1) is None
    groups = group_seeds(comparable_runs.read_all([tmp_path / "old"])[0])
    assert "Comparison of 1 system<" in page_of(groups, tmp_path / "out")


def test_the_page_names_no_home_and_no_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    page = page_of(runs_in(tmp_path), tmp_path / "out")
    assert str(tmp_path) not in page


# ------------------------------------------------------------------ which best values the tests support


def scores(values, *, learns=False):
    return SystemScores(np.atleast_2d(values), learns)


def test_a_best_value_is_marked_where_every_pair_s_test_supports_it():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, (3, 20))
    values = [scores(row) for row in noise + np.array([[3.0], [2.0], [1.0]])]
    assert paired_tests.supported_best(values, higher_is_better=True) == 0
    assert paired_tests.supported_best(values, higher_is_better=False) == 2
    near = scores(values[0].values + noise[0] - noise[0].mean())
    assert paired_tests.supported_best([values[0], near, values[2]], higher_is_better=True) is None


@pytest.mark.parametrize("position", [0, 1])
def test_no_best_value_is_marked_beside_a_system_with_few_seeds(position):
    values = [scores(np.arange(8) + 10.0), scores(np.arange(8.0))]
    rows = values[position].values
    for seeds, best in ((0, 0), (1, None), (2, None), (3, 0)):
        values[position] = scores(np.repeat(rows, max(seeds, 1), axis=0), learns=seeds > 0)
        assert paired_tests.supported_best(values, higher_is_better=True) == best


@pytest.mark.parametrize("subjects", [0, 1, 5])
def test_few_subjects_support_no_best_value(subjects):
    values = [scores(np.arange(subjects) + shift) for shift in (10.0, 0.0, -10.0)]
    assert paired_tests.supported_best(values, higher_is_better=True) is None


def test_p_values_that_are_not_known_are_no_members_of_holm_s_family():
    assert paired_tests.holm_known([0.01, None, 0.04]) == [0.02, None, 0.04]
    assert paired_tests.holm_known([None]) == [None]


def test_supported_values_are_marked_in_the_page(tmp_path):
    systems = (("laplace", 10.0), ("telea", 20.0), ("rbf", 5.0))
    runs = group_seeds([evaluated_runs.read(make_run(tmp_path / name, name, error)) for name, error in systems])
    table = comparison_tables.hole_table(runs)
    mse = table.heading.index("MSE")
    assert (2, mse) in table.supported
    assert not {column for _, column in table.supported} & {table.heading.index("UQI"), table.heading.index("KID"), 0}
    assert re.search(r'class="number supported"[^>]*><b>\d', table_html.table_html(table))
    assert "Bold: the best mean of its column" in table.latex()
    assert table.latex().count("textbf") == len(table.supported)
    assert "No best value" not in page_of(runs, tmp_path / "out")
    few = page_of(runs_in(tmp_path / "few", subjects=4), tmp_path / "out")
    assert "No best value is marked: there are 4 subjects, at least 6 expected." in few
    single = page_of(runs_in(tmp_path / "single"), tmp_path / "out")
    assert "No best value is marked: there are fewer than 3 seeds of ip-MedGAN, GLCIC as cited." in single
