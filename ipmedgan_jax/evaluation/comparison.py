"""Evaluated runs side by side: reading and checking them, the tables, the figure and the scatter.

A run is checked against itself (its slices' scores must add up to its subjects' and its report's) and against the first
(the same data, holes and slices): what is compared is what was scored. All means are over subjects, but for KID, which
weighs pairs of slices.
"""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.evaluation import figures, fills, reports

TITLES = {
    "surround_mean": "mean of the surround",
    "telea": "Telea",
    "navier_stokes": "Navier-Stokes",
    "biharmonic": "biharmonic",
    "laplace": "Laplace",
    "rbf": "thin-plate spline",
    "shift_map": "shift map",
    "unet": "U-Net, L1 alone",
    "context_encoder": "CE",
    "glcic": "GLCIC",
    "glcic_cited": "GLCIC as cited",
    "medgan": "MedGAN",
    "ipmedgan": "ip-MedGAN",
    "ipmedgan_plus": "ip-MedGAN plus (ours)",
}
"""Systems as tables name them."""

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
"""Table I as printed (arXiv 1810.06621): SSIM, PSNR, MSE, UQI; its GLCIC is the cited code's."""

BESIDE_PAPER = (("SSIM", "ssim", 4), ("PSNR", "psnr", 2), ("MSE", "mse", 1), ("UQI", "uqi_sewar", 4))

PAIRED = (*reports.COLUMNS[:4], ("VGG", "vgg_distance", 4))
"""Columns of the paired differences."""

GROUPS = ((0.0, 0.75), (0.75, 0.95), (0.95, 1.0 + 1e-9))
"""Shares of foreground in a hole, from and below: holes at the head's edge, mostly and wholly inside it."""

RESAMPLES = 2000

SCATTERED = (("SSIM", "ssim"), ("PSNR (dB)", "psnr"), ("VGG distance", "vgg_distance"))


@dataclass(frozen=True, eq=False)
class Run:
    """One evaluated run: its report (metrics.json), scores and fills. `label` is what tables and figures call it."""

    folder: Path
    label: str
    report: dict[str, Any]
    scores: tuple[reports.SliceScore, ...]
    fills: fills.Fills

    @property
    def system(self) -> str:
        return self.report["system"]

    def per_subject(self, metric: str, region: str = "hole") -> np.ndarray:
        """Each subject's mean, subjects in order of name; NaN where the metric was not taken."""
        means = reports.subject_means(self.scores, region).values()
        return np.array([subject.get(metric, math.nan) for subject in means])

    def estimate(self, metric: str, region: str = "hole") -> dict[str, Any] | None:
        return self.report["region"][region].get(metric)


# ------------------------------------------------------------------ reading


