"""Reads evaluated runs and checks that they agree with themselves.

The scores of a run's slices must give its subjects' and its report's means. `comparable_runs` checks runs against each other.
"""

import csv
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ipmedgan_jax.core import fold_choice, json_fields
from ipmedgan_jax.core.errors import UserError, reason
from ipmedgan_jax.core.fold_choice import Fold
from ipmedgan_jax.core.lines import one_line
from ipmedgan_jax.core.user_paths import as_utf8
from ipmedgan_jax.evaluation import reports, saved_fills
from ipmedgan_jax.evaluation.intervals import mean_interval
from ipmedgan_jax.experiment.saved_config import RENAMED_SYSTEMS
from ipmedgan_jax.systems.classical import FILLS

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
    "casnet_plus": "CasNet plus (ours)",
}
"""Names of systems in tables and figures."""


@dataclass(frozen=True, eq=False)
class Run:
    """One evaluated run: its report (metrics.json), scores and fills. `label` is its name in tables and figures.

    `parts` are the runs that were pooled to make it, one for each fold of a cross-validation; most runs have none. `name` is
    the folder's name in tables and texts, with as many of the folders above it as tell the compared runs apart.
    """

    folder: Path
    label: str
    report: dict[str, Any]
    scores: tuple[reports.SliceScore, ...]
    fills: saved_fills.Fills
    parts: tuple["Run", ...] = ()
    name: str = field(kw_only=True)

    @property
    def folds(self) -> tuple[Fold, ...]:
        """The folds of a cross-validation whose subjects were scored; none for another split."""
        own = fold_choice.parse(self.report["data"].get("fold", ""))
        return tuple(fold for part in self.parts for fold in part.folds) if self.parts else (own,) if own else ()

    @property
    def fold_of_subjects(self) -> np.ndarray:
        """The fold of each subject `[subjects]`, in order of name; 0 without folds."""
        found = {subject: fold.index for part in self.parts for fold in part.folds for subject in part.subject_means["hole"]}
        return np.array([found.get(subject, 0) for subject in self.subject_means["hole"]])

    @property
    def system(self) -> str:
        return self.report["system"]

    @property
    def learns(self) -> bool:
        """Whether it is a trained system, not a classical fill."""
        return self.system not in FILLS

    @property
    def window(self) -> int:
        """Side of the windows that were scored, in pixels; 0 for whole slices."""
        return self.report["data"].get("window", 0)

    def per_subject(self, metric: str, region: str = "hole") -> np.ndarray:
        """Returns each subject's mean `[subjects]`, in order of name; NaN if the metric was not taken.

        Those of KID are the jackknife's pseudo-values; runs of earlier versions, and of two subjects, have none.
        """
        if metric == "kid" and region == "hole":
            pseudo_values = (self.estimate("kid") or {}).get("pseudo_values", {})
            return np.array([pseudo_values.get(subject, math.nan) for subject in self.subject_means["hole"]])
        return np.array([subject.get(metric, math.nan) for subject in self.subject_means[region].values()])

    @functools.cached_property
    def subject_means(self) -> dict[str, dict[str, dict[str, float]]]:
        """Each region's {subject: {metric: mean}}, subjects in order of name."""
        return {region: reports.subject_means(self.scores, region) for region in reports.REGIONS}

    def estimate(self, metric: str, region: str = "hole") -> dict[str, Any] | None:
        """Returns the report's {"mean", "ci95"} of a metric, None if it was not taken."""
        return self.report["region"][region].get(metric)


@dataclass(frozen=True)
class _Estimate:
    """A metric in a report: its mean and interval over subjects; no interval for a single subject.

    KID has the jackknife's pseudo-value of each subject, too; reports of earlier versions have none.
    """

    mean: float
    ci95: tuple[float, float] | None
    pseudo_values: dict[str, float] = field(default_factory=dict)


_DERIVED = {"psnr_of_mean_mse"}
"""Entries of a region that are plain numbers, made of the estimates."""

_KINDS: dict[str, dict[str, Any]] = {
    "": {
        "system": str,
        "images_seen": int | None,
        "parameters": int | None,
        "seconds_per_slice": float | None,
        "region": dict[str, dict[str, Any]],
    },
    "data": {"fingerprint": str, "vgg19": str | None, "modality": str, "image_size": int, "split": str},
    "holes": {"size": int},
}
"""Entries of a report that a comparison needs, with their types: those at its top, and those of its groups."""


