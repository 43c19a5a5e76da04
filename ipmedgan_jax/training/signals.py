"""Ctrl-C and SIGTERM during training: the run ends after a step, on a checkpoint."""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Yields a list to which Ctrl-C and SIGTERM add their numbers, so that the loop can end after a step.

    A second Ctrl-C raises KeyboardInterrupt at once.
    """
    caught: list[int] = []

    def handle(number: int, frame: Any) -> None:
        if caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        caught.append(number)
        # Not logged: the handler may interrupt any line of the program, one that is writing to the log too.
        name = signal.Signals(number).name
        os.write(2, f"\n{name}: saving a checkpoint after this step (at start-up: after compiling and one step)\n".encode())

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
