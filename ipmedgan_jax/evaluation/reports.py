"""Reports: metrics.json, tables and CSV files from the scores of slices, with means and 95 % intervals over subjects.

Slices of one subject are not independent, so every mean is a mean of subjects' means, and every interval comes from the
spread of subjects (`intervals`). Scores keep their units: 0..255 grey levels for mae, their squares for mse, dB for psnr, HU
for mae_hu.
"""

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.regular_files import read_text
from ipmedgan_jax.evaluation.intervals import mean_interval
from ipmedgan_jax.evaluation.metrics import PEAK, PSNR_CAP, KernelDistance

REGIONS = ("hole", "image")

COLUMNS = (
    ("SSIM", "ssim", 4),
    ("PSNR", "psnr", 2),
    ("MSE", "mse", 1),
    ("UQI", "uqi", 4),
    ("MAE", "mae", 2),
    ("VGG", "vgg_distance", 4),
    ("KID", "kid", 4),
)
"""Columns of the table: heading, metric, decimals."""


@dataclass(frozen=True)
class SliceScore:
    """One slice's scores by metric, in its hole [row, column, height, width] and in the whole image.

    `foreground` is the share of the hole that is not air. `index` is the slice's index in its volume.
    """

    subject: str
    volume: str
    index: int
    hole: tuple[int, int, int, int]
    foreground: float
    hole_scores: dict[str, float]
    image_scores: dict[str, float]

    def region(self, name: str) -> dict[str, float]:
        """Returns the scores in the region `hole` or `image`."""
        return self.hole_scores if name == "hole" else self.image_scores


def subject_means(scores: Sequence[SliceScore], region: str) -> dict[str, dict[str, float]]:
    """Averages each metric over each subject's slices: {subject: {metric: mean}}, subjects in order of name."""
    by_subject: dict[str, list[dict[str, float]]] = {}
    for score in sorted(scores, key=lambda score: score.subject):
        by_subject.setdefault(score.subject, []).append(score.region(region))
    return {
        subject: {metric: float(np.mean([row[metric] for row in rows])) for metric in rows[0]}
        for subject, rows in by_subject.items()
    }


def mean_over_subjects(subject_scores: dict[str, dict[str, float]]) -> dict[str, float]:
    """Averages each score over the subjects that have it."""
    return {name: float(np.mean(values)) for name, values in _values_by_score(subject_scores).items()}


