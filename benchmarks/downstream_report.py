"""Tables and files of a downstream measure: by system, less intact and damaged, and its correlation with image scores.

Rows are `intact`, `damaged` and the runs. A row's value is the mean over subjects; differences are paired by subject.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks import rank_correlations
from benchmarks.evaluated_slices import DAMAGED, INTACT
from ipmedgan_jax.core import files, provenance
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.evaluation import reports
from ipmedgan_jax.evaluation.evaluated_runs import Run

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
      runs: the runs; `subjects` has the subject of each of their holes.
      scores: {row: {score: {subject: value}}}, rows `intact`, `damaged` and the runs' labels.
      by_hole: {row: {error: values `[n]`}}.
      facts: what the JSON file holds beside.
    """

    title: str
    about: str
    columns: tuple[Column, ...]
    errors: tuple[tuple[str, str], ...]
    runs: tuple[Run, ...]
    subjects: Sequence[str]
    scores: Mapping[str, Mapping[str, Mapping[str, float]]]
    by_hole: Mapping[str, Mapping[str, np.ndarray]]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def values(self, row: str, score: str) -> np.ndarray:
        """Returns the subjects' values of a row, in order of name; NaN where there is none."""
        return np.array([value for _, value in sorted(self.scores[row][score].items())])

    @property
    def taken(self) -> list[Column]:
        """The columns in which some row has a value."""
        return [
            column for column in self.columns if any(np.isfinite(self.values(row, column[1])).any() for row in self.scores)
        ]


def estimate(values: np.ndarray) -> dict[str, Any] | None:
    """Returns {"mean", "ci95"} over the subjects that have a value, None without any."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    return {"mean": float(known.mean()), "ci95": _interval(known.tolist())}


def _interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of a mean over subjects, by Student's t."""
    if len(values) < 2:
        return None
    mean, reach = float(np.mean(values)), float(stats.t.isf(0.025, len(values) - 1) * stats.sem(values))
    return mean - reach, mean + reach


# ------------------------------------------------------------------ tables


def scores_table(measure: Measure) -> list[list[str]]:
    """Returns the rows of the first table: means over subjects with intervals."""
    rows = [["slices", *(heading for heading, _, _ in measure.taken)]]
    for name in measure.scores:
        cells = [reports.cell(estimate(measure.values(name, score)), digits) for _, score, digits in measure.taken]
        rows.append([name, *cells])
    return rows


def differences_table(measure: Measure, reference: str) -> list[list[str]]:
    """Returns the rows of a table of differences from the reference's row, paired by subject."""
    rows = [["slices", *(heading for heading, _, _ in measure.taken)]]
    for name in measure.scores:
        if name != reference:
            differences = [measure.values(name, score) - measure.values(reference, score) for _, score, _ in measure.taken]
            cells = zip(differences, measure.taken, strict=True)
            rows.append([name, *(reports.cell(estimate(values), column[2], signed=True) for values, column in cells)])
    return rows


def correlations(measure: Measure) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns {error: {image score: {level: {"rho", "tau"}}}}, levels `over_systems`, `over_holes` and `over_fills`.

    Those over holes and over fills have intervals over subjects.
    """
    return {
        error: {score: _of_score(measure, error, score) for _, score in IMAGE_SCORES} | {"kid": _of_kid(measure, error)}
        for _, error in measure.errors
    }


def _of_score(measure: Measure, error: str, score: str) -> dict[str, Any]:
    levels = {"over_systems": _over_systems(measure, error, [float(run.per_subject(score).mean()) for run in measure.runs])}
    if error not in measure.by_hole[INTACT]:
        return levels
    errors = np.stack([measure.by_hole[run.label][error] for run in measure.runs])
    scores = np.array([[hole.hole_scores[score] for hole in run.scores] for run in measure.runs])
    for level in (rank_correlations.over_holes, rank_correlations.over_fills):
        found = level(errors, scores, measure.subjects).values()
        levels[level.__name__] = {name: estimate(np.array([getattr(of, name) for of in found])) for name in ("rho", "tau")}
    return levels


def _of_kid(measure: Measure, error: str) -> dict[str, Any]:
    estimates = [run.estimate("kid") for run in measure.runs]
    return {"over_systems": _over_systems(measure, error, [math.nan if of is None else of["mean"] for of in estimates])}


def _over_systems(measure: Measure, error: str, scores: Sequence[float]) -> dict[str, Any]:
    """Correlates the means of the error with the runs' scores; runs of one system are averaged first."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for run, score in zip(measure.runs, scores, strict=True):
        pairs.setdefault(run.system, []).append((float(np.nanmean(measure.values(run.label, error))), score))
    errors, of_systems = np.array([np.mean(values, axis=0) for values in pairs.values()]).T
    found = rank_correlations.correlate(errors, of_systems)
    return {name: {"mean": value, "ci95": None} if math.isfinite(value) else None for name, value in vars(found).items()}