def read(folder: Path) -> Run:
    """Reads one evaluated run. Raises UserError if its files are missing, damaged, or do not agree with each other.

    The intervals in its report are computed anew: those of earlier versions covered less (`intervals`).
    """
    directory = folder / "evaluation"
    path = directory / "metrics.json"
    try:
        report = _with_present_name(json_fields.read(path, finite=False))
        for group, kinds in _KINDS.items():
            for name, kind in kinds.items():
                json_fields.convert(kind, (report[group] if group else report)[name], f"{group}.{name}".lstrip("."))
        for region, metrics in report["region"].items():
            for metric, found in metrics.items():
                kind = float if metric in _DERIVED else _Estimate
                json_fields.convert(kind, found, f"region.{region}.{metric}")
        fold = json_fields.convert(str, report["data"].get("fold", ""), "data.fold")
        if fold and not fold_choice.parse(fold):
            raise ValueError(f"data.fold: expected k of n, found {fold}")
        if fold and not json_fields.convert(str, report["data"]["division"], "data.division"):
            raise ValueError("data.division: expected a digest, found none")
        scores = reports.read_slices(directory / "slices.csv")
        subjects = reports.read_rows(directory / "subjects.csv")
        _check_finite(scores, directory)
        _check_sums(report, scores, subjects, directory)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: not found; evaluate the run with python -m ipmedgan_jax.evaluate") from error
    except (OSError, AttributeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{directory}: damaged or of another version ({reason(error)}); evaluate the run again") from error
    filled = saved_fills.read(directory / saved_fills.FILE)
    if [(score.subject, score.volume, score.index) for score in scores] != _slice_names(filled):
        raise UserError(f"{directory}: {saved_fills.FILE} and slices.csv are of other slices; evaluate the run again")
    report = _with_present_intervals(report, scores)
    label = TITLES.get(report["system"], report["system"])
    (name,) = distinct_names([folder])
    return Run(folder, label, report, tuple(scores), filled, name=name)


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """Returns a name for each folder, in one line: its last part, and as many of those above as tell it from the others."""
    parts = [folder.absolute().parts for folder in folders]
    names = []
    for own in parts:
        length = next((n for n in range(1, len(own)) if sum(other[-n:] == own[-n:] for other in parts) == 1), len(own))
        names.append(one_line(as_utf8(str(Path(*own[-length:])))))
    return names


def _with_present_intervals(report: dict[str, Any], scores: Sequence[reports.SliceScore]) -> dict[str, Any]:
    """Returns a report with the intervals of today. KID's need its pseudo-values; without them it has none."""
    regions = {}
    for region, metrics in report["region"].items():
        estimates = reports.estimates(reports.subject_means(scores, region)) if region in reports.REGIONS else {}
        regions[region] = metrics | {metric: found for metric, found in estimates.items() if metric in metrics}
    if kid := regions["hole"].get("kid"):
        regions["hole"]["kid"] = kid | {"ci95": mean_interval(list(kid.get("pseudo_values", {}).values()))}
    return report | {"region": regions}


def _with_present_name(report: dict[str, Any]) -> dict[str, Any]:
    """Returns a report with the present name of its system. Reports of the former names have no `window`."""
    name = report["system"]
    return report if "window" in report["data"] else report | {"system": RENAMED_SYSTEMS.get(name, name)}


def _slice_names(filled: saved_fills.Fills) -> list[tuple[str, str, int]]:
    """Returns subject, volume and index of each slice."""
    return [(str(s), str(v), int(i)) for s, v, i in zip(filled.subject, filled.volume, filled.index, strict=True)]


def _check_finite(scores: Sequence[reports.SliceScore], directory: Path) -> None:
    """Raises UserError for a score that is not finite: no comparison with NaN is true."""
    try:
        reports.check_scores(scores)
    except UserError as error:
        raise UserError(f"{directory}: {error}; evaluate the run again") from error


def _check_sums(
    report: dict[str, Any], scores: Sequence[reports.SliceScore], subjects: Sequence[dict[str, str]], directory: Path
) -> None:
    """Raises UserError unless the slices' scores give the subjects' means, and those the report's."""
    if report["slices"] != len(scores) or report["subjects"] != len(subjects):
        raise UserError(f"{directory}: metrics.json counts other slices or subjects than the tables; evaluate the run again")
    if {row["subject"] for row in subjects} != {score.subject for score in scores}:
        raise UserError(f"{directory}: subjects.csv and slices.csv have other subjects; evaluate the run again")
    for region in reports.REGIONS:
        means = reports.subject_means(scores, region)
        for row in subjects:
            for metric, mean in means[row["subject"]].items():
                if not math.isclose(float(row[f"{region}_{metric}"]), mean, rel_tol=1e-6, abs_tol=1e-9):
                    raise UserError(
                        f"{directory}: subjects.csv and slices.csv differ in {row['subject']}'s {metric} ({region}); "
                        "evaluate the run again"
                    )
        for metric in next(iter(means.values())):
            mean = float(np.mean([values[metric] for values in means.values()]))
            if not math.isclose(report["region"][region][metric]["mean"], mean, rel_tol=1e-6, abs_tol=1e-9):
                raise UserError(
                    f"{directory}: metrics.json and slices.csv differ in {metric} ({region}); evaluate the run again"
                )
    pseudo_values = report["region"]["hole"].get("kid", {}).get("pseudo_values", {})
    if pseudo_values and pseudo_values.keys() != reports.subject_means(scores, "hole").keys():
        raise UserError(f"{directory}: metrics.json has KID of other subjects than slices.csv; evaluate the run again")
