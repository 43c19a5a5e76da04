"""Tables of evaluated runs. All means are over subjects, except KID, which averages pairs of slices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ipmedgan_jax.evaluation import paired_tests, reports
from ipmedgan_jax.evaluation.evaluated_runs import Run
from ipmedgan_jax.evaluation.latex import latex
from ipmedgan_jax.experiment.checkpoint_scores import HIGHER_IS_BETTER

PAPER = {
    "ct": {
        "context_encoder": (0.6235, 19.07, 1260.2, 0.9307),
        "glcic_cited": (0.7137, 22.18, 1169.1, 0.9290),
        "medgan": (0.8044, 29.74, 368.9, 0.9681),
        "ipmedgan": (0.8346, 31.45, 284.4, 0.9737),
    },
    "mri": {
        "context_encoder": (0.1383, 14.29, 2624.7, 0.8492),
        "glcic_cited": (0.2287, 15.01, 2286.6, 0.8229),
        "medgan": (0.3034, 15.91, 1809.5, 0.7830),
        "ipmedgan": (0.3818, 18.32, 1121.2, 0.9262),
    },
}
"""Table I as printed (arXiv 1810.06621): SSIM, PSNR, MSE, UQI. Its GLCIC is that of the cited code."""


PAPER_COLUMNS = (("SSIM", "ssim", 4), ("PSNR", "psnr", 2), ("MSE", "mse", 1), ("UQI", "uqi_sewar", 4))
"""Columns beside the printed Table I: heading, metric, decimals."""


PAIRED_COLUMNS = (*reports.COLUMNS[:4], ("VGG", "vgg_distance", 4))
"""Columns of the paired differences: heading, metric, decimals."""


GROUPS = ((0.0, 0.75), (0.75, 0.95), (0.95, 1.0 + 1e-9))
"""Ranges of a hole's share of foreground, upper bounds excluded: at the head's edge, mostly and wholly inside the head."""


RESAMPLES = 2000
"""Bootstrap samples of an interval."""


SUPPORTED_BEST = (
    "the best mean of its column, where it differs from every other row: Wilcoxon's signed-rank test over subjects between "
    "all pairs of rows, p < .05 after Holm's correction"
)
"""What the supported cells of a table are."""


@dataclass(frozen=True)
class Table:
    """A table of text: title, note on how to read it, heading and rows.

    `best` has the (row, column) of the best means, `supported` those that the paired test supports (`SUPPORTED_BEST`).
    """

    title: str
    note: str
    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    supported: frozenset[tuple[int, int]] = frozenset()

    def markdown(self) -> str:
        return f"{reports.markdown_table([self.heading, *self.rows])}\n"

    def latex(self) -> str:
        """Returns the table for LaTeX."""
        return latex(self.title, self.note, self.heading, self.rows, set(self.best))


def best_cells(columns: Sequence[tuple[int, str, Sequence[float | None]]]) -> frozenset[tuple[int, int]]:
    """Returns (row, column) of the best cells; of equal ones all, and none where fewer than two can be compared.

    Args:
      columns: a column's number, its metric, and its value in each row; None or NaN where there is none.
    """
    best = set()
    for column, metric, values in columns:
        sign = 1 if metric in HIGHER_IS_BETTER else -1
        known = {row: sign * value for row, value in enumerate(values) if value is not None and math.isfinite(value)}
        if len(known) > 1:
            best |= {(row, column) for row, value in known.items() if value == max(known.values())}
    return frozenset(best)


def _best_means(
    runs: Sequence[Run], columns: Sequence[tuple[str, str, int]], region: str = "hole"
) -> frozenset[tuple[int, int]]:
    """Returns the best cells of a table with these columns behind the names."""

    def mean(run: Run, metric: str) -> float | None:
        estimate = run.estimate(metric, region)
        return estimate["mean"] if estimate else None

    return best_cells([(i, metric, [mean(run, metric) for run in runs]) for i, (_, metric, _) in enumerate(columns, 1)])


def _supported_means(
    runs: Sequence[Run], columns: Sequence[tuple[str, str, int]], region: str = "hole"
) -> frozenset[tuple[int, int]]:
    """Returns the best cells that the paired test supports, of a table with these columns behind the names."""
    return supported_cells(
        [(i, metric, [run.per_subject(metric, region) for run in runs]) for i, (_, metric, _) in enumerate(columns, 1)]
    )


def supported_cells(columns: Sequence[tuple[int, str, Sequence[np.ndarray]]]) -> frozenset[tuple[int, int]]:
    """Returns (row, column) of the best cell of each column where the paired test supports it.

    Args:
      columns: a column's number, its metric, and each row's values `[subjects]`.
    """
    found = set()
    for column, metric, values in columns:
        row = paired_tests.supported_best(values, higher_is_better=metric in HIGHER_IS_BETTER)
        if row is not None:
            found.add((row, column))
    return frozenset(found)


def hole_table(runs: Sequence[Run]) -> Table:
    """Returns the scores in the hole, with each run's training length, parameters and seconds a slice."""
    heading = ("system", *(title for title, _, _ in reports.COLUMNS), "trained on", "parameters", "s/slice")
    return Table(
        "In the hole",
        "Means of subjects' means with 95 % intervals over subjects, 0..255; VGG: distance of VGG-19 features with unit "
        "weights; KID: kernel distance of VGG-19 features; lower is better in MSE, MAE, VGG and KID.",
        heading,
        tuple(
            (
                run.label,
                *(reports.cell(run.estimate(metric), decimals) for _, metric, decimals in reports.COLUMNS),
                *_costs(run),
            )
            for run in runs
        ),
        _best_means(runs, reports.COLUMNS),
        _supported_means(runs, reports.COLUMNS),
    )


