"""The evaluation task of finding damage: slices with known, simulated damage, and the scores of what is found in them.

Scores count pixels over all of a subject's slices, intact ones included, and are taken per subject. A subject's Dice is that
of all its slices together: damage found where there is none lowers it, and a small spot weighs no more than its pixels.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.data import pipeline
from ipmedgan_jax.data.batches import Find, in_groups
from ipmedgan_jax.data.damage import INTACT, damaged_pixels
from ipmedgan_jax.data.pipeline import DamagedSlice
from ipmedgan_jax.evaluation import figures, reports
from ipmedgan_jax.experiment.build import Experiment
from ipmedgan_jax.systems.inference import LearnedFind


@dataclass(frozen=True)
class Count:
    """Counts of one slice: pixels rightly found, wrongly found, and missed; its `kind` of damage; the seconds it took."""

    subject: str
    kind: str
    right: int
    wrong: int
    missed: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Found:
    """One slice, the likelihood `[H, W]` of damage that was found in it, and the seconds that this took."""

    slice: DamagedSlice
    likelihood: np.ndarray
    seconds: float

    @property
    def mask(self) -> np.ndarray:
        """The pixels found to be damaged, bool `[H, W]`."""
        return damaged_pixels(self.likelihood)

    @property
    def count(self) -> Count:
        """The pixel counts of the slice."""
        found, true = self.mask, self.slice.mask
        right, wrong, missed = (int(np.count_nonzero(pixels)) for pixels in (found & true, found & ~true, ~found & true))
        return Count(self.slice.record.subject, self.slice.kind, right, wrong, missed, self.seconds)


def find_in_slices(find: Find, slices: Iterable[DamagedSlice], *, batch_size: int) -> Iterator[Found]:
    """Applies `find` to the slices in batches and yields what is found, in the slices' order."""
    for group, padded in in_groups(slices, batch_size):
        start = time.perf_counter()
        likelihoods = find(np.stack([damaged_slice.image for damaged_slice in padded])[..., None])
        seconds = (time.perf_counter() - start) / batch_size
        for damaged_slice, likelihood in zip(group, likelihoods[..., 0], strict=False):
            yield Found(damaged_slice, likelihood, seconds)


def subject_scores(counts: Iterable[Count]) -> dict[str, dict[str, float]]:
    """Returns {subject: {score: value}}.

    The scores are `dice`, `sensitivity`, `precision`, `dice_KIND` for each kind of damage, and `slice_specificity`, the
    share of a subject's intact slices in which nothing was found. A score that is not defined for a subject is left out.
    """
    by_subject: dict[str, list[Count]] = {}
    for count in counts:
        by_subject.setdefault(count.subject, []).append(count)
    return {subject: _scores(by_subject[subject]) for subject in sorted(by_subject)}


def _scores(counts: Sequence[Count]) -> dict[str, float]:
    """Returns one subject's scores, those that are defined."""
    right, wrong, missed = _sums(counts)
    scores = {
        "dice": _ratio(2 * right, 2 * right + wrong + missed),
        "sensitivity": _ratio(right, right + missed),
        "precision": _ratio(right, right + wrong),
    }
    for kind in sorted({count.kind for count in counts} - {INTACT}):
        right, wrong, missed = _sums([count for count in counts if count.kind == kind])
        scores[f"dice_{kind}"] = _ratio(2 * right, 2 * right + wrong + missed)
    intact = [count for count in counts if count.kind == INTACT]
    scores["slice_specificity"] = _ratio(sum(not count.wrong for count in intact), len(intact))
    return {name: value for name, value in scores.items() if value is not None}


def _sums(counts: Sequence[Count]) -> tuple[int, int, int]:
    """Adds up the pixels rightly found, wrongly found, and missed."""
    return (
        sum(count.right for count in counts),
        sum(count.wrong for count in counts),
        sum(count.missed for count in counts),
    )


def _ratio(part: float, total: float) -> float | None:
    """Returns part / total, or None if the total is 0."""
    return float(part / total) if total else None


def report(counts: Sequence[Count], **about: Any) -> dict[str, Any]:
    """Returns the content of metrics.json, with the entries `about`. Raises UserError without slices."""
    if not counts:
        raise UserError("no slice to find damage in, at least one expected (data.dir)")
    by_subject = subject_scores(counts)
    return {
        **about,
        "region": {"image": reports.estimates(by_subject)},
        "subjects": len(by_subject),
        "slices": len(counts),
        "seconds_per_slice": statistics.median(count.seconds for count in counts),
    }


def table(report: dict[str, Any]) -> str:
    """Returns a Markdown table of a report's scores."""
    scores = report["region"]["image"]
    return reports.markdown_table([["score", "mean"], *([name, reports.cell(score, 3)] for name, score in scores.items())])


# ------------------------------------------------------------------ the task


@dataclass(frozen=True, eq=False)
class SearchedSlice:
    """The result of one slice: its pixel counts, and its row of the figure if it is shown."""

    count: Count
    row: figures.Row | None


@dataclass(frozen=True)
class DamageFinding:
    """The task of finding damage: each slice of a split is searched twice, with simulated damage and intact."""

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
        subjects = counted(report["subjects"], f"{split} subject")
        return f"{table(report)}\n{report['slices']} slices, damaged or not, of {subjects}"


# ------------------------------------------------------------------ pictures


def example_row(found: Found) -> figures.Row:
    """Returns a slice's row: slice, damage, likelihood, and what was found (right is white, wrong red, missed blue)."""
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
