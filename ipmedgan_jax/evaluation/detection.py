"""Damage found in slices with known, simulated damage, and how well: used by training and by `evaluate`.

All scores are of pixels, counted over a subject's slices, intact ones included, and then taken per subject: a subject's Dice
is that of all its slices together, so that finding damage where there is none costs, and one small spot weighs as it is.
"""

import json
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data.batches import Find, in_groups
from ipmedgan_jax.data.damage import INTACT, damaged_pixels
from ipmedgan_jax.data.pipeline import DamagedSlice
from ipmedgan_jax.evaluation import figures, reports


@dataclass(frozen=True)
class Count:
    """Of one slice: pixels rightly found, wrongly found, and missed; its `kind` of damage; seconds that the finding took."""

    subject: str
    kind: str
    right: int
    wrong: int
    missed: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Found:
    """One slice and what was found in it."""

    slice: DamagedSlice
    likelihood: np.ndarray
    seconds: float

    @property
    def mask(self) -> np.ndarray:
        return damaged_pixels(self.likelihood)

    @property
    def count(self) -> Count:
        found, true = self.mask, self.slice.mask
        right, wrong, missed = (int(np.count_nonzero(each)) for each in (found & true, found & ~true, ~found & true))
        return Count(self.slice.record.subject, self.slice.kind, right, wrong, missed, self.seconds)


def find_in_slices(find: Find, slices: Iterable[DamagedSlice], *, batch_size: int) -> Iterator[Found]:
    """In their order."""
    for group, padded in in_groups(slices, batch_size):
        start = time.perf_counter()
        likelihoods = find(np.stack([each.image for each in padded])[..., None])
        seconds = (time.perf_counter() - start) / batch_size
        for each, likelihood in zip(group, likelihoods[..., 0], strict=False):
            yield Found(each, likelihood, seconds)


def subject_scores(counts: Iterable[Count]) -> dict[str, dict[str, float]]:
    """{subject: {score: value}}: `dice`, `sensitivity`, `precision`, `dice_KIND` for each kind, `clean`.

    `clean` is the share of its intact slices in which nothing was found. A score that a subject cannot have is left out.
    """
    by_subject: dict[str, list[Count]] = {}
    for each in counts:
        by_subject.setdefault(each.subject, []).append(each)
    return {subject: _scores(by_subject[subject]) for subject in sorted(by_subject)}


def _scores(counts: Sequence[Count]) -> dict[str, float]:
    right, wrong, missed = _sums(counts)
    scores = {
        "dice": _share(2 * right, 2 * right + wrong + missed),
        "sensitivity": _share(right, right + missed),
        "precision": _share(right, right + wrong),
    }
    for kind in sorted({each.kind for each in counts} - {INTACT}):
        right, wrong, missed = _sums([each for each in counts if each.kind == kind])
        scores[f"dice_{kind}"] = _share(2 * right, 2 * right + wrong + missed)
    intact = [each for each in counts if each.kind == INTACT]
    scores["clean"] = _share(sum(not each.wrong for each in intact), len(intact))
    return {name: value for name, value in scores.items() if value is not None}


def _sums(counts: Sequence[Count]) -> tuple[int, int, int]:
    return sum(each.right for each in counts), sum(each.wrong for each in counts), sum(each.missed for each in counts)


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def mean_over_subjects(counts: Iterable[Count]) -> dict[str, float]:
    """Each score's mean over the subjects that have it."""
    return {name: statistics.mean(values) for name, values in _columns(subject_scores(counts)).items()}


def _columns(by_subject: dict[str, dict[str, float]]) -> dict[str, list[float]]:
    """Each score's values, of the subjects that have it."""
    columns: dict[str, list[float]] = {}
    for scores in by_subject.values():
        for name, value in scores.items():
            columns.setdefault(name, []).append(value)
    return columns


def report(counts: Sequence[Count], *, resamples: int, **about: Any) -> dict[str, Any]:
    """What metrics.json holds; `about` is passed on. UserError without slices."""
    if not counts:
        raise UserError("no slice to find damage in, at least one wanted (data.dir)")
    by_subject = subject_scores(counts)
    region = {
        name: {"mean": statistics.mean(values), "ci95": reports.bootstrap_interval(values, resamples=resamples)}
        for name, values in _columns(by_subject).items()
    }
    return {
        **about,
        "region": {"image": region},
        "subjects": len(by_subject),
        "slices": len(counts),
        "seconds_per_slice": statistics.median(each.seconds for each in counts),
    }


def write_report(directory: Path, report: dict[str, Any], counts: Sequence[Count]) -> None:
    """Writes `subjects.csv` and, last, `metrics.json`, each whole or not at all."""
    rows = [{"subject": subject, **scores} for subject, scores in subject_scores(counts).items()]
    columns = dict.fromkeys(name for row in rows for name in row)
    complete = [{name: row.get(name, "") for name in columns} for row in rows]
    files.write_text(directory / "subjects.csv", reports.csv_text(complete))
    files.write_text(directory / "metrics.json", json.dumps(report, indent=2, allow_nan=False) + "\n")


def table(report: dict[str, Any]) -> str:
    """A Markdown table of a report's scores."""
    scores = report["region"]["image"]
    return reports.markdown_table([["score", "mean"], *([name, reports.cell(each, 3)] for name, each in scores.items())])


def example_row(each: Found) -> figures.Row:
    """The damaged slice, what is damaged, and what was found: rightly white, wrongly red, missed blue."""
    record, shown = each.slice.record, each.slice.image
    colours = np.zeros((*shown.shape, 3), np.uint8)
    colours[each.mask & each.slice.mask] = 255
    colours[each.mask & ~each.slice.mask] = figures.RED
    colours[~each.mask & each.slice.mask] = figures.BLUE
    return figures.Row(
        (record.subject, f"slice {record.index}", each.slice.kind),
        (("damaged", shown), ("damage", _as_image(each.slice.mask)), ("found (red wrongly, blue missed)", colours)),
    )


def tiles(each: Found) -> list[np.ndarray]:
    """The same in greys, for a run's pictures."""
    return [each.slice.image, _as_image(each.slice.mask), _as_image(each.likelihood)]


def _as_image(share: np.ndarray) -> np.ndarray:
    return 2 * share.astype(np.float32) - 1
