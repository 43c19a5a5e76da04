"""Metrics of training between two reports: their means, and a stop at the first number that is not finite."""

import jax
import numpy as np

from ipmedgan_jax.core.errors import NOT_FINITE, UserError
from ipmedgan_jax.systems.interface import Metrics


class MetricsWatch:
    """Averages the metrics since the last report, and stops the run at a number that is not finite.

    Metrics are fetched one dispatch late, so that the host never waits for the device. All methods raise UserError for the
    first number that is not finite; the message names its step and term.
    """

    def __init__(self) -> None:
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
        for i, step in enumerate(range(last - count + 1, last + 1)):
            for name, metric in values.items():
                if not np.isfinite(metric[i]):
                    advice = "start again in another --workdir, with a lower optimiser.learning_rate or in float32"
                    raise UserError(f"step {step}: {name} is {metric[i]}; no checkpoint holds it: {advice}", NOT_FINITE)
        for name, metric in values.items():
            total, steps_so_far = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + float(metric.sum(dtype=np.float64)), steps_so_far + count)

    def means(self) -> dict[str, float]:
        """Returns the means since the last call; each metric is averaged over the steps that had it."""
        self.check()
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return means
