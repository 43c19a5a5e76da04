"""Tables and files of a downstream measure: by system, less intact and damaged, and its correlation with image scores.

Rows are `intact`, `damaged` and the systems, each with one or more seeds. Means, differences and intervals are those of
`seed_model`; intact and damaged slices have no seed.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import rank_correlations
from benchmarks.evaluated_slices import DAMAGED, INTACT
from ipmedgan_jax.core import files, provenance
from ipmedgan_jax.evaluation import comparison_tables, reports, seed_model
from ipmedgan_jax.evaluation.comparison_notes import INTERVALS, apart, weak_points
from ipmedgan_jax.evaluation.evaluated_runs import Run
from ipmedgan_jax.evaluation.intervals import mean_interval
from ipmedgan_jax.evaluation.seed_groups import SeedGroup
from ipmedgan_jax.evaluation.seed_model import SystemScores

Column = tuple[str, str, int]
"""Heading, score, decimals."""

IMAGE_SCORES = (("PSNR", "psnr"), ("SSIM", "ssim"), ("VGG", "vgg_distance"))
"""Image scores of holes that errors are correlated with: heading, name. KID is a score of a run alone."""


@dataclass(frozen=True, eq=False)
class Measure:
    """A downstream measure of evaluated runs.

    Attributes:
      title, about: heading of the report, and sentences on how to read it.
      columns: the scores of the tables, of which those without any value are left out.
      errors: heading and name of the errors that are correlated with image scores. One that is no error of holes, but a score
        of subjects, is correlated over systems alone.
      groups: the systems, each with one or more runs; `subjects` has the subject of each of a run's holes.
      scores: {label: {score: {subject: value}}}, labels `intact`, `damaged` and the runs'.
      by_hole: {label: {error: values `[n]`}}.
      facts: what the JSON file holds beside.
    """

    title: str
    about: str
    columns: tuple[Column, ...]
    errors: tuple[tuple[str, str], ...]
    groups: tuple[SeedGroup, ...]
    subjects: Sequence[str]
    scores: Mapping[str, Mapping[str, Mapping[str, float]]]
    by_hole: Mapping[str, Mapping[str, np.ndarray]]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def runs(self) -> list[Run]:
        return [run for group in self.groups for run in group.runs]

    @property
    def rows(self) -> dict[str, tuple[list[str], bool]]:
        """The labels of each row of the tables, and whether it learns."""
        known = {name: ([name], False) for name in (INTACT, DAMAGED)}
        return known | {group.label: ([run.label for run in group.runs], group.learns) for group in self.groups}

    def values(self, label: str, score: str) -> np.ndarray:
        """Returns the subjects' values, in order of name; NaN where there is none."""
        return np.array([value for _, value in sorted(self.scores[label][score].items())])

    def row(self, name: str, score: str) -> SystemScores | None:
        """Returns a row's scores of the subjects that have a value under every label; None if there are none."""
        known = np.isfinite([self.values(label, score) for label in self.scores]).all(0)
        if not known.any():
            return None
        labels, learns = self.rows[name]
        folds = self.groups[0].first.fold_of_subjects[known]
        return SystemScores(np.stack([self.values(label, score)[known] for label in labels]), learns, folds)

    @property
    def taken(self) -> list[tuple[Column, dict[str, SystemScores]]]:
        """The columns that have values, with the scores of each row."""
        rows = [(column, {name: self.row(name, column[1]) for name in self.rows}) for column in self.columns]
        return [(column, {name: found for name, found in of.items() if found}) for column, of in rows if of[INTACT]]


def estimate(values: np.ndarray) -> dict[str, Any] | None:
    """Returns {"mean", "ci95"} over the subjects that have a value, None without any."""
    known = values[np.isfinite(values)]
    return {"mean": float(known.mean()), "ci95": mean_interval(known)} if len(known) else None


# ------------------------------------------------------------------ tables


def scores_table(measure: Measure) -> list[list[str]]:
    """Returns the rows of the first table: means over subjects with intervals."""
    columns = [
        [heading, *(reports.cell(seed_model.mean(scores).as_entry(), digits) for scores in rows.values())]
        for (heading, _, digits), rows in measure.taken
    ]
    return _transposed([["slices", *measure.rows], *columns])


def differences_table(measure: Measure, reference: str) -> list[list[str]]:
    """Returns the rows of a table of differences from the reference's row, paired by subject."""
    columns = []
    for (heading, _, digits), rows in measure.taken:
        found = [seed_model.difference(scores, rows[reference]) for name, scores in rows.items() if name != reference]
        columns.append([heading, *comparison_tables.cells_of(found, digits)])
    return _transposed([["slices", *(name for name in measure.rows if name != reference)], *columns])


def _transposed(columns: Sequence[Sequence[str]]) -> list[list[str]]:
    return [list(row) for row in zip(*columns, strict=True)]


