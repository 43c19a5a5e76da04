"""The validation scores of a run's checkpoints: reading them, damaged or not, and which one is the best."""

import math
from collections.abc import Callable, Iterable, Mapping

from absl import logging

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.experiment import checkpoint_digests
from ipmedgan_jax.experiment.checkpoint_folder import DamagedCheckpoint, StepFolder

HIGHER_IS_BETTER = frozenset({"ssim", "psnr", "uqi", "uqi_sewar", "dice", "sensitivity", "precision"})
"""Validation scores of which the highest is the best; the others are errors."""


class Scores:
    """The scores of all checkpoints of a run, of which `best` chooses; `folder` returns the folder of a step."""

    def __init__(self, best: str, folder: Callable[[int], StepFolder]):
        self._best, self._folder = best, folder
        self._found: dict[int, Mapping[str, float] | DamagedCheckpoint | None] = {}

    def of(self, step: int) -> Mapping[str, float] | None:
        """Returns the scores saved with a step, or None if there are none, or if they are lost."""
        found = self._read(step)
        return found if isinstance(found, Mapping) and self._best in found else None

    def add(self, step: int, scores: Mapping[str, float] | None) -> None:
        """Adds the scores of a step that is about to be saved."""
        self._found[step] = scores

    def is_lost(self, step: int) -> bool:
        """Whether the scores of a step were saved and cannot be read."""
        return isinstance(self._read(step), DamagedCheckpoint)

    def best_step(self, steps: Iterable[int]) -> int | None:
        """Returns the step with the best score, the last of equal ones, or None if no step has a finite one.

        Raises UserError if the scores of a step are lost: that step may be the best.
        """
        steps = list(steps)
        for found in map(self._read, steps):
            if isinstance(found, DamagedCheckpoint):
                others = f"--checkpoint=latest or a step of {', '.join(map(str, steps))}"
                raise UserError(f"{found}: it may be the best checkpoint; choose one with {others}")
        scored = {step: scores for step in steps if (scores := self.of(step))}
        finite = {step: scores for step, scores in scored.items() if math.isfinite(scores[self._best])}
        # Orbax keeps the last of equal ones.
        return max(reversed(finite), key=lambda step: self.selection_score(finite[step]), default=None)

    def selection_score(self, scores: Mapping[str, float]) -> float:
        """Returns the score `best`, negated if it is an error: the highest one selects the best step.

        A score that is not finite becomes the lowest of all: every comparison with NaN is false, so NaN would win or lose by
        its place in the list.
        """
        score = scores[self._best]
        if not math.isfinite(score):
            return -math.inf
        return score if self._best in HIGHER_IS_BETTER else -score

    def _read(self, step: int) -> Mapping[str, float] | DamagedCheckpoint | None:
        """Returns the scores of a step, None without any, or the error if they are lost; reads the files once."""
        if step not in self._found:
            self._found[step] = _read(self._folder(step))
        return self._found[step]


def _read(folder: StepFolder) -> Mapping[str, float] | DamagedCheckpoint | None:
    """Returns the scores of a checkpoint, None without any, or the error if they are lost.

    The digests hold a copy of the scores. It is used if their own file is damaged, and the file if the digests are.
    """
    try:
        record = folder.record()
    except DamagedCheckpoint:
        record = None
    try:
        found = folder.scores()
    except DamagedCheckpoint as error:
        if record is None:
            return error
        damage = error
    else:
        if record is None or record.scores == found:
            return found
        damage = folder.scores_damage()
    logging.warning("%s; the copy in its %s is used", damage, checkpoint_digests.ITEM)
    return record.scores
