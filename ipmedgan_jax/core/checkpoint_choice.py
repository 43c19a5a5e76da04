"""Which checkpoint of a run a command takes: `best` by validation, `latest`, or that of a step; and the flag --checkpoint."""

import re

from absl import flags

EXPECTED = ("best", "latest", "STEP")
"""What may be chosen, for messages; STEP is a number such as 4000."""


def is_choice(text: str) -> bool:
    """Whether a text names a checkpoint."""
    return text in EXPECTED[:2] or re.fullmatch("[0-9]{1,18}", text) is not None


def define_flag(default: str | None = "best", note: str = "") -> None:
    """Defines --checkpoint; `note` ends its help."""
    text = "checkpoint of the run: the best by validation, the latest, or that of a step, a number" + note
    flags.DEFINE_flag(_CheckpointFlag("checkpoint", default, text))


class _Parser(flags.ArgumentParser):
    enum_values = EXPECTED  # what --help shows

    def parse(self, argument: str) -> str:
        if not is_choice(argument):
            raise ValueError(f"expected {', '.join(EXPECTED[:2])} or a step")
        return argument

    def flag_type(self) -> str:
        return "checkpoint"


class _CheckpointFlag(flags.Flag):
    def __init__(self, name: str, default: str | None, text: str):
        super().__init__(_Parser(), flags.ArgumentSerializer(), name, default, text)
