"""The exception for errors that a user can mend; commands print it as one line and exit with its code."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BAD_INPUT = 2
"""Exit code for input, settings or files that must be changed before another try."""

NOT_FINITE = 3
"""Exit code for a training run that stopped at a non-finite number."""

TRY_AGAIN = 75
"""Exit code for an error that may pass, for example a machine that is not up yet or a process that was lost."""


class UserError(Exception):
    """An error that the user can mend; its message is one line: what was expected, what came, and the name to change."""

    def __init__(self, message: str, exit_code: int = BAD_INPUT):
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code


class FillWarning(UserWarning):
    """What to read before a fill is trusted; `fill` and its like in Python give it by `warnings.warn`."""


def reason(error: BaseException) -> str:
    """Returns why something failed, in one line of plain words, for the brackets of a message."""
    if isinstance(error, json.JSONDecodeError):
        return "incomplete or not JSON"
    if isinstance(error, UnicodeDecodeError):
        return "not text"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


@contextmanager
def parser_errors(path: Path | str, problem: str, advice: str) -> Iterator[None]:
    """Turns every error of a library that parses a file into `PATH: PROBLEM (REASON); ADVICE`.

    A damaged file makes such libraries raise almost any exception. Only their calls belong into this block, because it would
    hide a mistake in code of our own.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: {problem} ({reason(error)}); {advice}") from error