def _costs(run: Run) -> tuple[str, str, str]:
    """Returns a run's cells: slices trained on, parameters, seconds a slice."""
    seen, parameters, seconds = (run.report[key] for key in ("images_seen", "parameters", "seconds_per_slice"))
    return (f"{seen:,}" if seen else "-", f"{parameters / 1e6:.2f} M" if parameters else "-", f"{seconds or 0:.2g}")


def image_table(runs: Sequence[Run]) -> Table:
    """Returns the scores in the whole image."""
    columns = reports.COLUMNS[:5]
    return Table(
        "In the whole image",
        "The fill in the hole, the image elsewhere: most pixels are known.",
        ("system", *(title for title, _, _ in columns)),
        tuple(
            (run.label, *(reports.cell(run.estimate(metric, "image"), decimals) for _, metric, decimals in columns))
            for run in runs
        ),
        _best_means(runs, columns, "image"),
        _supported_means(runs, columns, "image"),
    )


def paper_table(runs: Sequence[Run]) -> Table | None:
    """Returns the scores beside the paper's printed ones; None if none of its systems is among the runs."""
    modality = runs[0].report["data"]["modality"]
    printed = PAPER.get(modality, {})
    systems_of_paper = [run for run in runs if run.system in printed]
    if not systems_of_paper:
        return None
    heading = ["system"]
    for title, _, _ in PAPER_COLUMNS:
        heading += [title, f"{title}, printed"]

    def row(run: Run) -> tuple[str, ...]:
        cells = [run.label]
        for (_, metric, decimals), value in zip(PAPER_COLUMNS, printed[run.system], strict=True):
            cells += [reports.cell(run.estimate(metric), decimals), f"{value:.{decimals}f}"]
        return tuple(cells)

    return Table(
        f"Beside the paper's Table I ({modality.upper()})",
        "Other data, other subjects, other holes and another length of training: the printed numbers are shown for "
        "orientation, not for comparison. UQI here is the formula of the package sewar, which fits the printed values.",
        tuple(heading),
        tuple(map(row, systems_of_paper)),
    )


