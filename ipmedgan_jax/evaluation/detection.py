"""Damage found in slices with known, simulated damage, and how well: used by training and by `evaluate`.

All scores are of pixels, counted over a subject's slices, intact ones included, and then taken per subject: a subject's Dice
is that of all its slices together, so that finding damage where there is none costs, and one small spot weighs as it is.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import pipeline
from ipmedgan_jax.data.batches import Find, in_groups
from ipmedgan_jax.data.damage import INTACT, damaged_pixels
from ipmedgan_jax.data.pipeline import DamagedSlice
from ipmedgan_jax.evaluation import figures, reports
from ipmedgan_jax.experiment.build import Experiment
from ipmedgan_jax.systems.inference import LearnedFind


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
    """{subject: {score: value}}: `dice`, `sensitivity`, `precision`, `dice_KIND` for each kind, `slice_specificity`.

    `slice_specificity` is the share of a subject's intact slices in which nothing was found. A score that a subject
    cannot have is left out.
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
    scores["slice_specificity"] = _share(sum(not each.wrong for each in intact), len(intact))
    return {name: value for name, value in scores.items() if value is not None}


def _sums(counts: Sequence[Count]) -> tuple[int, int, int]:
    return sum(each.right for each in counts), sum(each.wrong for each in counts), sum(each.missed for each in counts)


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def report(counts: Sequence[Count], *, resamples: int, **about: Any) -> dict[str, Any]:
    """The content of metrics.json; `about` is passed on. UserError without slices."""
    if not counts:
        raise UserError("no slice to find damage in, at least one expected (data.dir)")
    by_subject = subject_scores(counts)
    return {
        **about,
        "region": {"image": reports.estimates(by_subject, resamples=resamples)},
        "subjects": len(by_subject),
        "slices": len(counts),
        "seconds_per_slice": statistics.median(count.seconds for count in counts),
    }


def table(report: dict[str, Any]) -> str:
    """A Markdown table of a report's scores."""
    scores = report["region"]["image"]
    return reports.markdown_table([["score", "mean"], *([name, reports.cell(score, 3)] for name, score in scores.items())])


# ------------------------------------------------------------------ the task


@dataclass(frozen=True, eq=False)
class SearchedSlice:
    """What is kept of a slice: its pixel counts and, of the few that are shown, its row."""

    count: Count
    row: figures.Row | None


@dataclass(frozen=True)
class DamageFinding:
    """The task of finding: each slice of a split is searched twice, with simulated damage and as it is."""

    experiment: Experiment

    @property
    def title(self) -> str:
        experiment = self.experiment
        subjects = f"{experiment.evaluation.split} subjects"
        return f"{experiment.name} on {experiment.dataset.modality}, {subjects}, simulated damage"

    @property
    def no_slices(self) -> str:
        return "no slice to find damage in (data.dir)"

    def network(self) -> LearnedFind:
        return LearnedFind(self.experiment.system)

    def count(self, split: str) -> int:
        return 2 * self.experiment.dataset.slices[split]

    def slices(self, split: str, *, at_most: int | None = None) -> Iterator[DamagedSlice]:
        return pipeline.damaged_slices(self.experiment.dataset.directory, split, self.experiment.holes, at_most=at_most)

    def results(
        self, predict: Find, slices: Iterable[DamagedSlice], is_shown: Callable[[int], bool]
    ) -> Iterator[SearchedSlice]:
        searched = find_in_slices(predict, slices, batch_size=self.experiment.evaluation.batch_size)
        for i, found in enumerate(searched):
            yield SearchedSlice(found.count, example_row(found) if is_shown(i) else None)

    def subject_scores(self, results: Iterable[SearchedSlice]) -> dict[str, dict[str, float]]:
        return subject_scores(result.count for result in results)

    def report(self, results: Sequence[SearchedSlice], **about: Any) -> dict[str, Any]:
        experiment = self.experiment
        return report(
            [result.count for result in results],
            resamples=experiment.evaluation.bootstrap,
            system=experiment.name,
            data=experiment.describe_data(),
            damage=experiment.describe_damage(),
            **about,
        )

    def write(self, directory: Path, report: dict[str, Any], results: Sequence[SearchedSlice]) -> None:
        rows = [{"subject": subject, **scores} for subject, scores in self.subject_scores(results).items()]
        reports.write_tables(directory, report, subjects=rows)

    def summary(self, report: dict[str, Any]) -> str:
        split = self.experiment.evaluation.split
        return f"{table(report)}\n{report['slices']} slices, damaged or not, of {report['subjects']} {split} subject(s)"


# ------------------------------------------------------------------ pictures


def example_row(found: Found) -> figures.Row:
    """The damaged slice, the damage, its likelihood, and what was found: right is white, wrong red, missed blue."""
    record, true, image = found.slice.record, found.slice.mask, found.slice.image
    colours = np.zeros((*image.shape, 3), np.uint8)
    colours[found.mask & true] = 255
    colours[found.mask & ~true] = figures.RED
    colours[~found.mask & true] = figures.BLUE
    return figures.Row(
        (record.subject, f"slice {record.index}", found.slice.kind),
        (
            ("damaged", image),
            ("damage", _as_image(true)),
            ("likelihood", _as_image(found.likelihood)),
            ("found (red wrong, blue missed)", colours),
        ),
    )


def _as_image(share: np.ndarray) -> np.ndarray:
    """Shares in [0, 1] as grey levels in [-1, 1]."""
    return 2 * share.astype(np.float32) - 1
