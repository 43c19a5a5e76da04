"""Regular expressions of users, matched within a time: a pattern such as `(a+)+` needs time that doubles with each letter.

Python's `re` cannot be stopped from another thread, because it keeps the interpreter's lock. So the matching is in a process
of its own, which is ended when its time is over.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence

LIMIT_S = 20.0
"""Seconds for all texts of one call; an ordinary pattern needs microseconds for each."""

_PROGRAM = """
import json, re, sys
pattern, texts = json.load(sys.stdin)
for text in texts:
    match = re.search(pattern, text)
    print(json.dumps(match and match.group(1)), flush=True)
"""


class PatternError(Exception):
    """A pattern could not be matched in time; `index` is that of the text it was matching, the message says why."""

    def __init__(self, index: int, message: str):
        super().__init__(message)
        self.index = index


def first_groups(pattern: re.Pattern[str], texts: Sequence[str]) -> list[str | None]:
    """Returns the first group of the first match in each text; None without a match, or if the group took no part in it.

    Raises PatternError if all texts together take longer than `LIMIT_S`.
    """
    job = json.dumps([pattern.pattern, list(texts)]).encode()
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM]
    try:
        done = subprocess.run(command, input=job, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=LIMIT_S)
    except subprocess.TimeoutExpired as error:
        matched = (error.stdout or b"").count(b"\n")
        raise PatternError(matched, f"was still matching after {LIMIT_S:g} seconds") from error
    found = [json.loads(line) for line in done.stdout.splitlines()]
    if len(found) < len(texts):
        raise PatternError(len(found), f"ended its process with code {done.returncode}")
    return found
