"""The results of a session as tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.context import RESULTS_FILE, SUMMARY_FILE, read

COLUMNS = {
    "update": ("dtype", "batch", "form", "per_dispatch", "seconds_per_update", "images_per_second", "share_of_peak"),
    "peer": ("dtype", "batch", "mode", "seconds_per_update", "images_per_second", "peak_memory_gib", "start_seconds"),
    "generator": ("dtype", "batch", "ms_a_slice", "ms_a_slice_host", "compile_seconds"),
    "scan": ("run", "seconds", "since_start"),
    "error": ("system", "mode", "worst", "of", "limit", "within"),
    "validation": ("seconds", "text"),
    "score": ("system", "training_seconds", "steps", "slices_seen", "test_slices", "ssim", "psnr", "vgg_distance"),
    "end": ("seconds", "exit_code", "timed_out"),
}
"""Columns of each kind of line (its `event`), after the step's name."""

COLUMNS["update"] += ("share_of_bandwidth", "program_gib", "compile_seconds")


def write(output: Path) -> None:
    """Writes the tables of all lines that there are."""
    (output / SUMMARY_FILE).write_text(tables(read(output / RESULTS_FILE)))


def tables(lines: Sequence[dict[str, Any]]) -> str:
    """The lines as Markdown: what the machine is, then a table for each kind of line."""
    text = ["# A session on a GPU", ""]
    for line in (line for line in lines if line.get("event") in ("machine", "start")):
        text += ["- " + ", ".join(f"{key} {value}" for key, value in line.items() if key not in ("event", "step"))]
    for event, columns in COLUMNS.items():
        found = [line for line in lines if line.get("event") == event]
        if found:
            names = ("step", *columns)
            text += ["", f"## {event}", "", f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
            text += [f"| {' | '.join(_cell(line.get(name)) for name in names)} |" for line in found]
    return "\n".join(text) + "\n"


def closing_lines(lines: Sequence[dict[str, Any]]) -> str:
    """What a reader sees first: the times of the updates beside the peer's, and what failed."""
    text = []
    for line in lines:
        if line.get("event") in ("update", "peer", "generator", "scan", "score"):
            names = ("step", *COLUMNS[line["event"]])
            text.append("  ".join(f"{name} {_cell(line[name])}" for name in names if name in line))
        elif line.get("event") in ("failed", "skipped", "no GPU") or line.get("timed_out") or line.get("exit_code"):
            text.append(f"{line['step']}: " + ", ".join(f"{k} {v}" for k, v in line.items() if k not in ("step", "at")))
    return "\n".join(text)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")