def correlations_table(measure: Measure) -> list[list[str]]:
    """Returns the rows of the table of correlations: a row for each error and image score."""
    found = correlations(measure)
    levels = ("over_systems", "over_holes", "over_fills")
    names = {
        "over_systems": f"{len({run.system for run in measure.runs})} systems",
        "over_holes": "holes of a subject",
        "over_fills": "fills of a hole",
    }
    rows = [["error", "score", *(f"{sign}, {names[level]}" for level in levels for sign in ("rho", "tau"))]]
    for heading, error in measure.errors:
        for title, score in (*IMAGE_SCORES, ("KID", "kid")):
            of_levels = [found[error][score].get(level, {}) for level in levels]
            rows.append(
                [
                    heading,
                    title,
                    *(reports.cell(level.get(sign), 2, signed=True) for level in of_levels for sign in ("rho", "tau")),
                ]
            )
    return rows


# ------------------------------------------------------------------ files


def markdown(measure: Measure) -> str:
    """Returns the report."""
    parts = [f"# {measure.title}", measure.about, reports.markdown_table(scores_table(measure))]
    for reference in (INTACT, DAMAGED):
        parts += [f"## Less {reference}, paired by subject", reports.markdown_table(differences_table(measure, reference))]
    parts += [
        "## Rank correlation of the error with image scores",
        CORRELATIONS,
        reports.markdown_table(correlations_table(measure)),
    ]
    return "\n\n".join(parts) + "\n"


CORRELATIONS = """\
Spearman's rho and Kendall's tau. Over systems: of the means in the tables; runs of one system are averaged first. Over
the holes of a subject: in each run, then averaged over runs and subjects; it says which holes are hard. Over the fills of
a hole: in each hole, then averaged over holes and subjects; it says which fill of a hole is better. Lists with one value
alone are left out. Where they agree, an error falls with PSNR and SSIM (negative) and rises with VGG distance and KID
(positive)."""


def make_folder(path: str) -> Path:
    """Makes the folder of the results; commands do so first, before the work. UserError if it cannot be made."""
    folder = user_path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output={path}: cannot be made ({error.strerror or error})") from error
    return folder


def write(measure: Measure, folder: Path, name: str) -> str:
    """Writes `NAME.md`, `NAME.csv` (a row for each subject) and `NAME.json` (holes too) to the folder; returns the report."""
    made = provenance.provenance()
    text = f"{markdown(measure)}\n{provenance.one_line(made)}\n"
    subjects = [
        {"slices": row, "subject": subject}
        | {score: _number(values.get(subject, math.nan)) for score, values in scores.items()}
        for row, scores in measure.scores.items()
        for subject in sorted(next(iter(scores.values())))
    ]
    files.write_text(folder / f"{name}.csv", reports.csv_text(subjects))
    files.write_text(folder / f"{name}.json", json.dumps(_content(measure, made), indent=1, allow_nan=False) + "\n")
    files.write_text(folder / f"{name}.md", text)
    return text


def _content(measure: Measure, made: dict[str, Any]) -> dict[str, Any]:
    rows = {row: {score: estimate(measure.values(row, score)) for score in measure.scores[row]} for row in measure.scores}
    errors = {
        row: {name: list(map(_number, values)) for name, values in found.items()} for row, found in measure.by_hole.items()
    }
    places = [
        {"subject": score.subject, "volume": score.volume, "slice": score.index, "hole": list(score.hole)}
        for score in measure.runs[0].scores
    ]
    return {
        **measure.facts,
        "scores": rows,
        "correlations": correlations(measure),
        "holes": places,
        "errors": errors,
        provenance.KEY: made,
    }


def _number(value: float) -> float | None:
    """A finite number with six significant digits; None for others."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
