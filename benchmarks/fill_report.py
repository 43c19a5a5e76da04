"""Tables of `fill_scores` over subjects, with paired differences from the best classical fill."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.fill_scores import PERIODS, frechet_distance, standardised
from ipmedgan_jax.evaluation import metrics, reports
from ipmedgan_jax.evaluation.intervals import Interval, mean_interval, pseudo_values
from ipmedgan_jax.systems.classical import FILLS

COLUMNS = (
    ("PSNR (dB)", "psnr", 2),
    ("MAE", "mae", 2),
    ("SSIM", "ssim", 3),
    ("VGG distance", "vgg_distance", 3),
    ("sharpness", "sharpness", 2),
    ("KID", "kid", 3),
    ("referee", "referee", 3),
    ("lattice (dB)", "lattice", 1),
)
"""Columns of the first table: heading, score, decimals."""

DIFFERENCES = (("PSNR", "psnr", 2), ("MAE", "mae", 2), ("SSIM", "ssim", 3))
RATIOS = (("VGG distance", "vgg_distance", 2), ("KID", "kid", 2), ("referee", "referee", 2))
"""Columns of the second table: differences from, and ratios to, the best classical fill of the score."""

HIGHER_IS_BETTER = {"psnr", "ssim"}


@dataclass(frozen=True, eq=False)
class KindScores:
    """Scores of one kind of holes.

    Attributes:
      subjects: the subject of each hole.
      by_hole: {fill: {score: `[n]`}}, `fill_scores.pixel_scores` and `vgg_distance`.
      distances: {fill: {"kid", "referee": value and its 95 % interval (None for too few subjects), or None for one subject}}.
    """

    subjects: list[str]
    by_hole: dict[str, dict[str, np.ndarray]]
    distances: dict[str, dict[str, Any]]

    def by_subject(self, fill: str, score: str) -> np.ndarray:
        """Returns the score of each subject, in order of name; NaN for a subject without a hole that has the score."""
        columns = self.by_hole[fill]
        values = []
        for subject in sorted(set(self.subjects)):
            rows = np.array([name == subject for name in self.subjects])
            values.append(_subject_score({name: column[rows] for name, column in columns.items()}, score))
        return np.array(values)

    def mean(self, fill: str, score: str) -> float:
        """Returns the mean over subjects, or the distance of features; NaN without any."""
        if score in ("kid", "referee"):
            found = self.distances[fill][score]
            return np.nan if found is None else found[0]
        values = self.by_subject(fill, score)
        return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan

    def best_classical(self, score: str) -> str | None:
        """Returns the classical fill with the best mean; None without classical fills."""
        sign = -1 if score in HIGHER_IS_BETTER else 1
        means = {name: sign * self.mean(name, score) for name in self.by_hole if name in FILLS}
        return min(means, key=lambda name: means[name]) if means else None


def _subject_score(columns: dict[str, np.ndarray], score: str) -> float:
    """A subject's score from those of its holes."""
    if score == "sharpness":
        return float(columns["detail"].sum() / max(columns["detail_of_truth"].sum(), 1e-9))
    if score.startswith("lattice"):
        suffix = score.removeprefix("lattice")
        ratios = np.stack([columns[f"lattice_{period}{suffix}"] for period in PERIODS])
        measured = ratios[:, np.isfinite(ratios[0])]
        return float(10 * np.log10(measured.mean(1).max())) if measured.size else np.nan
    return float(columns[score].mean())


def feature_distances(subjects: list[str], features: np.ndarray, referee_features: np.ndarray) -> dict[str, Any]:
    """Returns KID and referee, each with its interval, of features `[n, 2, D]` of fills and truths."""
    kid = metrics.kernel_inception_distance(features, subjects)
    return {
        "kid": None if kid is None else (kid.value, mean_interval(list(kid.pseudo_values.values()))),
        "referee": _referee(subjects, standardised(referee_features)),
    }


def _referee(subjects: list[str], features: np.ndarray) -> tuple[float, Interval | None]:
    """The Fréchet distance of all holes, with the jackknife's interval over subjects."""
    names, of_holes = sorted(set(subjects)), np.array(subjects)
    value = frechet_distance(features)
    if len(names) < 2:
        return value, None
    without = [frechet_distance(features[of_holes != name]) for name in names]
    return value, mean_interval(pseudo_values(value, without))


def scores_table(scores: KindScores) -> str:
    """Returns the Markdown table of all scores, with a last row for the scan itself."""
    rows = [["fill", *(heading for heading, _, _ in COLUMNS)]]
    for name in scores.by_hole:
        cells = []
        for _, score, digits in COLUMNS:
            if score in ("kid", "referee"):
                found = scores.distances[name][score]
                cells.append("-" if found is None else _format(*found, digits))
            else:
                cells.append(_format_mean(scores.by_subject(name, score), digits))
        rows.append([name, *cells])
    truth = scores.by_subject(next(iter(scores.by_hole)), "lattice_of_truth")
    truth = truth[np.isfinite(truth)]
    spread = _format(float(truth.mean()), tuple(np.percentile(truth, [2.5, 97.5])), 1, "to") if len(truth) else "-"
    rows.append(["the scan itself", "", "", "1", "0", "1", "0", "0", spread])
    return reports.markdown_table(rows)


def differences_table(scores: KindScores) -> str:
    """Returns the Markdown table of differences from, and ratios to, the best classical fill of each score."""
    best = {score: scores.best_classical(score) for _, score, _ in DIFFERENCES + RATIOS}
    if None in best.values():
        return ""
    heading = [f"{name} less {best[score]}'s" for name, score, _ in DIFFERENCES]
    rows = [["fill", *heading, *(f"{name} over {best[score]}'s" for name, score, _ in RATIOS)]]
    for name in scores.by_hole:
        cells = []
        for _, score, digits in DIFFERENCES:
            difference = scores.by_subject(name, score) - scores.by_subject(str(best[score]), score)
            cells.append("" if name == best[score] else _format_mean(difference, digits))
        for _, score, digits in RATIOS:
            cells.append("" if name == best[score] else _format_ratio(scores, name, str(best[score]), score, digits))
        rows.append([name, *cells])
    return reports.markdown_table(rows)


def _format_ratio(scores: KindScores, name: str, other: str, score: str, digits: int) -> str:
    """The ratio of two means, for scores of subjects with the jackknife's paired interval."""
    value = scores.mean(name, score) / scores.mean(other, score)
    if score in ("kid", "referee"):
        return f"{value:.{digits}f}"
    a, b = scores.by_subject(name, score), scores.by_subject(other, score)
    if len(a) < 2:
        return _format(value, None, digits)
    without = (a.sum() - a) / (b.sum() - b)
    return _format(value, mean_interval(pseudo_values(value, without)), digits)


def _format_mean(values: np.ndarray, digits: int) -> str:
    values = values[np.isfinite(values)]
    if not len(values):
        return "-"
    return _format(float(values.mean()), mean_interval(values), digits)


def _format(value: float, ends: tuple[float, ...] | None, digits: int, between: str = ",") -> str:
    joint = f" {between} " if between.isalpha() else f"{between} "
    return f"{value:.{digits}f}" + ("" if ends is None else f" [{ends[0]:.{digits}f}{joint}{ends[1]:.{digits}f}]")
