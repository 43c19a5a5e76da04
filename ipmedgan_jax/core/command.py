"""Start and end of every command: parsing of absl flags, one-line errors, exit codes."""

import contextlib
import io
import logging as python_logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from absl import flags, logging

import ipmedgan_jax
from ipmedgan_jax.core import interruption
from ipmedgan_jax.core.errors import TRY_AGAIN, UserError
from ipmedgan_jax.core.flag_help import help_text
from ipmedgan_jax.core.lines import one_line
from ipmedgan_jax.core.program import as_typed
from ipmedgan_jax.core.spelling import suggestion


class Stopped(Exception):
    """Raised when a command ends early on request, with its work saved."""

    def __init__(self, exit_code: int):
        super().__init__(exit_code)
        self.exit_code = exit_code


class ShowFlag(flags.BooleanFlag):
    """A flag like --help: if it is given, its text is printed and the command does not run."""

    def __init__(self, name: str, text: Callable[[], str], help: str):
        super().__init__(name, False, help)
        self.text = text


def run_command(
    main: Callable[..., None],
    define_flags: Callable[[], None],
    required: Sequence[str] = (),
    *,
    arguments: str = "",
    may_lack_arguments: bool = False,
    leaves_threads: bool = False,
) -> NoReturn:
    """Defines and parses the flags, calls `main` and exits with 0, a UserError's code, or 128 + signal if interrupted.

    Ctrl-C and SIGTERM end the command with one line, also while modules are imported or programs compiled; training handles
    them itself. Flags are defined here, not when a module is imported, so that one command can use another's functions.

    Args:
      main: the command; its module's docstring is the text of --help.
      define_flags: defines the command's flags.
      required: names of flags that must be given; a missing one is a UserError.
      arguments: for a command with positional arguments, their name in messages, with its verb. `main` gets them as a list
        that is not empty. Without it, a positional argument is a UserError.
      may_lack_arguments: whether that list may be empty.
      leaves_threads: whether a signal leaves threads that compute, for which Python's own end may wait without an end.
    """
    run_to_exit(lambda: _run(main, define_flags, required, arguments, may_lack_arguments), leaves_threads=leaves_threads)


def run_to_exit(body: Callable[[], object], *, leaves_threads: bool = False) -> NoReturn:
    """Calls the body of a command and exits, as `run_command` does; for a command that parses its own arguments."""
    _print_any_name()
    _log_plainly()
    try:
        interruption.raise_on_sigterm()
        body()
    except UserError as error:
        _fail(error)
    except Stopped as stopped:
        sys.exit(stopped.exit_code)
    except KeyboardInterrupt as stopped:
        exit_code, line = interruption.describe(stopped)
        print(as_typed(line), file=sys.stderr, flush=True)
        if leaves_threads:
            os._exit(exit_code)
        sys.exit(exit_code)
    sys.exit(0)


def _run(
    main: Callable[..., None], define_flags: Callable[[], None], required: Sequence[str], arguments: str, may_lack: bool
) -> None:
    """Does what `run_command` does up to the end of `main`."""
    known = set(flags.FLAGS)
    define_flags()
    defined = [flags.FLAGS[name] for name in flags.FLAGS if name not in known]
    if {"--help", "-help", "-h"} & set(sys.argv[1:]):
        description = as_typed(main.__globals__["__doc__"] or "")
        _print(help_text(description, defined, required))
        return
    rest = _parse(sys.argv, [flag.name for flag in defined])
    if shown := [flag.text() for flag in defined if isinstance(flag, ShowFlag) and flag.value]:
        _print("\n".join(shown))
        return
    _check_given(rest, required, arguments, may_lack)
    main(*([rest] if arguments else []))


def _print_any_name() -> None:
    """Lets both streams print file names that their encoding lacks, a byte that is not UTF-8 as `\\udce9`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print(text: str) -> None:
    """Prints text, and ends quietly if the reader closes the pipe early, as `head` does."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    print(text)