def correlations(measure: Measure) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns {error: {image score: {level: {"rho", "tau"}}}}, levels `over_systems`, `over_holes` and `over_fills`.

    Those over holes and over fills have intervals over subjects.
    """
    return {
        error: {score: _of_score(measure, error, score) for _, score in IMAGE_SCORES}
        | {"kid": {"over_systems": _over_systems(measure, error, "kid")}}
        for _, error in measure.errors
    }


def _of_score(measure: Measure, error: str, score: str) -> dict[str, Any]:
    levels = {"over_systems": _over_systems(measure, error, score)}
    if error not in measure.by_hole[INTACT]:
        return levels
    errors = np.stack([measure.by_hole[run.label][error] for run in measure.runs])
    scores = np.array([[hole.hole_scores[score] for hole in run.scores] for run in measure.runs])
    for level in (rank_correlations.over_holes, rank_correlations.over_fills):
        found = level(errors, scores, measure.subjects).values()
        levels[level.__name__] = {name: estimate(np.array([getattr(of, name) for of in found])) for name in ("rho", "tau")}
    return levels


def _over_systems(measure: Measure, error: str, score: str) -> dict[str, Any]:
    """Correlates the systems' means of the error with those of the score."""
    rows = [measure.row(group.label, error) for group in measure.groups]
    errors = np.array([math.nan if scores is None else scores.values.mean() for scores in rows])
    estimates = [group.estimate(score) for group in measure.groups]
    found = rank_correlations.correlate(errors, np.array([math.nan if of is None else of["mean"] for of in estimates]))
    return {name: {"mean": value, "ci95": None} if math.isfinite(value) else None for name, value in vars(found).items()}


def correlations_table(measure: Measure, found: Mapping[str, Any]) -> list[list[str]]:
    """Returns the rows of the table of `correlations`: a row for each error and image score."""
    levels = {
        "over_systems": f"{len(measure.groups)} systems",
        "over_holes": "holes of a subject",
        "over_fills": "fills of a hole",
    }
    rows = [["error", "score", *(f"{sign}, {name}" for name in levels.values() for sign in ("rho", "tau"))]]
    for heading, error in measure.errors:
        for title, score in (*IMAGE_SCORES, ("KID", "kid")):
            estimates = [found[error][score].get(level, {}).get(sign) for level in levels for sign in ("rho", "tau")]
            rows.append([heading, title, *(reports.cell(of, 2, signed=True) for of in estimates)])
    return rows


# ------------------------------------------------------------------ files


def markdown(measure: Measure, correlated: Mapping[str, Any]) -> str:
    """Returns the report, with the result of `correlations`."""
    notes = f"95 % intervals: {INTERVALS}.{weak_points(measure.groups, kid=False)}{apart(measure.groups)}"
    parts = [f"# {measure.title}", measure.about, notes, reports.markdown_table(scores_table(measure))]
    for reference in (INTACT, DAMAGED):
        parts += [
            f"## Less {reference}, paired by subject",
            DIFFERENCES,
            reports.markdown_table(differences_table(measure, reference)),
        ]
    parts += [
        "## Rank correlation of the error with image scores",
        CORRELATIONS,
        reports.markdown_table(correlations_table(measure, correlated)),
    ]
    return "\n\n".join(parts) + "\n"


DIFFERENCES = """\
Mean, interval, and p of the same t, two-sided, with Holm's correction over the rows of a column."""

CORRELATIONS = """\
Spearman's rho and Kendall's tau. Over systems: of the means in the tables; seeds of one system are averaged first. Over
the holes of a subject: in each run, then averaged over runs and subjects; it says which holes are hard. Over the fills of
a hole: in each hole, then averaged over holes and subjects; it says which fill of a hole is better. Lists with one value
alone are left out. Where they agree, an error falls with PSNR and SSIM (negative) and rises with VGG distance and KID
(positive)."""


def write(measure: Measure, folder: Path, name: str) -> str:
    """Writes `NAME.md`, the report, `NAME.csv`, by run and subject, and `NAME.json`, with holes too; returns the report."""
    made, correlated = provenance.provenance(), correlations(measure)
    text = f"{markdown(measure, correlated)}\n{provenance.one_line(made)}\n"
    subjects = [
        {"slices": row, "subject": subject}
        | {score: _number(values.get(subject, math.nan)) for score, values in scores.items()}
        for row, scores in measure.scores.items()
        for subject in sorted(next(iter(scores.values())))
    ]
    files.write_text(folder / f"{name}.csv", reports.csv_text(subjects))
    files.write_text(
        folder / f"{name}.json", json.dumps(_content(measure, correlated, made), indent=1, allow_nan=False) + "\n"
    )
    files.write_text(folder / f"{name}.md", text)
    return text


def _content(measure: Measure, correlated: Mapping[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    rows = {name: {score: _entry(measure.row(name, score)) for score in measure.scores[INTACT]} for name in measure.rows}
    errors = {
        row: {name: list(map(_number, values)) for name, values in found.items()} for row, found in measure.by_hole.items()
    }
    places = [
        {"subject": score.subject, "volume": score.volume, "slice": score.index, "hole": list(score.hole)}
        for score in measure.runs[0].scores
    ]
    return {
        **measure.facts,
        "labels": {name: labels for name, (labels, _) in measure.rows.items()},
        "scores": rows,
        "correlations": correlated,
        "holes": places,
        "errors": errors,
        provenance.KEY: made,
    }


def _entry(scores: SystemScores | None) -> dict[str, Any] | None:
    return None if scores is None else seed_model.mean(scores).as_entry()


def _number(value: float) -> float | None:
    """A finite number with six significant digits; None for others."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
