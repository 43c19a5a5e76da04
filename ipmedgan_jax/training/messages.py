"""Warnings of a run, kept beside its curves so that its report can show them."""

import logging as standard_logging
import threading
from pathlib import Path

from absl import logging

import ipmedgan_jax
from ipmedgan_jax.training.run_facts import shareable
from ipmedgan_jax.training.summaries import Summaries

TAG = "messages"
"""Name of the text in TensorBoard that has the warnings of a step, one a line."""

PACKAGE = Path(ipmedgan_jax.__file__).parent
"""Only warnings from here are kept: libraries that log through the same logger warn of what no user can mend."""

MOST_AT_ONCE = 20
"""Warnings that are written for one step; further ones are counted."""


class Messages(standard_logging.Handler):
    """Collects warnings while it is open, and writes them to TensorBoard's files when asked. A context manager."""

    def __init__(self, workdir: Path, summaries: Summaries) -> None:
        super().__init__(standard_logging.WARNING)
        self._workdir, self._summaries = workdir, summaries
        self._waiting: list[str] = []
        self._guard = threading.Lock()

    def __enter__(self) -> "Messages":
        logging.get_absl_logger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.get_absl_logger().removeHandler(self)

    def emit(self, record: standard_logging.LogRecord) -> None:
        if PACKAGE not in Path(record.pathname).parents:
            return
        text = shareable(record.getMessage(), self._workdir)
        with self._guard:
            self._waiting.append(" ".join(text.split()))

    def write(self, step: int) -> None:
        """Writes what was warned of since the last call, as of this step."""
        with self._guard:
            waiting, self._waiting = self._waiting, []
        if waiting:
            more = [f"and {len(waiting) - MOST_AT_ONCE} more warnings"] if len(waiting) > MOST_AT_ONCE else []
            self._summaries.text(step, TAG, "\n".join([*waiting[:MOST_AT_ONCE], *more]))