def _parse(given: list[str], defined: Sequence[str]) -> list[str]:
    """Parses the flags and returns the positional arguments; UserError for an unknown flag or a bad value."""
    try:
        _, *rest = flags.FLAGS(given)
        return rest
    except flags.UnrecognizedFlagError as error:
        if error.flagname.startswith("config.") and "config" in defined:
            raise UserError(f"--{error.flagname} needs --config before it") from error
        found = suggestion(error.flagname, defined, "--")
        raise UserError(f"--{error.flagname}: no such flag{found or ', see --help'}") from error
    except UserError:
        raise
    except flags.IllegalFlagValueError as error:
        raise UserError(f"{_bad_value(str(error))}, see --help") from error
    except Exception as error:  # flag parsers raise several types for a bad value
        raise UserError(f"{error}, see --help") from error


_EXPECTED_VALUES = {
    "invalid literal for int": "expected a whole number",
    "could not convert string to float": "expected a number",
    "Non-boolean argument": "expected true or false",
    "as a ConfigDict": "a group of settings; give one of them, as --print_config prints them",
}
"""What to say in place of Python's words for a value of another type."""


def _bad_value(message: str) -> str:
    """Returns absl's message about a flag's value in plain words."""
    given, _, words = message.removeprefix("flag ").partition(": ")
    return next((f"{given}: {plain}" for python, plain in _EXPECTED_VALUES.items() if python in words), message)


def _check_given(rest: list[str], required: Sequence[str], arguments: str, may_lack: bool) -> None:
    """UserError for an unexpected or missing argument, or a missing required flag."""
    if rest and not arguments:
        raise UserError(f"unexpected argument {rest[0]!r}: every option is a --flag, see --help")
    if arguments and not rest and not may_lack:
        raise UserError(f"{arguments} missing, see --help")
    missing = [f"--{name}" for name in required if flags.FLAGS[name].value is None]
    if missing:
        raise UserError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing, see --help")


FAILED_FILE = "IPMEDGAN_FAILED_FILE"
"""Environment variable that names a file for the error of a process, unless a retry may help.

A launcher reads that file, because srun's exit code may be another process's.
"""


def _fail(error: UserError) -> NoReturn:
    print(f"error: {as_typed(str(error))}", file=sys.stderr)
    if error.exit_code != TRY_AGAIN and FAILED_FILE in os.environ:
        with contextlib.suppress(OSError):
            Path(os.environ[FAILED_FILE]).write_text(f"{error}\n", errors="backslashreplace")
    sys.exit(error.exit_code)


class _Plain(python_logging.Formatter):
    """Formats records as `12:34:56 message`, with the level before warnings and errors."""

    def format(self, record: python_logging.LogRecord) -> str:
        level = "" if record.levelno <= python_logging.INFO else f"{record.levelname.lower()}: "
        message = record.getMessage()
        if record.pathname.startswith(_OURS):
            message = one_line(message)
        return f"{self.formatTime(record, '%H:%M:%S')} {level}{message}"


def _log_plainly() -> None:
    """Sends absl's log to standard error in the plain format; of libraries, only warnings and errors."""
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    logging.set_stderrthreshold(logging.INFO)
    handler = logging.get_absl_handler()
    handler.setFormatter(_Plain())
    for root_handler in python_logging.getLogger().handlers:
        root_handler.addFilter(_is_ours_or_a_warning)


_OURS = str(Path(ipmedgan_jax.__file__).parent) + os.sep

_EXPECTED = "Requested `tracked_metric`; did not provide metrics."
"""Orbax's warning at every checkpoint between two validations, which have no metrics by design."""


def _is_ours_or_a_warning(record: python_logging.LogRecord) -> bool:
    """Whether a record comes from this package, or is a library's warning; libraries log details through absl and logging."""
    if record.pathname.startswith(_OURS):
        return True
    return record.levelno >= python_logging.WARNING and record.msg != _EXPECTED
