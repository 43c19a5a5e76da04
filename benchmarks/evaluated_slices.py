"""The slices that evaluated runs were scored on, from the prepared data: intact, damaged, and filled by each run.

Images are `[n, H, W]`, float32 in [-1, 1], in the order of the runs' scores.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.data.dataset_file import Dataset, load_dataset
from ipmedgan_jax.data.holes import box_mask
from ipmedgan_jax.data.records import SliceRecord
from ipmedgan_jax.data.slice_source import SliceSource
from ipmedgan_jax.evaluation import comparable_runs
from ipmedgan_jax.evaluation.evaluated_runs import Run
from ipmedgan_jax.evaluation.fold_pools import folds_text
from ipmedgan_jax.evaluation.seed_groups import SeedGroup, group_seeds

INTACT, DAMAGED = "intact", "damaged"
"""Names of the slices without a hole, and of those with black in it."""

BLACK = -1.0
"""Value of a damaged hole: air, the lower end of the intensity window."""


@dataclass(frozen=True, eq=False)
class EvaluatedSlices:
    """Runs that were scored on the same holes, the data of these, and the record of each scored slice."""

    runs: tuple[Run, ...]
    dataset: Dataset
    records: tuple[SliceRecord, ...]

    @cached_property
    def groups(self) -> tuple[SeedGroup, ...]:
        """The runs, those of one system that are seeds of each other together."""
        return tuple(group_seeds(self.runs))

    @property
    def split(self) -> str:
        """The subjects that were scored, validation or test."""
        return str(self.runs[0].report["data"]["split"])

    @property
    def subjects(self) -> list[str]:
        """The subject of each slice."""
        return [record.subject for record in self.records]

    @cached_property
    def intact(self) -> np.ndarray:
        """The slices as they are."""
        return np.stack([record.image() for record in self.records])

    @cached_property
    def holes(self) -> np.ndarray:
        """Bool `[n, H, W]`, true in the hole."""
        shape = self.intact.shape[1:]
        return np.stack([box_mask(np.array(score.hole), shape) for score in self.runs[0].scores])

    @property
    def damaged(self) -> np.ndarray:
        """The slices with black in the hole."""
        return np.where(self.holes, np.float32(BLACK), self.intact)

    def rows(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields the intact slices, the damaged ones, and those of each run, with their names."""
        yield INTACT, self.intact
        yield DAMAGED, self.damaged
        for run in self.runs:
            yield run.label, self.filled(run)

    def filled(self, run: Run) -> np.ndarray:
        """The slices with the run's fill in the hole."""
        images = self.intact.copy()
        images[self.holes] = run.fills.fill.ravel()
        return images


def read(folders: Sequence[str]) -> EvaluatedSlices:
    """Reads evaluated runs and the slices that they were scored on. UserError if they cannot be compared, or are folds."""
    runs, left_out = comparable_runs.read_all([user_path(folder) for folder in folders])
    if left_out:
        raise UserError("; ".join(left_out))
    if runs[0].folds:
        raise UserError(f"{runs[0].folder}: scored on {folds_text(runs[0])}; expected runs on one split (data.fold)")
    return slices_of(runs)


def slices_of(runs: Sequence[Run]) -> EvaluatedSlices:
    """Returns the slices that these runs were scored on, all on the same holes of one split.

    UserError if the data are gone or have changed, or for runs on windows.
    """
    first, data = runs[0], runs[0].report["data"]
    if first.window:
        raise UserError(f"{first.folder}: scored on windows; expected a run on complete slices (data.window = 0)")
    dataset = load_dataset(user_path(data["directory"]))
    if dataset.fingerprint != data["fingerprint"]:
        raise UserError(f"{data['directory']}: the data have changed since {first.folder} was scored on them")
    source = SliceSource(dataset.directory, data["split"])
    found = {(record.subject, record.volume, record.index): record for record in (source[i] for i in range(len(source)))}
    records = tuple(found[score.subject, score.volume, score.index] for score in first.scores)
    return EvaluatedSlices(tuple(runs), dataset, records)
