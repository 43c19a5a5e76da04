"""Tables for LaTeX: signs, bold, width, and a compiled article where TeX is installed."""

import re
import shutil
import subprocess

import pytest

from ipmedgan_jax.evaluation.latex import HEAD, TEXT_WIDTH, escape, latex

NOTE = "Lower is better; 95 % intervals."
WIDE = ("system", *(f"M{i}, 75% to 95% (6)" for i in range(8)), "s/slice")
NAMES = ("[2] a_b & c", "ip-MedGAN plus (ours) (no_local_discriminator)", r"50% #1 {x} $y ~z ^w \n <b>")


def wide_table():
    cells = [
        ("-1.2345 [-1.3000, -1.1000]", "+0.0020 [-0.0100, +0.0120], p < .001", "-", "12345.6 [12000.0, 13000.0]") * 2
    ] * 3
    rows = [(name, *row, "0.5") for name, row in zip(NAMES, cells, strict=True)]
    return latex("Differences", NOTE, WIDE, rows, bold={(0, 1), (2, 4)})


def test_numbers_have_minus_signs_and_missing_ones_a_dash():
    table = latex("A", "B", ("system", "x"), [("U-Net", "-0.5 [-1.0, -0.1], p .016"), ("b", "-")], bold=set())
    assert "{U-Net} & $-$0.5, $p$ .016 \\\\\n & {\\scriptsize [$-$1.0, $-$0.1]} \\\\" in table
    assert "{b} & -- \\\\" in table


def test_one_seed_stands_in_the_place_of_p():
    table = latex("A", "B", ("system", "x"), [("U-Net", "-0.5 [-1.0, -0.1], one seed")], bold=set())
    assert "{U-Net} & $-$0.5, one seed \\\\\n & {\\scriptsize [$-$1.0, $-$0.1]} \\\\" in table


def test_the_best_mean_is_bold_and_its_interval_is_not():
    table = latex("A", "B", ("system", "x"), [("a", "0.5 [0.1, 1.0]"), ("b", "0.4")], bold={(0, 1)})
    assert table.count("textbf") == 1
    assert "\\textbf{0.5} \\\\\n & {\\scriptsize [0.1, 1.0]}" in table


def test_every_character_of_a_name_is_escaped():
    assert escape("a_b & 50% #1 {x} $ ~ ^ < >") == (r"a\_b \& 50\% \#1 \{x\} \$ \textasciitilde{} \textasciicircum{} $<$ $>$")
    assert escape("\\") == r"\textbackslash{}"


def test_a_wide_table_is_divided_and_no_column_is_lost():
    table = wide_table()
    floats = table.split("\\begin{table}")[1:]
    assert len(floats) > 1
    assert table.count(NOTE.replace("%", r"\%")) == 1
    columns = [len(re.search(r"@\{\}l(r+)@", part)[1]) for part in floats]
    assert sum(columns) == len(WIDE) - 1
    for part, count in zip(floats, columns, strict=True):
        assert {len(re.findall(r"(?<!\\)&", line)) for line in part.splitlines() if line.endswith(r"\\")} == {count}


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no TeX on this machine")
@pytest.mark.parametrize("packages", ["", r"\usepackage{booktabs}"])
def test_the_tables_compile_as_they_are_and_fit_the_text(packages, tmp_path):
    (tmp_path / "table.tex").write_text(HEAD + wide_table())
    article = (
        rf"\documentclass{{article}}{packages}\begin{{document}}\input{{table}}\typeout{{\the\textwidth}}\end{{document}}"
    )
    (tmp_path / "article.tex").write_text(article)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "article"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout
    assert f"{TEXT_WIDTH}pt" in done.stdout
