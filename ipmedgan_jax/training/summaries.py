"""Reports of a run while it trains: TensorBoard scalars and images, and a progress line on the terminal or in the log."""

import contextlib
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from absl import logging
from tensorboardX import summary
from tensorboardX.proto.summary_pb2 import Summary

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.training.event_file import EventFile
from ipmedgan_jax.training.wandb_run import WandbRun


class Summaries:
    """A run's TensorBoard files in `directory`; without a directory nothing is written. A context manager.

    Scalars and images go to `twin` too, the run at Weights & Biases if there is one.

    TensorBoard hides what an earlier process wrote there for the step `first` and later ones: a run that was killed repeats
    its steps since the last checkpoint. Raises UserError if the directory cannot be written. Later, a disk that is full costs
    one warning, and what is written until there is room again.
    """

    def __init__(self, directory: Path | None, *, first: int = 1, twin: WandbRun | None = None):
        self._directory, self._file, self._twin = directory, None, twin
        self._was_warned = False
        if directory is not None:
            try:
                self._file = EventFile(directory, first)
            except OSError as error:
                raise UserError(f"{directory}: cannot be written ({error.strerror or error})") from error

    def __enter__(self) -> "Summaries":
        return self

    def __exit__(self, *_: object) -> None:
        if self._twin is not None:
            self._twin.close()
        if self._file is not None:
            with contextlib.suppress(OSError):  # of a file server, late: the run is not to end by it
                self._file.close()

    def scalars(self, step: int, values: Mapping[str, float], prefix: str = "") -> None:
        """Writes each value under its name behind `prefix`."""
        named = {prefix + name: value for name, value in values.items()}
        self._write(step, *(summary.scalar(name, value) for name, value in named.items()))
        if self._twin is not None:
            self._twin.scalars(step, named)

    def text(self, step: int, name: str, text: str) -> None:
        """Writes a text."""
        self._write(step, summary.text(name, text))

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes `image`, uint8 `[H, W, 3]` or `[H, W]`."""
        self._write(step, summary.image(name, image, dataformats="HWC" if image.ndim == 3 else "HW"))
        if self._twin is not None:
            self._twin.image(step, name, image)

    def _write(self, step: int, *content: Summary) -> None:
        if self._file is None:
            return
        try:
            self._file.write(step, *content)
        except OSError as error:
            if not self._was_warned:
                problem = f"cannot be written ({error.strerror or error})"
                logging.warning("%s: %s; TensorBoard goes on when it can be, the run goes on now", self._directory, problem)
            self._was_warned = True


class Progress:
    """The progress line of a run: rewritten in place on a terminal, a new line each time in a log.

    A context manager, so that the line in place is ended before anything else is printed, whatever ends the run.
    """

    def __init__(self, first: int, steps: int, *, stream=sys.stderr, shown: bool = True):
        self._steps, self._stream, self._shown = steps, stream, shown
        self._first_step = self._last_step = first
        self._first_time = self._last_time = time.monotonic()
        self._width = 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()

    def start(self) -> None:
        """Starts the clock of the first step."""
        self._first_time = self._last_time = time.monotonic()

    def pause(self) -> None:
        """Ends the line in place, so that other output starts on a line of its own."""
        if self._width:
            self._stream.write("\n")
            self._width = 0

    def exclude(self, seconds: float) -> None:
        """Leaves time that no step took (validation, saving) out of the rate; the time left still includes it."""
        self._last_time += seconds

    def report(self, step: int, values: Mapping[str, float]) -> float:
        """Shows the step, its values and the time left; returns steps per second since the last report."""
        now = time.monotonic()
        step_seconds = (now - self._last_time) / max(step - self._last_step, 1)
        self._last_step, self._last_time = step, now
        left = duration(self.mean_step_seconds(step) * (self._steps - step))
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self._show(f"step {step}/{self._steps}  {left} left  {step_seconds:.3g} s/step  {shown}")
        return 1 / step_seconds

    def mean_step_seconds(self, step: int) -> float:
        """Returns the mean time of the steps up to this one, validation and saving included."""
        return (time.monotonic() - self._first_time) / max(step - self._first_step, 1)

    def _show(self, line: str) -> None:
        if not self._shown:
            return
        if not self._stream.isatty():
            logging.info("%s", line)
            return
        line = line[: shutil.get_terminal_size().columns - 1]  # a line that wraps cannot be rewritten
        self._stream.write("\r" + line.ljust(self._width))
        self._stream.flush()
        self._width = len(line)


def duration(seconds: float) -> str:
    """Formats seconds as `02:03:04`, or from a day on as `1 d 02:03:04`."""
    days, clock = divmod(round(seconds), 86400)
    text = f"{clock // 3600:02d}:{clock // 60 % 60:02d}:{clock % 60:02d}"
    return f"{days} d {text}" if days else text
