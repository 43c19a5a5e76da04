"""Evaluated runs side by side: reading and checking them, the tables, the figure and the scatter.

A run is checked against itself (its slices' scores must add up to its subjects' and its report's) and against the first
(the same data, holes and slices): what is compared is what was scored. All means are over subjects, but for KID, which
weighs pairs of slices.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ipmedgan_jax.core import files
from ipmedgan_jax.evaluation import reports
from ipmedgan_jax.evaluation.comparison_figures import figure, scatter
from ipmedgan_jax.evaluation.comparison_tables import difference_table, group_table, hole_table, image_table, paper_table
from ipmedgan_jax.evaluation.evaluated_runs import Run

# ------------------------------------------------------------------ reading


# ------------------------------------------------------------------ tables


# ------------------------------------------------------------------ files


def write(runs: Sequence[Run], output: Path, *, reference: Run | None, cases: int, caption: str) -> None:
    """Writes table.md, table.csv, table.tex, figure.png and subjects.png."""
    output.mkdir(parents=True, exist_ok=True)
    tables = [hole_table(runs)]
    if reference is not None and len(runs) > 1:
        tables.append(difference_table(runs, reference))
    tables += [group_table(runs), image_table(runs)]
    if beside := paper_table(runs):
        tables.append(beside)
    sections = [f"## {table.title}\n\n{table.note}\n\n{table.markdown()}" for table in tables]
    files.write_text(output / "table.md", "\n".join([f"{_header(runs, caption)}\n", *sections]))
    files.write_text(output / "table.tex", "\n".join(table.latex() for table in tables))
    files.write_text(output / "table.csv", reports.csv_text(_csv_rows(runs)))
    figure(runs, output / "figure.png", cases=cases)
    scatter(runs, output / "subjects.png")


def _header(runs: Sequence[Run], caption: str) -> str:
    report = runs[0].report
    data, holes = report["data"], report["holes"]
    return (
        f"{report['slices']} holes of {holes['size']}x{holes['size']} pixels in slices of {data['image_size']}x"
        f"{data['image_size']}, {report['subjects']} {data['split']} subjects ({data['modality'].upper()}). {caption}".strip()
    )


def _csv_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One row a system, region and metric."""
    rows = []
    for run in runs:
        for region in reports.REGIONS:
            for metric, estimate in run.report["region"][region].items():
                if isinstance(estimate, dict):
                    low, high = estimate["ci95"] or ("", "")
                    figures_of_it = {"mean": estimate["mean"], "low": low, "high": high}
                    rows.append({"system": run.label, "region": region, "metric": metric} | figures_of_it)
    return rows
