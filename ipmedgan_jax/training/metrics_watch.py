"""Metrics of training between two reports: their means, numbers that are not finite, discriminators that are saturated."""

import jax
import numpy as np
from absl import logging

from ipmedgan_jax.systems.interface import Metrics
from ipmedgan_jax.systems.soundness import SKIPPED
from ipmedgan_jax.training.nonfinite import NonFiniteSteps

LOSS, LOGITS = "loss/discriminator/", ("logit/real/", "logit/fake/")
"""Beginnings of a discriminator's metrics; its name follows."""

SATURATED_LOSS, SATURATED_LOGIT = 1e-4, 30.0
"""A discriminator is saturated at a step if its loss is below, or the mean of its logits on real or fake images beyond: the
sigmoid of 30 differs from 1 by 1e-13, less than float32 resolves."""

SATURATED_STEPS = 1000
"""Steps in a row after which a saturated discriminator is worth a warning."""


class MetricsWatch:
    """Averages the metrics since the last report, and stops the run at a number that is not finite.

    Metrics are fetched one dispatch late, so that the host never waits for the device. All methods raise UserError for the
    first number that is not finite, unless its step was skipped (`train.on_nonfinite`).
    """

    def __init__(self, nonfinite: NonFiniteSteps) -> None:
        self._nonfinite = nonfinite
        self._saturation = Saturation()
        self._pending: tuple[int, Metrics] = (0, {})
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, step: int, metrics: Metrics) -> None:
        """Adds the metrics `[n]` of the n steps up to `step`; they stay pending until the next call."""
        self.check()
        self._pending = (step, metrics)

    def check(self) -> None:
        """Fetches and checks the pending metrics."""
        last, metrics = self._pending
        self._pending = (last, {})
        if not metrics:
            return
        values: dict[str, np.ndarray] = jax.device_get(metrics)
        count = len(next(iter(values.values())))
        skipped = values.pop(SKIPPED, np.zeros(count)) > 0
        names = sorted(values, key=lambda name: (not name.startswith("loss/"), name))  # the term says more than its gradient
        for i, step in enumerate(range(last - count + 1, last + 1)):
            problem = next((f"{name} is {values[name][i]}" for name in names if not np.isfinite(values[name][i])), "")
            if skipped[i]:
                self._nonfinite.skip(step, problem or "a number of the new state is not finite or too large")
            elif problem:
                raise self._nonfinite.error(step, problem)
            else:
                self._saturation.add(step, {name: float(metric[i]) for name, metric in values.items()})
        for name, metric in values.items():
            total, steps_so_far = self._sums.get(name, (0.0, 0))
            taken = metric[~skipped]
            self._sums[name] = (total + float(taken.sum(dtype=np.float64)), steps_so_far + len(taken))

    def means(self) -> dict[str, float]:
        """Returns the means since the last call; each metric is averaged over the steps that had it.

        With skipped steps, their number since the start is among them.
        """
        self.check()
        means = {name: total / count for name, (total, count) in self._sums.items() if count}
        self._sums = {}
        return means | ({"skipped_steps": float(self._nonfinite.skipped)} if self._nonfinite.skipped else {})


class Saturation:
    """Warns once of each discriminator that is saturated for `SATURATED_STEPS` steps in a row."""

    def __init__(self) -> None:
        self._in_a_row: dict[str, int] = {}
        self._warned: set[str] = set()

    def add(self, step: int, values: dict[str, float]) -> None:
        """Takes the metrics of one step."""
        for name in [key.removeprefix(LOSS) for key in values if key.startswith(LOSS)]:
            logits = [values.get(logit + name, 0.0) for logit in LOGITS]
            saturated = values[LOSS + name] < SATURATED_LOSS or max(map(abs, logits)) > SATURATED_LOGIT
            self._in_a_row[name] = count = self._in_a_row.get(name, 0) + 1 if saturated else 0
            if count == SATURATED_STEPS and name not in self._warned and jax.process_index() == 0:
                self._warned.add(name)
                logging.warning(
                    "step %d: the discriminator %s has been saturated for %d steps (loss %.2g, logits %.2g and %.2g): it "
                    "tells fakes without error, so the generator learns little from it",
                    *(step, name, count, values[LOSS + name], *logits),
                )
