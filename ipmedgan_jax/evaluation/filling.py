"""The evaluation task of filling: each slice of a split has one hole, whose fill is scored against the slice's own pixels."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.data import pipeline
from ipmedgan_jax.data.batches import Inpaint
from ipmedgan_jax.data.pipeline import EvaluationSlice
from ipmedgan_jax.distributed import processes
from ipmedgan_jax.evaluation import figures, metrics, reports, saved_fills, scoring
from ipmedgan_jax.evaluation.figures import Row
from ipmedgan_jax.evaluation.reports import SliceScore
from ipmedgan_jax.evaluation.scoring import ScoredSlice
from ipmedgan_jax.experiment.build import Experiment
from ipmedgan_jax.systems.inference import LearnedInpaint


@dataclass(frozen=True, eq=False)
class FilledSlice:
    """The result of one slice: its scores, fill `[h, w]` and features `[2, 512]`.

    Slices that are shown also keep their image `[H, W]` and their row of the figure; for the others both are None. One slice
    in `saved_fills.KEEP_EVERY` keeps its image's grey levels, uint8 `[H, W]`.
    """

    score: SliceScore
    seconds: float
    features: np.ndarray
    fill: np.ndarray
    image: np.ndarray | None
    row: Row | None
    grey: np.ndarray | None


@dataclass(frozen=True)
class HoleFilling:
    """The task of filling. `system` names what fills: the experiment's own system, or a classical fill."""

    experiment: Experiment
    system: str

    @property
    def title(self) -> str:
        return f"{self.system} on {self.experiment.dataset.modality}, {self.experiment.evaluation.split} subjects"

    @property
    def no_slices(self) -> str:
        return "no slice has a place for a hole: lower holes.evaluation_min_foreground"

    def network(self) -> LearnedInpaint:
        return LearnedInpaint(self.experiment.system)

    def count(self, split: str) -> int:
        return self.experiment.dataset.slices[split]

    def slices(self, split: str, *, at_most: int | None = None) -> Iterator[EvaluationSlice]:
        return pipeline.evaluation_slices(self.experiment.dataset.directory, split, self.experiment.holes, at_most=at_most)

    def results(
        self, predict: Inpaint, slices: Iterable[EvaluationSlice], is_shown: Callable[[int], bool]
    ) -> Iterator[FilledSlice]:
        experiment = self.experiment
        scored = scoring.score_slices(
            predict,
            slices,
            experiment.features,
            hole_size=experiment.holes.size,
            modality=experiment.dataset.modality,
            batch_size=experiment.evaluation.batch_size,
        )
        for i, filled in enumerate(scored):
            shown = is_shown(i)
            yield FilledSlice(
                score=filled.score,
                seconds=filled.seconds,
                features=filled.features,
                fill=filled.fill,
                image=filled.slice.image if shown else None,
                row=_example_row(filled, experiment.fill) if shown else None,
                grey=figures.grey_levels(filled.slice.image) if _is_kept(i) else None,
            )

    def subject_scores(self, results: Iterable[FilledSlice]) -> dict[str, dict[str, float]]:
        return reports.subject_means([result.score for result in results], "hole")

    def report(self, results: Sequence[FilledSlice], **about: Any) -> dict[str, Any]:
        scores, experiment = [result.score for result in results], self.experiment
        kid = None
        if results:
            features = np.stack([result.features for result in results])
            kid = metrics.kernel_inception_distance(features, [score.subject for score in scores])
        return reports.report(
            scores,
            system=self.system,
            data=experiment.describe_data(),
            holes=experiment.describe_holes(),
            seconds_per_slice=statistics.median(result.seconds for result in results) if results else None,
            kid=kid,
            **about,
        )

    def write(self, directory: Path, report: dict[str, Any], results: Sequence[FilledSlice]) -> None:
        fills = saved_fills.Writer()
        for result in results:
            fills.add(result.score, result.fill, image=result.image, grey=result.grey)
        fills.write(directory / saved_fills.FILE)
        reports.write_report(directory, report, [result.score for result in results])

    def summary(self, report: dict[str, Any]) -> str:
        split = self.experiment.evaluation.split
        holes, subjects = counted(report["slices"], "hole"), counted(report["subjects"], f"{split} subject")
        return f"{reports.table([report])}\n{holes} of {subjects}"


def _is_kept(i: int) -> bool:
    """Whether the i-th slice of this process's share keeps its grey levels: the same slices for any number of processes."""
    return processes.global_index(i) % saved_fills.KEEP_EVERY == saved_fills.KEEP_EVERY // 2


def _example_row(filled: ScoredSlice, fill_value: float) -> Row:
    """Returns the slice's row of examples.png."""
    score = filled.score
    return figures.example_row(
        (score.subject, f"slice {score.index}", f"{score.hole_scores['psnr']:.1f} dB in the hole"),
        image=filled.slice.image,
        context=filled.slice.context(fill_value),
        inpainted=filled.inpainted.copy(),
        hole=score.hole,
    )
