"""What a run says while it trains: TensorBoard scalars and images, a progress line or plain log lines."""

import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from absl import logging
from tensorboardX import SummaryWriter

from ipmedgan_jax.core.errors import UserError


class Summaries:
    """TensorBoard files of a run, in `tensorboard/`; none where there is no directory. A context manager."""

    def __init__(self, directory: Path | None):
        try:
            self._writer = SummaryWriter(str(directory or ""), write_to_disk=directory is not None)
        except OSError as error:
            raise UserError(f"{directory}: cannot be written ({error.strerror or error})") from error

    def __enter__(self) -> "Summaries":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def scalars(self, step: int, values: Mapping[str, float], prefix: str = "") -> None:
        for name, value in values.items():
            self._writer.add_scalar(prefix + name, value, step)
        self._writer.flush()

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """`image`: uint8 `[H, W, 3]` or `[H, W]`."""
        self._writer.add_image(name, image, step, dataformats="HWC" if image.ndim == 3 else "HW")
        self._writer.flush()


class Progress:
    """One line about where the run is: rewritten in place on a terminal, a new line each time in a log.

    A context manager: whatever ends the run, the line in place is ended first.
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
        """Starts the clock: the first step begins now."""
        self._first_time = self._last_time = time.monotonic()

    def pause(self) -> None:
        """Ends a line in place, so that other output starts on its own."""
        if self._width:
            self._stream.write("\n")
            self._width = 0

    def exclude(self, seconds: float) -> None:
        """Leaves time that was not spent on steps (validation, saving) out of the rate, not out of the time left."""
        self._last_time += seconds

    def report(self, step: int, values: Mapping[str, float]) -> float:
        """Shows the step, its values and the time left; returns steps per second since the last report."""
        now = time.monotonic()
        seconds = (now - self._last_time) / max(step - self._last_step, 1)
        self._last_step, self._last_time = step, now
        whole = (now - self._first_time) / max(step - self._first_step, 1)
        left = duration(whole * (self._steps - step))
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self._show(f"step {step}/{self._steps}  {left} left  {seconds:.3g} s/step  {shown}")
        return 1 / seconds

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
    """`1 d 02:03:04`, or `02:03:04`."""
    whole = round(seconds)
    days, clock = divmod(whole, 86400)
    text = f"{clock // 3600:02d}:{clock // 60 % 60:02d}:{clock % 60:02d}"
    return f"{days} d {text}" if days else text
