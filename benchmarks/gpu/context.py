"""What a step of the session is told, and how it writes results. Standard library only, for the packages come later."""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS_FILE, LOG_FILE, SUMMARY_FILE = "results.jsonl", "session.log", "summary.md"
ALL_FILE = "all_results.jsonl"
"""In the scratch folder: the results of all sessions on this machine, those that were killed among them."""

NO_GPU = 3
"""Exit code of the step `machine`, and of the session, where JAX finds no GPU."""


@dataclass(frozen=True)
class Context:
    """The settings of a session and of one of its steps.

    Attributes:
      step: the step's name.
      output: the folder of the results.
      scratch: a folder for everything else; nothing in it comes back.
      start, end: seconds since the epoch, of the session's start and the step's end.
      rehearsal: small sizes on the CPU.
    """

    step: str
    output: str
    scratch: str
    start: float
    end: float
    rehearsal: bool

    def left(self) -> float:
        """Seconds until the step must have ended."""
        return self.end - time.time()

    def report(self, **fields: Any) -> None:
        """Appends one line to the results at once, so that a killed step leaves what it had."""
        line = {"step": self.step, "at": round(time.time() - self.start, 1)} | {k: _rounded(v) for k, v in fields.items()}
        append(Path(self.output) / RESULTS_FILE, line)
        append(Path(self.scratch) / ALL_FILE, line)
        print(json.dumps(line), flush=True)

    def results(self) -> list[dict[str, Any]]:
        """All lines so far, of earlier sessions on this machine too."""
        return read(Path(self.scratch) / ALL_FILE)

    def as_argument(self) -> str:
        return json.dumps(asdict(self))


def given() -> tuple[Context, dict[str, Any]]:
    """Returns the context and the options that the session gave this process as its arguments."""
    return Context(**json.loads(sys.argv[1])), json.loads(sys.argv[2])


def append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a results file; a half-written last line is left out."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
