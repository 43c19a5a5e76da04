"""The slices that evaluated runs were scored on, from the prepared data: intact, damaged, and filled by each run.

Images are `[n, H, W]`, float32 in [-1, 1], in the order of the runs' scores.
"""

import itertools
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
    """Runs that were scored on the same holes, the data of these, and the record of each scored slice.

    Attributes:
      runs: the runs; the folds of a cross-validation are one.
      dataset: the prepared data, of the first fold if there are folds.
      records: the slices.
      pixel_mm: height and width of each slice's pixels in mm, `[n, 2]`.
    """

    runs: tuple[Run, ...]
    dataset: Dataset
    records: tuple[SliceRecord, ...]
    pixel_mm: np.ndarray

    @cached_property
    def groups(self) -> tuple[SeedGroup, ...]:
        """The runs, those of one system that are seeds of each other together."""
        return tuple(group_seeds(self.runs))

    @property
    def split(self) -> str:
        """The subjects that were scored: `validation` or `test`."""
        return str(self.runs[0].report["data"]["split"])

    @property
    def folds(self) -> str:
        """The folds that were scored, such as `folds 1 and 2 of 5`; empty without a cross-validation."""
        return folds_text(self.runs[0]) if self.runs[0].folds else ""

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
    """Reads evaluated runs and the slices that they were scored on. UserError if they cannot be compared."""
    runs, left_out = comparable_runs.read_all([user_path(folder) for folder in folders])
    if left_out:
        raise UserError("; ".join(left_out))
    return slices_of(runs)


def slices_of(runs: Sequence[Run]) -> EvaluatedSlices:
    """Returns the slices that these runs were scored on, all on the same holes of one split or of the same folds.

    UserError if the data are gone or have changed, or for runs on windows.
    """
    first = runs[0]
    if first.window:
        raise UserError(f"{first.folder}: scored on windows; expected a run on complete slices (data.window = 0)")
    parts = first.parts or (first,)
    datasets = [_dataset_of(part) for part in parts]
    records = list(map(_records, datasets, parts))
    pixel_mm = np.concatenate(list(map(pixel_sizes, datasets, records)))
    return EvaluatedSlices(tuple(runs), datasets[0], tuple(itertools.chain(*records)), pixel_mm)


def pixel_sizes(dataset: Dataset, records: Sequence[SliceRecord]) -> np.ndarray:
    """Returns the heights and widths of the slices' pixels in mm, `[n, 2]`."""
    spacings = [dataset.volumes[record.volume].spacing_mm for record in records]
    return np.array([(between_rows, between_columns) for between_columns, between_rows, _ in spacings])


def _dataset_of(run: Run) -> Dataset:
    data = run.report["data"]
    if not isinstance(data.get("directory"), str):
        raise UserError(f"{run.folder}: its metrics.json names no folder of data; evaluate the run again")
    dataset = load_dataset(user_path(data["directory"]))
    if dataset.fingerprint != data["fingerprint"]:
        raise UserError(f"{data['directory']}: the data have changed since {run.folder} was scored on them")
    return dataset


def _records(dataset: Dataset, run: Run) -> list[SliceRecord]:
    """Returns the record of each slice that the run was scored on."""
    source = SliceSource(dataset.directory, run.report["data"]["split"])
    found = {(record.subject, record.volume, record.index): record for record in (source[i] for i in range(len(source)))}
    return [found[score.subject, score.volume, score.index] for score in run.scores]