def estimates(subject_scores: dict[str, dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Returns {score: {"mean", "ci95"}} over the subjects that have the score."""
    return {
        name: {"mean": float(np.mean(values)), "ci95": mean_interval(values)}
        for name, values in _values_by_score(subject_scores).items()
    }


def _values_by_score(subject_scores: dict[str, dict[str, float]]) -> dict[str, list[float]]:
    """Returns {score: its values of the subjects that have it}."""
    by_score: dict[str, list[float]] = {}
    for scores in subject_scores.values():
        for name, value in scores.items():
            by_score.setdefault(name, []).append(value)
    return by_score


def report(
    scores: Sequence[SliceScore],
    *,
    system: str,
    step: int | None,
    data: Any,
    holes: Any,
    seconds_per_slice: float | None,
    kid: KernelDistance | None = None,
    checkpoint: str | None = None,
    parameters: int = 0,
    images_seen: int = 0,
) -> dict[str, Any]:
    """Returns the content of metrics.json.

    Each region has {metric: {"mean", "ci95": [low, high]}}, where ci95 is null for a single subject, and `psnr_of_mean_mse`
    in dB. Unlike the mean PSNR, a few perfect slices cannot raise that value.

    Args:
      scores: one entry for each slice.
      system: what filled the slices.
      step: training step of the checkpoint; None where nothing learns.
      data, holes: descriptions of what was scored, copied into the report.
      seconds_per_slice: time of one fill.
      kid: kernel distance, a score of the holes. Its pseudo-values are kept, for comparisons of several seeds.
      checkpoint: how that step was chosen: `best`, `latest` or a step; None where nothing learns.
      parameters: number of the generator's parameters; 0 where nothing learns.
      images_seen: number of training slices, repetitions included; 0 where nothing learns.

    Raises UserError without slices, or for a score that is not finite.
    """
    if not scores:
        raise UserError(f"{system}: no slice to score, at least one expected (data.dir, holes.evaluation_min_foreground)")
    check_scores(scores)
    regions = {region: _region_report(subject_means(scores, region)) for region in REGIONS}
    if kid is not None:
        interval = mean_interval(list(kid.pseudo_values.values()))
        regions["hole"]["kid"] = {"mean": kid.value, "ci95": interval, "pseudo_values": kid.pseudo_values}
    return {
        "system": system,
        "step": step,
        "checkpoint": checkpoint,
        "images_seen": images_seen,
        "parameters": parameters,
        "data": data,
        "holes": holes,
        "region": regions,
        "subjects": len({score.subject for score in scores}),
        "slices": len(scores),
        "seconds_per_slice": seconds_per_slice,
    }


def write_report(directory: Path, report: dict[str, Any], scores: Sequence[SliceScore]) -> None:
    """Writes `slices.csv` (a row for each slice), `subjects.csv` (for each subject) and, last, `metrics.json`, atomically."""
    write_tables(directory, report, slices=[_slice_row(score) for score in scores], subjects=_subject_rows(scores))


def write_tables(directory: Path, report: dict[str, Any], **tables: Sequence[dict[str, Any]]) -> None:
    """Writes each table as `NAME.csv` and, last, the report as `metrics.json`, each file atomically."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        files.write_text(directory / f"{name}.csv", csv_text(rows))
    files.write_text(directory / "metrics.json", json.dumps(report, indent=2, allow_nan=False) + "\n")


def read_slices(path: Path) -> list[SliceScore]:
    """Reads `slices.csv`. Raises KeyError or ValueError if it is incomplete, or has no slice or no score."""
    scores = [_parse_slice_row(row) for row in read_rows(path)]
    if not scores:
        raise ValueError(f"{path.name} has no slice")
    if missing := [region for region in REGIONS if not scores[0].region(region)]:
        raise ValueError(f"{path.name} has no score of {' and '.join(missing)}")
    return scores


def read_rows(path: Path) -> list[dict[str, str]]:
    """Reads the rows of a CSV file with a heading. Raises ValueError unless the columns differ and every row has them all."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    columns = list(reader.fieldnames or ())
    if repeated := next((name for name in columns if columns.count(name) > 1), None):
        raise ValueError(f"{path.name} has two columns {repeated}")
    rows = list(reader)
    for row in rows:
        if None in row or None in row.values():  # the reader's marks of a row that is too long or too short
            raise ValueError(f"{path.name}: a row has other columns than the heading")
    return rows


def table(reports: Sequence[dict[str, Any]]) -> str:
    """Returns a Markdown table, aligned for the terminal: a row for each system, means in the hole with 95 % intervals."""
    rows = [["system", *(heading for heading, _, _ in COLUMNS)]]
    for entry in reports:
        hole = entry["region"]["hole"]
        rows.append([entry["system"], *(cell(hole.get(metric), decimals) for _, metric, decimals in COLUMNS)])
    return markdown_table(rows)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Returns an aligned Markdown table of the rows; the first row is the heading. `|` ends no cell, `<` opens no tag."""
    rows = [[re.sub(r"\||<(?=[A-Za-z/!?])", r"\\\g<0>", cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    rule = "-|-".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in (lines[0], rule, *lines[1:]))


def _region_report(means: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Returns one region of metrics.json from its subjects' means."""
    summary: dict[str, Any] = estimates(means)
    if "mse" in summary:
        summary["psnr_of_mean_mse"] = _psnr_of_mean_mse(summary["mse"]["mean"])
    return summary


def _psnr_of_mean_mse(mean_mse: float) -> float:
    """Converts a mean squared error to PSNR in dB, at most `PSNR_CAP`."""
    return PSNR_CAP if mean_mse == 0 else min(10 * math.log10(PEAK**2 / mean_mse), PSNR_CAP)


def check_scores(scores: Sequence[SliceScore]) -> None:
    """Raises ValueError unless every slice has the same metrics, and UserError unless every score is finite."""
    for region in REGIONS:
        expected = scores[0].region(region).keys()
        for score in scores:
            where = f"subject {score.subject}, volume {score.volume}, slice {score.index}, {region}"
            if score.region(region).keys() != expected:
                raise ValueError(f"{where}: expected metrics {sorted(expected)}, got {sorted(score.region(region))}")
            for metric, value in score.region(region).items():
                if not math.isfinite(value):
                    raise UserError(f"{where}: expected a finite {metric}, got {value} (evaluation.checkpoint)")


def _slice_row(score: SliceScore) -> dict[str, Any]:
    """Returns a slice's row of `slices.csv`; `_parse_slice_row` is the inverse."""
    row, column, height, width = score.hole
    where = {"subject": score.subject, "volume": score.volume, "slice": score.index, "row": row, "column": column}
    scores = {f"{region}_{metric}": value for region in REGIONS for metric, value in score.region(region).items()}
    return where | {"height": height, "width": width, "foreground": score.foreground} | scores


def _parse_slice_row(row: dict[str, str]) -> SliceScore:
    """Returns the scores of a row of `slices.csv`."""
    regions = [
        {key.removeprefix(f"{region}_"): float(value) for key, value in row.items() if key.startswith(f"{region}_")}
        for region in REGIONS
    ]
    box = (int(row["row"]), int(row["column"]), int(row["height"]), int(row["width"]))
    return SliceScore(row["subject"], row["volume"], int(row["slice"]), box, float(row["foreground"]), *regions)


def _subject_rows(scores: Sequence[SliceScore]) -> list[dict[str, Any]]:
    """Returns the rows of `subjects.csv`: a subject's number of slices, and its means in the hole and in the image."""
    means = {region: subject_means(scores, region) for region in REGIONS}
    return [
        {"subject": subject, "slices": sum(score.subject == subject for score in scores)}
        | {f"{region}_{metric}": value for region in REGIONS for metric, value in means[region][subject].items()}
        for subject in means["hole"]
    ]


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """Returns the rows as CSV with a heading; a row that lacks a column has an empty cell there."""
    text = io.StringIO()
    columns = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, fieldnames=list(columns), lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def cell(entry: dict[str, Any] | None, decimals: int, *, signed: bool = False) -> str:
    """Formats an estimate: `mean [low, high]`, `mean` without an interval, `-` if the metric was not taken."""
    if entry is None:
        return "-"
    numbers = [f"{value:{'+' if signed else ''}.{decimals}f}" for value in (entry["mean"], *(entry["ci95"] or ()))]
    return numbers[0] if len(numbers) == 1 else f"{numbers[0]} [{numbers[1]}, {numbers[2]}]"
