"""Numbers that are not finite, or absurdly large: what a run says, writes and does about them.

No checkpoint holds one, because the updated state is looked at before it is saved. The slices of the step go to
`nonfinite/step_0000123.json` in the run's folder.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import logging

from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import NOT_FINITE, UserError
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.data import pipeline
from ipmedgan_jax.data.records import SliceRecord
from ipmedgan_jax.experiment.build import Experiment
from ipmedgan_jax.systems.soundness import bound, largest_values
from ipmedgan_jax.systems.state import TrainState
from ipmedgan_jax.training import step_files

FOLDER = "nonfinite"

MOST_SKIPPED = 20
"""Steps that are skipped in a row at most. After so many the state itself is at fault, and no later batch will mend it."""

KEPT_FILES = 100
"""Newest files that are kept in `FOLDER`, beside the first one."""


class NonFiniteSteps:
    """Reports a run's steps with a number that is not finite, and counts those that were skipped.

    Args:
      last_saved: returns the step of the last checkpoint, None if there is none.
    """

    def __init__(self, experiment: Experiment, workdir: Path, last_saved: Callable[[], int | None]) -> None:
        self._experiment, self._workdir, self._last_saved = experiment, workdir, last_saved
        self._largest_values = jax.jit(largest_values)
        self._in_a_row, self._last_skipped = 0, -1
        self.skipped = 0

    def error(self, step: int, problem: str) -> UserError:
        """Writes the file of the step; returns the error that ends the run."""
        return UserError(f"{self._described(step, problem)}; {self._advice()}", NOT_FINITE)

    def skip(self, step: int, problem: str) -> None:
        """Reports a step that was skipped. UserError if it is one too many in a row."""
        self.skipped += 1
        self._in_a_row = self._in_a_row + 1 if step == self._last_skipped + 1 else 1
        self._last_skipped = step
        described = self._described(step, problem)
        if self._in_a_row == MOST_SKIPPED:
            raise UserError(f"{described}; {MOST_SKIPPED} steps in a row were skipped: {self._advice()}", NOT_FINITE)
        if jax.process_index() == 0:
            logging.warning("%s; skipped, %s since the start", described, counted(self.skipped, "step"))

    def end(self, steps: int, *, finished: bool) -> None:
        """Says how many of this process's steps were skipped. UserError if all were, and the run would be finished."""
        if not self.skipped:
            return
        if finished and self.skipped == steps:
            raise UserError(
                f"all {counted(steps, 'step')} were skipped, so nothing was trained; {self._advice()}", NOT_FINITE
            )
        if jax.process_index() == 0:
            logging.warning("%d of %s were skipped", self.skipped, counted(steps, "step"))

    def _described(self, step: int, problem: str) -> str:
        return f"step {step}: {problem}, {self._write(step, problem)}"

    def _advice(self) -> str:
        """Says from which step the run can go on, and how; what is saved is finite, because it was looked at before."""
        saved = self._last_saved()
        if saved is None:
            return "nothing is saved: start again with a lower optimiser.learning_rate or in float32"
        lower = f"--config.train.start_from={self._workdir} takes its generator to another --workdir, with a lower rate"
        if self._experiment.config["train"]["on_nonfinite"] == "skip":
            return f"step {saved} is saved and finite; this run keeps its optimiser.learning_rate, but {lower}"
        skip = "the same command with --config.train.on_nonfinite=skip goes on from it"
        return f"step {saved} is saved and finite: {skip}; this run keeps its optimiser.learning_rate, but {lower}"

    def check_state(self, step: int, state: TrainState) -> None:
        """Raises UserError if the state after a step must not be saved; all processes see the same state."""
        if found := self._unsound(state):
            raise self.error(step, found)

    def check_first(self, step: int, state: TrainState) -> None:
        """Raises UserError if the state that the run starts from holds such a number: versions up to 0.1.0 saved some."""
        if found := self._unsound(state):
            folder = self._workdir / "checkpoints" / str(step)
            resumed = f"{folder}: {found}; move this folder away to resume from an earlier checkpoint"
            raise UserError(resumed if step else f"config.train.start_from: {found}; start from another run", NOT_FINITE)

    def _unsound(self, state: TrainState) -> str:
        """Says which part of the state has a number that is not finite or too large; empty if none has."""
        sizes = jax.device_get(self._largest_values(state))
        names = sorted(sizes, key=lambda name: name.startswith("average"))  # the average follows what is wrong
        return next((f"{name} has a number of {sizes[name]:.3g}" for name in names if not sizes[name] <= bound(name)), "")

    def _write(self, step: int, problem: str) -> str:
        """Writes the file of a step in the first process; returns where the slices are, for a message."""
        path = step_files.path_of(self._workdir / FOLDER, step, ".json")
        if jax.process_index() == 0:
            try:
                path.parent.mkdir(exist_ok=True)
                files.write_json(path, self._content(step, problem))
                step_files.remove_old(path.parent, ".json", newest=KEPT_FILES)
            except (OSError, UserError) as error:
                return f"its slices cannot be written ({error})"
        return f"its slices are in {path}"

    def _content(self, step: int, problem: str) -> dict[str, Any]:
        return {
            "step": step,
            "problem": problem,
            "last_saved_step": self._last_saved(),
            "optimiser": self._experiment.config["optimiser"],
            "slices": [
                {"subject": record.subject, "volume": record.volume, "slice": int(record.index)}
                for record in slices_of_step(self._experiment, step)
            ],
        }


def slices_of_step(experiment: Experiment, step: int) -> list[SliceRecord]:
    """Reads the slices of a step again, over all processes: which they are depends on the seed and the step alone."""
    settings = experiment.training
    slices = pipeline.slices_in_order(experiment.dataset.directory, settings.seed)
    return [slices[index] for index in range((step - 1) * settings.batch_size, step * settings.batch_size)]
