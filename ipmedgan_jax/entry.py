"""How every command starts and ends: absl flags in, exit code out, errors as one line."""

import logging as python_logging
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from ipmedgan_jax.errors import UserError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def run(main: Callable[[], None]) -> None:
    """Parses the flags and calls `main`; exits 0, with a UserError's code, or with 130 after Ctrl-C."""

    def guarded(arguments: Sequence[str]) -> None:
        logging.set_verbosity(logging.INFO)
        for chatty in ("jax", "orbax", "jax._src.xla_bridge"):
            python_logging.getLogger(chatty).setLevel(python_logging.WARNING)
        if len(arguments) > 1:
            sys.exit(_report(UserError(f"unexpected argument {arguments[1]!r}: every option is a --flag, see --help")))
        try:
            main()
        except UserError as error:
            sys.exit(_report(error))
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(INTERRUPTED)

    app.run(guarded, flags_parser=_parse_flags)


def _parse_flags(arguments: Sequence[str]) -> list[str]:
    """Like absl's parser, but a bad flag, a misspelt config key or a broken config file is one line, not a page."""
    try:
        return app.parse_flags_with_usage(list(arguments))
    except UserError as error:
        sys.exit(_report(error))
    except (AttributeError, KeyError, TypeError, ValueError, OSError, flags.Error) as error:
        sys.exit(_report(UserError(str(error))))


def _report(error: UserError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code
