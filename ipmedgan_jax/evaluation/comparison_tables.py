"""Tables of a comparison: a row for each system. All means are over subjects and seeds; KID averages pairs of slices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ipmedgan_jax.evaluation import paired_tests, reports, seed_model
from ipmedgan_jax.evaluation.comparison_notes import INTERVALS, ONE_SEED, apart, fold_count, weak_points
from ipmedgan_jax.evaluation.latex import latex
from ipmedgan_jax.evaluation.seed_groups import SeedGroup
from ipmedgan_jax.evaluation.seed_model import FEWEST_SUBJECTS, SystemScores
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


PAIRED_COLUMNS = (*reports.COLUMNS[:4], ("VGG", "vgg_distance", 4), ("KID", "kid", 4))
"""Columns of the paired differences: heading, metric, decimals."""


GROUPS = ((0.0, 0.75), (0.75, 0.95), (0.95, 1.0 + 1e-9))
"""Ranges of a hole's share of foreground, upper bounds excluded: at the head's edge, mostly and wholly inside the head."""


SPREAD_COLUMNS = (("SSIM", "ssim", 4), ("PSNR", "psnr", 2), ("MSE", "mse", 1), ("VGG", "vgg_distance", 4))
"""Columns of the spreads of subjects and of seeds: heading, metric, decimals."""


SUPPORTED_BEST = (
    "the best mean of its column, where it differs from every other row: t test over subjects and seeds between all "
    "pairs of rows, p < .05 after Holm's correction"
)
"""What the supported cells of a table are."""


@dataclass(frozen=True)
class Table:
    """A table of text: title, note on how to read it, heading and rows.

    `supported` has the (row, column) of the best means that the paired test supports (`SUPPORTED_BEST`).
    """

    title: str
    note: str
    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    supported: frozenset[tuple[int, int]] = frozenset()

    def markdown(self) -> str:
        return f"{reports.markdown_table([self.heading, *self.rows])}\n"

    def latex(self) -> str:
        """Returns the table for LaTeX."""
        marked = f" Bold: {SUPPORTED_BEST}." if self.supported else ""
        return latex(self.title, self.note + marked, self.heading, self.rows, bold=self.supported)


def _supported_means(
    groups: Sequence[SeedGroup], columns: Sequence[tuple[str, str, int]], region: str = "hole"
) -> frozenset[tuple[int, int]]:
    """Returns the best cells that the paired test supports, of a table with these columns behind the names."""
    return supported_cells(
        [(i, metric, [group.scores_of(metric, region) for group in groups]) for i, (_, metric, _) in enumerate(columns, 1)]
    )


def supported_cells(columns: Sequence[tuple[int, str, Sequence[SystemScores | None]]]) -> frozenset[tuple[int, int]]:
    """Returns (row, column) of the best cell of each column where the paired test supports it.

    Args:
      columns: a column's number, its metric, and each row's scores; None where the row has none.
    """
    found = set()
    for column, metric, scores in columns:
        known = [row for row in scores if row is not None]
        if len(known) < len(scores):
            continue
        row = paired_tests.supported_best(known, higher_is_better=metric in HIGHER_IS_BETTER)
        if row is not None:
            found.add((row, column))
    return frozenset(found)


def hole_table(groups: Sequence[SeedGroup]) -> Table:
    """Returns the scores in the hole, with each system's seeds, training length, parameters and seconds a slice."""
    heading = ("system", *(title for title, _, _ in reports.COLUMNS), "seeds", "slices", "parameters", "s/slice")
    return Table(
        "In the hole",
        f"Means of subjects' means, 0..255, with 95 % intervals: {INTERVALS}. VGG: distance of VGG-19 features with unit "
        "weights; KID: kernel distance of VGG-19 features; lower is better in MSE, MAE, VGG and KID. "
        "Slices: those that the scored checkpoint was trained on."
        f"{weak_points(groups, kid=True)}",
        heading,
        tuple(
            (
                group.label,
                *(reports.cell(group.estimate(metric), decimals) for _, metric, decimals in reports.COLUMNS),
                *_costs(group),
            )
            for group in groups
        ),
        _supported_means(groups, reports.COLUMNS),
    )


