"""Ctrl-C and SIGTERM outside of training: the command ends at once, with one line and the exit code that shells expect."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Terminated(KeyboardInterrupt):
    """Raised in the main thread by SIGTERM, as KeyboardInterrupt is by Ctrl-C; what cleans up after that does so here too."""


def raise_on_sigterm() -> None:
    """Makes SIGTERM raise `Terminated`, unless the signal is ignored or handled already, or this is not the main thread.

    Processes that are forked later end by the signal as before. The exception comes when Python next runs a line: a program
    that is being compiled is finished first.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return
    owner = os.getpid()

    def handle(number: int, frame: Any) -> None:
        if os.getpid() == owner:
            raise Terminated
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, handle)


@contextlib.contextmanager
def if_interrupted(note: str) -> Iterator[None]:
    """Lets the line of a command that is interrupted meanwhile end in `note`: what is saved, and what to do."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        if not getattr(interruption, "__notes__", ()):
            interruption.add_note(note)
        raise


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], None]]:
    """Lets Ctrl-C and SIGTERM raise nothing in the block; yields a function that raises for one that came.

    What a handler raises is lost if the signal comes while Python runs a callback of the garbage collector. A command that
    waits until it is stopped would then wait for ever.
    """
    caught: list[int] = []

    def raise_if_caught() -> None:
        if caught:
            raise Terminated if caught[0] == signal.SIGTERM else KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, lambda number, frame: caught.append(number)) for number in numbers}
    try:
        yield raise_if_caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def describe(interruption: KeyboardInterrupt) -> tuple[int, str]:
    """Returns the exit code, 128 + the signal's number, and the line to print."""
    number = signal.SIGTERM if isinstance(interruption, Terminated) else signal.SIGINT
    (note, *_) = getattr(interruption, "__notes__", ("files that were written are complete; run the same command again",))
    return 128 + number, f"{'terminated' if number == signal.SIGTERM else 'interrupted'}: {note}"
