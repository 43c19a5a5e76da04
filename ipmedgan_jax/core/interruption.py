"""Ctrl-C and SIGTERM outside of training: the command ends at once, with one line and the exit code that shells expect."""

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

_SOON = 0.05
"""Seconds after which a lost signal is sent again; what lost it, such as a collection of garbage, has ended by then."""


class Terminated(KeyboardInterrupt):
    """Raised in the main thread by SIGTERM, as KeyboardInterrupt is by Ctrl-C; what cleans up after that does so here too."""


def raise_on_sigterm() -> None:
    """Makes SIGTERM raise `Terminated`, unless the signal is ignored or handled already, or this is not the main thread.

    Processes that are forked later end by the signal as before. The exception comes when Python next runs a line: a program
    that is being compiled is finished first. Where Python drops an exception, the signal is sent again.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    _repeat_lost_signals()
    if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return
    owner = os.getpid()

    def handle(number: int, frame: Any) -> None:
        if os.getpid() == owner:
            raise Terminated
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, handle)


def _repeat_lost_signals() -> None:
    """Lets this process send itself a Ctrl-C or SIGTERM again whose exception was dropped.

    Python drops what is raised in `__del__` and in callbacks of the garbage collector and of C code, and tells
    `sys.unraisablehook`. JAX has such a callback. A command that waits or works on would never end by that signal.
    """
    owner, previous = os.getpid(), sys.unraisablehook

    def hook(dropped: "sys.UnraisableHookArgs") -> None:
        if not isinstance(dropped.exc_value, KeyboardInterrupt) or os.getpid() != owner:
            previous(dropped)
            return
        number = signal.SIGTERM if isinstance(dropped.exc_value, Terminated) else signal.SIGINT
        # Not threading.Thread: it takes a lock, which the code that was interrupted may hold.
        with contextlib.suppress(RuntimeError):  # Python is about to end
            _thread.start_new_thread(send, (number,))

    def send(number: int) -> None:
        time.sleep(_SOON)  # in the hook itself the exception would be dropped too
        os.kill(owner, number)

    sys.unraisablehook = hook


@contextlib.contextmanager
def if_interrupted(note: str) -> Iterator[None]:
    """Lets the line of a command that is interrupted meanwhile end in `note`: what is saved, and what to do."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        if not getattr(interruption, "__notes__", ()):
            interruption.add_note(note)
        raise


def describe(interruption: KeyboardInterrupt) -> tuple[int, str]:
    """Returns the exit code, 128 + the signal's number, and the line to print."""
    number = signal.SIGTERM if isinstance(interruption, Terminated) else signal.SIGINT
    (note, *_) = getattr(interruption, "__notes__", ("files that were written are complete; run the same command again",))
    return 128 + number, f"{'terminated' if number == signal.SIGTERM else 'interrupted'}: {note}"