def _costs(group: SeedGroup) -> tuple[str, str, str, str]:
    """Returns a system's cells: number of seeds, slices trained on (the range over seeds), parameters, seconds a slice."""
    seen = sorted({run.report["images_seen"] or 0 for run in group.runs})
    seconds = [run.report["seconds_per_slice"] or 0 for run in group.runs]
    parameters = group.first.report["parameters"]
    seeds = [str(len(group.runs))] if group.learns else []
    folds = [count] if (count := fold_count([group])) else []
    trained = " to ".join(f"{count:,}" for count in (seen[0], seen[-1])[: len(seen)])
    return (
        ", ".join(seeds + folds) or "-",
        trained if seen[-1] else "-",
        f"{parameters / 1e6:.2f} M" if parameters else "-",
        f"{sum(seconds) / len(seconds):.2g}",
    )


def spread_table(groups: Sequence[SeedGroup]) -> Table:
    """Returns the standard deviations of subjects and of seeds, and says which runs of a system are no seeds of another."""
    heading = [f"{title}, {of}" for title, _, _ in SPREAD_COLUMNS for of in ("subjects", "seeds")]
    rows = []
    for group in groups:
        cells = [group.label, ", ".join(map(str, group.seeds)) if None not in group.seeds else "-"]
        for _, metric, decimals in SPREAD_COLUMNS:
            spreads = seed_model.spreads(group.scores_of(metric))
            cells += ["-" if spread is None else f"{spread:.{decimals}f}" for spread in spreads]
        rows.append(tuple(cells))
    return Table(
        "Spread of subjects and of seeds",
        "Standard deviations in the hole: of the subjects' means over seeds, and of the seeds' means over subjects. Runs of "
        f"one system whose configs differ in the seed alone are one row.{apart(groups)}",
        ("system", "seeds", *heading),
        tuple(rows),
    )


def image_table(groups: Sequence[SeedGroup]) -> Table:
    """Returns the scores in the whole image."""
    columns = reports.COLUMNS[:5]
    return Table(
        "In the whole image",
        f"The fill in the hole, the image elsewhere: most pixels are known.{weak_points(groups, kid=False)}",
        ("system", *(title for title, _, _ in columns)),
        tuple(
            (group.label, *(reports.cell(group.estimate(metric, "image"), decimals) for _, metric, decimals in columns))
            for group in groups
        ),
        _supported_means(groups, columns, "image"),
    )


def paper_table(groups: Sequence[SeedGroup]) -> Table | None:
    """Returns the scores beside the paper's printed ones; None if none of its systems is compared."""
    modality = groups[0].first.report["data"]["modality"]
    printed = PAPER.get(modality, {})
    systems_of_paper = [group for group in groups if group.system in printed]
    if not systems_of_paper:
        return None
    heading = ["system"]
    for title, _, _ in PAPER_COLUMNS:
        heading += [title, f"{title}, printed"]

    def row(group: SeedGroup) -> tuple[str, ...]:
        cells = [group.label]
        for (_, metric, decimals), value in zip(PAPER_COLUMNS, printed[group.system], strict=True):
            cells += [reports.cell(group.estimate(metric), decimals), f"{value:.{decimals}f}"]
        return tuple(cells)

    return Table(
        f"Beside the paper's Table I ({modality.upper()})",
        "Other data, other subjects, other holes and another length of training: the printed numbers are shown for "
        "orientation, not for comparison. UQI here is the formula of the package sewar, which fits the printed values."
        f"{weak_points(groups, kid=False)}",
        tuple(heading),
        tuple(map(row, systems_of_paper)),
    )


