"""Writes a comparison of evaluated runs: tables, a figure of fills, a plot of the subjects' scores, and a page of them all.

A row of a table is a system, with one or more seeds (`seed_groups`). `evaluated_runs` reads the runs and checks that they can
be compared.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ipmedgan_jax.core import files, provenance
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.evaluation import comparison_page, latex, reports, seed_model
from ipmedgan_jax.evaluation.comparison_figures import figure, scatter
from ipmedgan_jax.evaluation.comparison_notes import fold_count
from ipmedgan_jax.evaluation.comparison_tables import (
    difference_table,
    group_table,
    hole_table,
    image_table,
    paper_table,
    spread_table,
)
from ipmedgan_jax.evaluation.evaluated_runs import Run
from ipmedgan_jax.evaluation.seed_groups import SeedGroup


def write(
    groups: Sequence[SeedGroup],
    output: Path,
    *,
    reference: SeedGroup,
    further: Sequence[SeedGroup] = (),
    cases: int,
    caption: str,
) -> None:
    """Writes tables, figures (each as .png and .pdf), provenance.json and the page report.html into the folder `output`.

    Args:
      groups: the systems with their runs, in the order of the rows.
      reference: the system from which paired differences are taken.
      further: systems from which they are taken in tables of their own, too.
      cases: number of rows of figure.png, and of slices in the page's figure.
      caption: text behind the heading of table.md and of the page.
    """
    output.mkdir(parents=True, exist_ok=True)
    tables = [hole_table(groups)]
    if len(groups) > 1:
        tables += [difference_table(groups, group) for group in (reference, *further)]
    tables += [spread_table(groups), group_table(groups), image_table(groups)]
    if printed := paper_table(groups):
        tables.append(printed)
    sections = [f"## {table.title}\n\n{table.note}\n\n{table.markdown()}" for table in tables]
    made = provenance.provenance()
    line = provenance.one_line(made)
    files.write_text(output / "table.md", "\n".join([f"{_header(groups, caption)}\n", *sections, f"`{line}`\n"]))
    files.write_text(output / "table.tex", "\n".join([f"% {line}", latex.HEAD, *(table.latex() for table in tables)]))
    files.write_text(output / "table.csv", reports.csv_text(_csv_rows(groups)))
    figure(groups, output, cases=cases)
    scatter(groups, output)
    header = _header(groups, caption)
    comparison_page.write(groups, tables, output, reference=reference, cases=cases, header=header, made=line)
    origins = [_origin(run.label, part) for group in groups for run in group.runs for part in run.parts or (run,)]
    files.write_json(output / "provenance.json", made | {"runs": origins})


def _origin(label: str, run: Run) -> dict[str, Any]:
    """Returns what a run's scores were made from; null for what an earlier version did not record."""
    report = run.report
    about = {"label": label, "step": report.get("step"), "data": report["data"]["fingerprint"]}
    return about | {key: report.get(key) for key in ("weights_sha256", provenance.KEY)}


def _header(groups: Sequence[SeedGroup], caption: str) -> str:
    """Returns the first line of table.md: what was scored, and the caption."""
    report = groups[0].first.report
    data, holes = report["data"], report["holes"]
    holes_text, subjects = counted(report["slices"], "hole"), counted(report["subjects"], f"{data['split']} subject")
    seen = "windows" if data.get("window") else "slices"
    size = f"{holes['size']}x{holes['size']} pixels in {seen} of {data['image_size']}x{data['image_size']}"
    folds = f", {count}" if (count := fold_count(groups)) else ""
    return f"{holes_text} of {size}, {subjects}{folds} ({data['modality'].upper()}). {caption}".strip()


def _csv_rows(groups: Sequence[SeedGroup]) -> list[dict[str, Any]]:
    """Returns the rows of table.csv: one for each system, region and metric; standard deviations as in `spread_table`."""
    rows = []
    for group in groups:
        about = {"system": group.label, "seeds": len(group.runs) if group.learns else 0, "folds": len(group.first.folds)}
        for region in reports.REGIONS:
            for metric, entry in group.first.report["region"][region].items():
                estimate = group.estimate(metric, region) if isinstance(entry, dict) else None
                if estimate is None:
                    continue
                low, high = estimate["ci95"] or ("", "")
                of_subjects, of_seeds = seed_model.spreads(group.scores_of(metric, region))
                values = {
                    "mean": estimate["mean"],
                    "low": low,
                    "high": high,
                    "sd_subjects": of_subjects,
                    "sd_seeds": of_seeds,
                }
                known = {name: "" if value is None else value for name, value in values.items()}
                rows.append(about | {"region": region, "metric": metric} | known)
    return rows
