"""How every command starts and ends: absl flags in, exit code out, errors as one line."""

import contextlib
import logging as python_logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from absl import flags, logging

import ipmedgan_jax
from ipmedgan_jax.core.errors import TRY_AGAIN, UserError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class Stopped(Exception):
    """The command ended early, on request, with nothing lost."""

    def __init__(self, exit_code: int):
        super().__init__(exit_code)
        self.exit_code = exit_code


def run_command(
    main: Callable[..., None], define_flags: Callable[[], None], required: Sequence[str] = (), *, arguments: str = ""
) -> NoReturn:
    """Defines and parses the flags, calls `main` and exits: 0, a UserError's code, or 128 + signal when interrupted.

    A `required` flag that is not given is a UserError. A command that takes `arguments` beside flags (the word names them)
    gets them as a list, not empty; to others they are a UserError. Flags are defined here, not when a module is
    imported, so that one command can use another's functions.
    """
    _log_plainly()
    known = set(flags.FLAGS)
    define_flags()
    if {"--help", "-help", "-h"} & set(sys.argv[1:]):
        print(_help(set(flags.FLAGS) - known))
        sys.exit(0)
    try:
        rest = _parse(sys.argv, required, arguments)
        main(*([rest] if arguments else []))
    except UserError as error:
        _fail(error)
    except Stopped as stopped:
        sys.exit(stopped.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(0)


def _parse(given: list[str], required: Sequence[str], arguments: str) -> list[str]:
    """What is no flag. A bad flag, a misspelt config key or a config file that cannot be read is a UserError, one line."""
    if any(argument.lstrip("-").startswith("config.system") for argument in given[1:]):
        raise UserError("config.system is set by the file's suffix: --config=FILE:SYSTEM, see --help")
    try:
        _, *rest = flags.FLAGS(given)
        if "config" in flags.FLAGS:
            _ = getattr(flags.FLAGS.config, "system", None)  # a config that cannot be loaded says so only when it is used
    except UserError:
        raise
    except ModuleNotFoundError as error:
        raise UserError(f"{error}: run this from the repository's root, where configs/ is") from error
    except Exception as error:  # config files are Python: they can raise anything
        hint = "run this from the repository's root, where configs/ is, or see" if "No such file" in str(error) else "see"
        raise UserError(f"{_gist(error)}; {hint} --help") from error
    if rest and not arguments:
        raise UserError(f"unexpected argument {rest[0]!r}: every option is a --flag, see --help")
    if arguments and not rest:
        raise UserError(f"{arguments} missing, see --help")
    missing = [f"--{name}" for name in required if flags.FLAGS[name].value is None]
    if missing:
        raise UserError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing, see --help")
    return rest


def _gist(error: Exception) -> str:
    """The message; where a library has put a whole traceback in it, the traceback's last line."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip() or type(error).__name__
    return text.splitlines()[-1] if "Traceback" in text else text


def _help(names: set[str]) -> str:
    """The command's own docstring and its own flags."""
    lines = [(sys.modules["__main__"].__doc__ or "").strip(), "", "flags:"]
    lines += [f"  --{name}: {flags.FLAGS[name].help}" for name in sorted(names) if not name.startswith("config.")]
    return "\n".join(lines)


FAILED_FILE = "IPMEDGAN_FAILED_FILE"
"""Names a file for the error of a process that a person has to help: srun's exit code may be another process's."""


def _fail(error: UserError) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    if error.exit_code != TRY_AGAIN and FAILED_FILE in os.environ:
        with contextlib.suppress(OSError):
            Path(os.environ[FAILED_FILE]).write_text(f"{error}\n")
    sys.exit(error.exit_code)


class _Plain(python_logging.Formatter):
    """`12:34:56 message`, warnings marked as such."""

    def format(self, record: python_logging.LogRecord) -> str:
        level = "" if record.levelno <= python_logging.INFO else f"{record.levelname.lower()}: "
        return f"{self.formatTime(record, '%H:%M:%S')} {level}{record.getMessage()}"


def _log_plainly() -> None:
    """absl's log to standard error, plainly; of the libraries only what is wrong."""
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    logging.set_stderrthreshold(logging.INFO)
    handler = logging.get_absl_handler()
    handler.setFormatter(_Plain())
    for part in python_logging.getLogger().handlers:
        part.addFilter(_is_ours_or_a_warning)


_OURS = str(Path(ipmedgan_jax.__file__).parent) + os.sep

_EXPECTED = "Requested `tracked_metric`; did not provide metrics."
"""Orbax warns so at every checkpoint between two validations."""


def _is_ours_or_a_warning(record: python_logging.LogRecord) -> bool:
    """Libraries log their inner workings through absl and logging alike."""
    if record.pathname.startswith(_OURS):
        return True
    return record.levelno >= python_logging.WARNING and record.msg != _EXPECTED
