"""The exception for errors that a user can mend; commands print it as one line and exit with its code."""

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