def difference_table(runs: Sequence[Run], reference: Run) -> Table:
    """Returns each run's paired differences from the reference, with Holm's p of the signed-rank test over subjects."""
    others = [run for run in runs if run is not reference]
    columns = {metric: _differences(others, reference, metric) for _, metric, _ in PAIRED_COLUMNS}
    rows = []
    for i, run in enumerate(others):
        cells = [run.label]
        for _, metric, decimals in PAIRED_COLUMNS:
            estimate, p = columns[metric][i]
            cells.append(f"{reports.cell(estimate, decimals, signed=True)}{'' if p is None else f', p {_p_text(p)}'}")
        rows.append(tuple(cells))
    return Table(
        f"Paired differences from {reference.label}",
        "The row's score minus the reference's, subject by subject: mean and 95 % interval; p of Wilcoxon's two-sided "
        "signed-rank test over subjects, with Holm's correction over the rows of a column.",
        ("system", *(title for title, _, _ in PAIRED_COLUMNS)),
        tuple(rows),
    )


def _differences(others: Sequence[Run], reference: Run, metric: str) -> list[tuple[dict[str, Any], float | None]]:
    """Returns, for each run, the mean difference with its interval, and Holm's p (None for fewer than two subjects)."""
    differences = [run.per_subject(metric) - reference.per_subject(metric) for run in others]
    estimates = [
        {"mean": float(paired.mean()), "ci95": reports.bootstrap_interval(paired.tolist(), resamples=RESAMPLES)}
        for paired in differences
    ]
    if not differences or len(differences[0]) < 2:
        return [(estimate, None) for estimate in estimates]
    p_values = paired_tests.holm([paired_tests.signed_rank_p(paired) for paired in differences])
    return list(zip(estimates, p_values, strict=True))


def group_table(runs: Sequence[Run]) -> Table:
    """Returns PSNR and VGG distance by the hole's share of foreground."""
    columns = [(low, high, *column) for low, high in GROUPS for column in (("PSNR", "psnr", 2), ("VGG", "vgg_distance", 3))]
    counts = {low: sum(low <= score.foreground < high for score in runs[0].scores) for low, high in GROUPS}
    heading = [f"{title}, {_group_name(low, high)} ({counts[low]})" for low, high, title, _, _ in columns]
    values = [[_group_values(run, low, high, metric) for low, high, _, metric, _ in columns] for run in runs]
    cells = [[_estimate(subjects) for subjects in row] for row in values]
    means = [[estimate["mean"] if estimate else None for estimate in row] for row in cells]
    return Table(
        "By the hole's share of foreground",
        "Holes at the head's edge, mostly inside the head, and wholly inside it; the number of holes in brackets.",
        ("system", *heading),
        tuple(
            (run.label, *(reports.cell(estimate, column[-1]) for estimate, column in zip(row, columns, strict=True)))
            for run, row in zip(runs, cells, strict=True)
        ),
        best_cells([(i, column[3], [row[i - 1] for row in means]) for i, column in enumerate(columns, 1)]),
        supported_cells([(i, column[3], [np.array(row[i - 1]) for row in values]) for i, column in enumerate(columns, 1)]),
    )


def _group_values(run: Run, low: float, high: float, metric: str) -> list[float]:
    """Returns the means of the subjects over the holes with a share of foreground in [low, high), those without left out."""
    chosen = [score for score in run.scores if low <= score.foreground < high]
    if not chosen or metric not in chosen[0].hole_scores:
        return []
    return [subject[metric] for subject in reports.subject_means(chosen, "hole").values()]


def _estimate(values: Sequence[float]) -> dict[str, Any] | None:
    """Returns {"mean", "ci95"} of subjects' values, None without any."""
    if not values:
        return None
    return {"mean": float(np.mean(values)), "ci95": reports.bootstrap_interval(values, resamples=RESAMPLES)}


def _group_name(low: float, high: float) -> str:
    if low == 0:
        return f"below {high:.0%}"
    return f"{low:.0%} and more" if high > 1 else f"{low:.0%} to {high:.0%}"


def _p_text(p: float) -> str:
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")