def read_all(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The runs that can be compared, in the order given, and why others cannot."""
    runs: list[Run] = []
    left_out: list[str] = []
    for folder in folders:
        try:
            run = read(folder)
            if runs:
                _check_same(runs[0], run)
            runs.append(run)
        except UserError as error:
            left_out.append(str(error))
    return _told_apart(runs), left_out


def read(folder: Path) -> Run:
    """UserError for files that are missing, damaged, or do not agree with each other."""
    directory = folder / "evaluation"
    path = directory / "metrics.json"
    try:
        report = json.loads(path.read_text())
        for key in ("system", "images_seen", "parameters", "seconds_per_slice"):
            _ = report[key]
        for key in ("fingerprint", "vgg19", "modality", "image_size", "split"):
            _ = report["data"][key]
        _ = report["holes"]["size"]
        scores = reports.read_slices(directory / "slices.csv")
        subjects = reports.read_rows(directory / "subjects.csv")
        _check_sums(report, scores, subjects, directory)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: not found; evaluate the run with python -m ipmedgan_jax.evaluate") from error
    except (OSError, AttributeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{directory}: damaged or of another version ({error}); evaluate the run again") from error
    filled = fills.read(directory / fills.FILE)
    if [(score.subject, score.volume, score.index) for score in scores] != _names(filled):
        raise UserError(f"{directory}: {fills.FILE} and slices.csv are of other slices; evaluate the run again")
    return Run(folder, TITLES.get(report["system"], report["system"]), report, tuple(scores), filled)


def _names(filled: fills.Fills) -> list[tuple[str, str, int]]:
    return [(str(s), str(v), int(i)) for s, v, i in zip(filled.subject, filled.volume, filled.index, strict=True)]


def _check_sums(
    report: dict[str, Any], scores: Sequence[reports.SliceScore], subjects: Sequence[dict[str, str]], directory: Path
) -> None:
    """Slices' scores must give the subjects' means, and those the report's."""
    if report["slices"] != len(scores) or report["subjects"] != len(subjects):
        raise UserError(f"{directory}: metrics.json counts other slices or subjects than the tables; evaluate the run again")
    for region in reports.REGIONS:
        means = reports.subject_means(scores, region)
        for row in subjects:
            for metric, mean in means[row["subject"]].items():
                if not math.isclose(float(row[f"{region}_{metric}"]), mean, rel_tol=1e-6, abs_tol=1e-9):
                    raise UserError(
                        f"{directory}: subjects.csv and slices.csv differ in {row['subject']}'s {metric} ({region})"
                    )
        for metric in next(iter(means.values())):
            mean = float(np.mean([values[metric] for values in means.values()]))
            if not math.isclose(report["region"][region][metric]["mean"], mean, rel_tol=1e-6, abs_tol=1e-9):
                raise UserError(f"{directory}: metrics.json and slices.csv differ in {metric} ({region})")


def _check_same(first: Run, run: Run) -> None:
    """The same data, the same holes."""
    for what, key in (("data", "fingerprint"), ("weights of the VGG distance", "vgg19")):
        if first.report["data"][key] != run.report["data"][key]:
            raise UserError(f"{run.folder}: scored with other {what} than {first.folder}")
    metrics = [set(each.report["region"]["hole"]) for each in (first, run)]
    if metrics[0] != metrics[1]:
        raise UserError(f"{run.folder}: scored with other metrics than {first.folder}")
    places = [[(s.subject, s.volume, s.index, s.hole) for s in each.scores] for each in (first, run)]
    if places[0] != places[1]:
        raise UserError(f"{run.folder}: scored on other holes than {first.folder}")


def _told_apart(runs: Sequence[Run]) -> list[Run]:
    """Runs of one system get their folders' names too."""
    labels = [run.label for run in runs]
    return [
        Run(run.folder, f"{run.label} ({run.folder.name})", run.report, run.scores, run.fills)
        if labels.count(run.label) > 1
        else run
        for run in runs
    ]


def find_reference(runs: Sequence[Run], name: str) -> Run | None:
    """The run of that folder's name, or of that system; None where there is none."""
    for wanted in (lambda run: run.folder.name == name, lambda run: run.system == name):
        for run in runs:
            if wanted(run):
                return run
    return None


# ------------------------------------------------------------------ tables


@dataclass(frozen=True)
class Table:
    """A title, a sentence on how to read it, a heading and rows of text."""

    title: str
    note: str
    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        return f"{reports.markdown_table([self.heading, *self.rows])}\n"

    def latex(self) -> str:
        """A booktabs table."""
        lines = [" & ".join(map(_latex, row)) + r" \\" for row in (self.heading, *self.rows)]
        body = "\n".join([r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"])
        columns = "l" + "r" * (len(self.heading) - 1)
        return (
            f"\\begin{{table}}\n\\caption{{{_latex(self.title)}. {_latex(self.note)}}}\n"
            f"\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}\n\\end{{table}}\n"
        )


def hole_table(runs: Sequence[Run]) -> Table:
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
    )


def _costs(run: Run) -> tuple[str, str, str]:
    """Slices trained on, parameters, seconds a slice."""
    seen, parameters, seconds = (run.report[key] for key in ("images_seen", "parameters", "seconds_per_slice"))
    return (f"{seen:,}" if seen else "-", f"{parameters / 1e6:.2f} M" if parameters else "-", f"{seconds or 0:.2g}")


def image_table(runs: Sequence[Run]) -> Table:
    columns = reports.COLUMNS[:5]
    return Table(
        "In the whole image",
        "The fill in its place, everything else as it was: mostly known pixels.",
        ("system", *(title for title, _, _ in columns)),
        tuple(
            (run.label, *(reports.cell(run.estimate(metric, "image"), decimals) for _, metric, decimals in columns))
            for run in runs
        ),
    )


def paper_table(runs: Sequence[Run]) -> Table | None:
    """Beside the printed Table I; None where no system of it was run."""
    modality = runs[0].report["data"]["modality"]
    printed = PAPER.get(modality, {})
    beside = [run for run in runs if run.system in printed]
    if not beside:
        return None
    heading = ["system"]
    for title, _, _ in BESIDE_PAPER:
        heading += [title, f"{title}, printed"]

    def row(run: Run) -> tuple[str, ...]:
        cells = [run.label]
        for (_, metric, decimals), value in zip(BESIDE_PAPER, printed[run.system], strict=True):
            cells += [reports.cell(run.estimate(metric), decimals), f"{value:.{decimals}f}"]
        return tuple(cells)

    return Table(
        f"Beside the paper's Table I ({modality.upper()})",
        "Other data, other subjects, other holes and another length of training: the printed numbers are there to be looked "
        "at, not compared with. UQI here is the formula of the package sewar, the reading that the printed ones fit.",
        tuple(heading),
        tuple(map(row, beside)),
    )


def difference_table(runs: Sequence[Run], reference: Run) -> Table:
    """Each run's paired differences from the reference, with Holm's p of the signed-rank test over subjects."""
    others = [run for run in runs if run is not reference]
    columns = {metric: _differences(others, reference, metric) for _, metric, _ in PAIRED}
    rows = []
    for i, run in enumerate(others):
        cells = [run.label]
        for _, metric, decimals in PAIRED:
            estimate, p = columns[metric][i]
            cells.append(f"{reports.cell(estimate, decimals, signed=True)}{'' if p is None else f', p {_p_text(p)}'}")
        rows.append(tuple(cells))
    return Table(
        f"Paired differences from {reference.label}",
        "The row's score less the reference's, subject by subject: mean and 95 % interval; p of Wilcoxon's signed-rank test "
        "over subjects, two-sided, corrected after Holm over the rows of a column.",
        ("system", *(title for title, _, _ in PAIRED)),
        tuple(rows),
    )


def _differences(others: Sequence[Run], reference: Run, metric: str) -> list[tuple[dict[str, Any], float | None]]:
    """For each run: the mean difference with its interval, and Holm's p (None for fewer than two subjects)."""
    differences = [run.per_subject(metric) - reference.per_subject(metric) for run in others]
    estimates = [
        {"mean": float(each.mean()), "ci95": reports.bootstrap_interval(each.tolist(), resamples=RESAMPLES)}
        for each in differences
    ]
    if not differences or len(differences[0]) < 2:
        return [(estimate, None) for estimate in estimates]
    raw = [float(wilcoxon(each).pvalue) if np.any(each) else 1.0 for each in differences]
    return list(zip(estimates, holm(raw), strict=True))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction (1979): p values of a family, each valid for all of it."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def group_table(runs: Sequence[Run]) -> Table:
    """PSNR and VGG distance by the hole's share of foreground."""
    columns = [(low, high, *column) for low, high in GROUPS for column in (("PSNR", "psnr", 2), ("VGG", "vgg_distance", 3))]
    counts = {low: sum(low <= score.foreground < high for score in runs[0].scores) for low, high in GROUPS}
    heading = [f"{title}, {_group_name(low, high)} ({counts[low]})" for low, high, title, _, _ in columns]

    def value(run: Run, low: float, high: float, metric: str, decimals: int) -> str:
        chosen = [score for score in run.scores if low <= score.foreground < high]
        if not chosen or metric not in chosen[0].hole_scores:
            return "-"
        means = [subject[metric] for subject in reports.subject_means(chosen, "hole").values()]
        interval = reports.bootstrap_interval(means, resamples=RESAMPLES)
        return reports.cell({"mean": float(np.mean(means)), "ci95": interval}, decimals)

    return Table(
        "By the hole's share of foreground",
        "Holes at the head's edge, mostly inside it, and inside it; in brackets the number of holes.",
        ("system", *heading),
        tuple(
            (run.label, *(value(run, low, high, metric, decimals) for low, high, _, metric, decimals in columns))
            for run in runs
        ),
    )


def _group_name(low: float, high: float) -> str:
    if low == 0:
        return f"below {high:.0%}"
    return f"{low:.0%} and more" if high > 1 else f"{low:.0%} to {high:.0%}"


def _p_text(p: float) -> str:
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def _latex(text: str) -> str:
    return text.replace("%", r"\%").replace("_", r"\_").replace("&", r"\&").replace("<", "$<$")


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


def figure(runs: Sequence[Run], path: Path, *, cases: int) -> None:
    """The paper's Fig. 2: a row a case; context, each system's fill, and the image."""
    first = runs[0].fills
    rows = []
    for example in range(min(cases, len(first.shown))):
        which = int(first.shown[example])
        image, hole = first.image[example], first.hole[which]
        context = image.copy()
        context[hole[0] : hole[0] + hole[2], hole[1] : hole[1] + hole[3]] = -1
        filled = [(run.label, first.inpainted(example, run.fills.fill[which])) for run in runs]
        tiles = (("context", context), *filled, ("image", image))
        caption = (str(first.subject[which]), f"slice {int(first.index[which])}")
        rows.append(figures.Row(caption, tiles, (int(hole[0]), int(hole[1]), int(hole[2]), int(hole[3]))))
    figures.example_grid(rows, path, tile=192)


def scatter(runs: Sequence[Run], path: Path) -> None:
    """Each subject's mean in each system, one dot each, and the mean over subjects."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    present = [(title, metric) for title, metric in SCATTERED if runs[0].estimate(metric)]
    drawing, panels = pyplot.subplots(
        1, len(present), figsize=(4.6 * len(present), 0.42 * len(runs) + 1.4), sharey=True, squeeze=False
    )
    for panel, (title, metric) in zip(panels[0], present, strict=True):
        for row, run in enumerate(runs):
            values = run.per_subject(metric)
            panel.plot(values, np.full(len(values), row), "o", color="#3b6fb6", alpha=0.45, markersize=5, markeredgewidth=0)
            panel.plot([values.mean()], [row], "|", color="black", markersize=16, markeredgewidth=2)
        panel.set_xlabel(f"{title}, in the hole")
        panel.grid(axis="x", alpha=0.3)
    panels[0][0].set_yticks(range(len(runs)), [run.label for run in runs])
    panels[0][0].invert_yaxis()
    drawing.tight_layout()
    drawing.savefig(path, dpi=130)
    pyplot.close(drawing)
