"""Groups runs of one system whose configs are equal but for the seed: a group is one row of a comparison.

Runs of one system that are more than seeds of each other stay rows of their own, and say why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.spelling import suggestion
from ipmedgan_jax.evaluation import reports, seed_model
from ipmedgan_jax.evaluation.evaluated_runs import TITLES, Run
from ipmedgan_jax.evaluation.seed_model import SystemScores
from ipmedgan_jax.evaluation.trainings import Training, read_training, why_different


@dataclass(frozen=True, eq=False)
class SeedGroup:
    """A system's runs, one for each seed. Figures, slices and texts are those of the first run, scores those of all.

    Attributes:
      label: the system's name in tables and figures.
      runs: scored on the same holes.
      seeds: the seed of each run; None where it is not known, or of a fill that does not learn.
      apart: the folder of an earlier group of the system and, in brackets, why this is no part of it; empty for the first.
    """

    label: str
    runs: tuple[Run, ...]
    seeds: tuple[int | None, ...]
    apart: str = ""

    @property
    def first(self) -> Run:
        return self.runs[0]

    @property
    def system(self) -> str:
        return self.first.system

    @property
    def learns(self) -> bool:
        return self.first.learns

    @property
    def trainings(self) -> int:
        """Number of trainings: one for each seed, and for each fold of it."""
        return len(self.runs) * max(1, len(self.first.folds)) if self.learns else 0

    @property
    def evaluated(self) -> list[Run]:
        """All runs, folds in the place of a pooled run."""
        return [part for run in self.runs for part in run.parts or (run,)]

    @property
    def shown_label(self) -> str:
        """The label of figures, which show the first run."""
        return self.label if len(self.runs) == 1 else f"{self.label}, seed {self.seeds[0]}"

    def scores_of(self, metric: str, region: str = "hole") -> SystemScores:
        """Returns the scores `[seeds, subjects]` of a metric; NaN if it was not taken."""
        return self._scores([run.per_subject(metric, region) for run in self.runs], self.first.fold_of_subjects)

    def scores_where(self, metric: str, low: float, high: float) -> SystemScores | None:
        """Returns the scores of the holes whose share of foreground is in [low, high), of the subjects that have such.

        None without such holes, or if the metric was not taken.
        """
        rows = []
        for run in self.runs:
            chosen = [score for score in run.scores if low <= score.foreground < high]
            if not chosen or metric not in chosen[0].hole_scores:
                return None
            means = reports.subject_means(chosen, "hole")
            rows.append([scores[metric] for scores in means.values()])
        present = [subject in means for subject in self.first.subject_means["hole"]]
        return self._scores(rows, self.first.fold_of_subjects[present])

    def _scores(self, rows: Sequence[Sequence[float] | np.ndarray], folds: np.ndarray) -> SystemScores:
        return SystemScores(np.array(rows), self.learns, folds)

    def per_subject(self, metric: str, region: str = "hole") -> np.ndarray:
        """Returns each subject's mean over its slices and the seeds `[subjects]`, in order of name."""
        return self.scores_of(metric, region).values.mean(0)

    def estimate(self, metric: str, region: str = "hole") -> dict[str, Any] | None:
        """Returns {"mean", "ci95"} of a metric, None if it was not taken.

        KID of runs of earlier versions has no interval.
        """
        entries = [run.estimate(metric, region) for run in self.runs]
        scores = self.scores_of(metric, region)
        if np.isfinite(scores.values).all():
            return seed_model.mean(scores).as_entry()
        known = [entry["mean"] for entry in entries if entry is not None]
        return {"mean": float(np.mean(known)), "ci95": None} if len(known) == len(entries) else None


def group_seeds(runs: Sequence[Run]) -> list[SeedGroup]:
    """Groups the runs; a group stands where its first run stood."""
    groups: list[list[Training]] = []
    reasons: dict[int, str] = {}
    for training in map(read_training, runs):
        earlier = [group for group in groups if group[0].run.system == training.run.system]
        apart = [_why_apart(group, training) for group in earlier]
        if "" in apart:
            earlier[apart.index("")].append(training)
            continue
        if earlier and training.run.learns:
            reasons[len(groups)] = f"{earlier[0][0].run.name} ({apart[0]})"
        groups.append([training])
    return [_seed_group(group, reasons.get(i, ""), groups) for i, group in enumerate(groups)]


def find_reference(groups: Sequence[SeedGroup], name: str | None) -> SeedGroup:
    """Returns the group that has a run of this name or in a folder of this name, else the first of this system.

    Without a name, that is ip-MedGAN's, or the first group where there is none. Raises UserError for an unknown name.
    """
    wanted = name or "ipmedgan"
    for group in groups:
        if any(wanted in (run.name, run.folder.name) for run in group.evaluated):
            return group
    for group in groups:
        if group.system == wanted:
            return group
    if name is None:
        return groups[0]
    known = dict.fromkeys(name for group in groups for name in (*(run.name for run in group.evaluated), group.system))
    found = suggestion(name, known, "--reference=")
    raise UserError(f"--reference={name}: none of the compared runs; expected one of {', '.join(known)}{found}")


def _why_apart(group: Sequence[Training], training: Training) -> str:
    """Returns why a run is no further seed of the group; empty if it is one."""
    if different := why_different(group[0], training):
        return different
    same = next((member for member in group if member.seed == training.seed), None)
    return f"the same seed {training.seed}" if same else ""


def _seed_group(trainings: Sequence[Training], reason: str, groups: Sequence[Sequence[Training]]) -> SeedGroup:
    """Makes a group; its label has the name of its first folder where the system has several groups."""
    runs, system = tuple(training.run for training in trainings), trainings[0].run.system
    title = TITLES.get(system, system)
    if sum(group[0].run.system == system for group in groups) > 1:
        more = sum(max(1, len(run.parts)) for run in runs) - 1
        title += f" ({runs[0].name}{f' and {more} more' if more else ''})"
    return SeedGroup(title, runs, tuple(training.seed for training in trainings), reason)
