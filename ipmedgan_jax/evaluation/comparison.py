"""Writes a comparison of evaluated runs: tables, a figure of fills, a plot of the subjects' scores, and a page of them all.

All means are over subjects, except KID, which averages pairs of slices. `evaluated_runs` reads the runs and checks that they
can be compared.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ipmedgan_jax.core import files, provenance
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.evaluation import comparison_page, latex, reports
from ipmedgan_jax.evaluation.comparison_figures import figure, scatter
from ipmedgan_jax.evaluation.comparison_tables import difference_table, group_table, hole_table, image_table, paper_table
from ipmedgan_jax.evaluation.evaluated_runs import Run


def write(runs: Sequence[Run], output: Path, *, reference: Run, cases: int, caption: str) -> None:
    """Writes tables, figures (each as .png and .pdf), provenance.json and the page report.html into the folder `output`.

    Args:
      runs: the runs, in the order of the rows.
      reference: the run from which paired differences are taken.
      cases: number of rows of figure.png, and of slices in the page's figure.
      caption: text behind the heading of table.md and of the page.
    """
    output.mkdir(parents=True, exist_ok=True)
    tables = [hole_table(runs)]
    if len(runs) > 1:
        tables.append(difference_table(runs, reference))
    tables += [group_table(runs), image_table(runs)]
    if printed := paper_table(runs):
        tables.append(printed)
    sections = [f"## {table.title}\n\n{table.note}\n\n{table.markdown()}" for table in tables]
    made = provenance.provenance()
    line = provenance.one_line(made)
    files.write_text(output / "table.md", "\n".join([f"{_header(runs, caption)}\n", *sections, f"`{line}`\n"]))
    files.write_text(output / "table.tex", "\n".join([f"% {line}", latex.HEAD, *(table.latex() for table in tables)]))
    files.write_text(output / "table.csv", reports.csv_text(_csv_rows(runs)))
    figure(runs, output, cases=cases)
    scatter(runs, output)
    header = _header(runs, caption)
    comparison_page.write(runs, tables, output, reference=reference, cases=cases, header=header, made=line)
    files.write_json(output / "provenance.json", made | {"runs": [_origin(run) for run in runs]})


def _origin(run: Run) -> dict[str, Any]:
    """Returns what a run's scores were made from; null for what an earlier version did not record."""
    report = run.report
    about = {"label": run.label, "step": report.get("step"), "data": report["data"]["fingerprint"]}
    return about | {key: report.get(key) for key in ("weights_sha256", provenance.KEY)}


def _header(runs: Sequence[Run], caption: str) -> str:
    """Returns the first line of table.md: what was scored, and the caption."""
    report = runs[0].report
    data, holes = report["data"], report["holes"]
    holes_text, subjects = counted(report["slices"], "hole"), counted(report["subjects"], f"{data['split']} subject")
    seen = "windows" if data.get("window") else "slices"
    size = f"{holes['size']}x{holes['size']} pixels in {seen} of {data['image_size']}x{data['image_size']}"
    return f"{holes_text} of {size}, {subjects} ({data['modality'].upper()}). {caption}".strip()


def _csv_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Returns the rows of table.csv: one for each run, region and metric."""
    rows = []
    for run in runs:
        for region in reports.REGIONS:
            for metric, estimate in run.report["region"][region].items():
                if isinstance(estimate, dict):
                    low, high = estimate["ci95"] or ("", "")
                    values = {"mean": estimate["mean"], "low": low, "high": high}
                    rows.append({"system": run.label, "region": region, "metric": metric} | values)
    return rows