def difference_table(groups: Sequence[SeedGroup], reference: SeedGroup) -> Table:
    """Returns each system's paired differences from the reference, with Holm's p of the t test over subjects and seeds."""
    others = [group for group in groups if group is not reference]
    columns = [difference_cells(others, reference, metric, decimals) for _, metric, decimals in PAIRED_COLUMNS]
    return Table(
        f"Paired differences from {reference.label}",
        f"The row's score minus the reference's, subject by subject: mean, 95 % interval ({INTERVALS}; the seeds of two "
        "systems are independent), and p of the same t, two-sided, with Holm's correction over the rows of a column."
        f"{weak_points(groups, kid=True)}",
        ("system", *(title for title, _, _ in PAIRED_COLUMNS)),
        tuple((group.label, *cells) for group, *cells in zip(others, *columns, strict=True)),
    )


def difference_cells(others: Sequence[SeedGroup], reference: SeedGroup, metric: str, decimals: int) -> list[str]:
    """Returns the cell of each system: the mean difference with its interval, and Holm's p."""
    other = reference.scores_of(metric)
    return cells_of([seed_model.difference(group.scores_of(metric), other) for group in others], decimals)


def cells_of(differences: Sequence[seed_model.Estimate], decimals: int) -> list[str]:
    """Returns the cells of a column of differences: each with its interval, and Holm's p over the column."""
    cells = []
    for found, p in zip(differences, paired_tests.holm_known([found.p for found in differences]), strict=True):
        if math.isnan(found.value):
            cells.append("-")
            continue
        behind = f", p {_p_text(p)}" if p is not None else f", {ONE_SEED}" if found.interval else ""
        cells.append(f"{reports.cell(found.as_entry(), decimals, signed=True)}{behind}")
    return cells


def group_table(groups: Sequence[SeedGroup]) -> Table:
    """Returns PSNR and VGG distance by the hole's share of foreground."""
    columns = [(low, high, *column) for low, high in GROUPS for column in (("PSNR", "psnr", 2), ("VGG", "vgg_distance", 3))]
    counts = {low: sum(low <= score.foreground < high for score in groups[0].first.scores) for low, high in GROUPS}
    heading = [f"{title}, {_group_name(low, high)} ({counts[low]})" for low, high, title, _, _ in columns]
    scores = [[group.scores_where(metric, low, high) for low, high, _, metric, _ in columns] for group in groups]
    cells = [[None if found is None else seed_model.mean(found).as_entry() for found in row] for row in scores]
    return Table(
        "By the hole's share of foreground",
        "Holes at the head's edge, mostly inside the head, and wholly inside it; the number of holes in brackets."
        f"{_few_subjects(scores[0], columns)}{weak_points(groups, kid=False)}",
        ("system", *heading),
        tuple(
            (group.label, *(reports.cell(estimate, column[-1]) for estimate, column in zip(row, columns, strict=True)))
            for group, row in zip(groups, cells, strict=True)
        ),
        supported_cells([(i, column[3], [row[i - 1] for row in scores]) for i, column in enumerate(columns, 1)]),
    )


def _few_subjects(scores: Sequence[SystemScores | None], columns: Sequence[tuple]) -> str:
    """Returns a sentence on the ranges that few subjects have holes in, after a space; empty if there are none."""
    few = {
        _group_name(*column[:2]): found.values.shape[1]
        for found, column in zip(scores, columns, strict=True)
        if found is not None and found.values.shape[1] < FEWEST_SUBJECTS
    }
    counts = ", ".join(f"{name} ({count})" for name, count in few.items())
    return f" Fewer than {FEWEST_SUBJECTS} subjects have such holes: {counts}." if few else ""


def _group_name(low: float, high: float) -> str:
    if low == 0:
        return f"below {high:.0%}"
    return f"{low:.0%} and more" if high > 1 else f"{low:.0%} to {high:.0%}"


def _p_text(p: float) -> str:
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")
