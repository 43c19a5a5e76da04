"""The one exception for what a user can mend; entries print it as one line and exit with its code."""

BAD_INPUT = 2
"""Exit code for input, settings or files that have to be changed before trying again."""

NOT_FINITE = 3
"""Exit code for a training run that stopped at a non-finite number."""

TRY_AGAIN = 75
"""Exit code for what may be otherwise in a minute: a machine that has not come up, a process that was lost."""


class UserError(Exception):
    """Something the user can mend. The message is one line: what was wanted, what came, and the name to change."""

    def __init__(self, message: str, exit_code: int = BAD_INPUT):
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code
