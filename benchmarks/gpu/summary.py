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

COLUMNS["update"] += ("share_of_bandwidth", "program_gib", "peak_memory_gib", "compile_seconds")


def write(output: Path) -> None:
    """Writes the tables of all lines that there are."""
    (output / SUMMARY_FILE).write_text(tables(read(output / RESULTS_FILE)))


def tables(lines: Sequence[dict[str, Any]]) -> str:
    """The lines as Markdown: the machine and the main figures, then a table for each kind of line."""
    text = ["# A session on a GPU", ""]
    for line in (line for line in lines if line.get("event") in ("machine", "start")):
        text += ["- " + ", ".join(f"{key} {value}" for key, value in line.items() if key not in ("event", "step"))]
    if any(line.get("rehearsal") for line in lines):
        text += ["- a rehearsal: small networks on a CPU, and the peer's are others"]
    text += [f"- {line}" for line in bars(lines)]
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
    return "\n".join(text + bars(lines))


EPOCHS, SLICES = 200, 3028
"""Of the training that is projected: the paper's."""


def bars(lines: Sequence[dict[str, Any]]) -> list[str]:
    """The main figures: time beside the peer's, share of the peak and length of a training per batch size; ms a slice."""
    text = []
    ours, peers = _best(lines, "update"), _best(lines, "peer")
    for batch in sorted(ours):
        rate, line = ours[batch]
        parts = [f"{1e3 / rate:.3g} ms an image ({line['dtype']}, {line['form']}, {line['per_dispatch']} a dispatch)"]
        if batch in peers:
            peer, other = peers[batch]
            parts.append(f"{peer / rate:.2f} of PyTorch's time ({other['dtype']}, {other['mode']})")
        if line.get("share_of_peak"):
            parts.append(f"{line['share_of_peak']:.0%} of the measured bf16 peak")
        minutes = EPOCHS * SLICES / rate / 60
        parts.append(f"{EPOCHS} epochs of {SLICES} slices in {minutes:.1f} minutes")
        text.append(f"batch {batch}: " + ", ".join(parts))
    slices = [line for line in lines if line.get("event") == "generator"]
    if slices:
        best = min(slices, key=lambda line: line["ms_a_slice"])
        text.append(f"generator: {best['ms_a_slice']:.3g} ms a slice ({best['dtype']}, batch {best['batch']})")
    return text


def _best(lines: Sequence[dict[str, Any]], event: str) -> dict[int, tuple[float, dict[str, Any]]]:
    """For each batch size the most images a second, with their line."""
    best: dict[int, tuple[float, dict[str, Any]]] = {}
    for line in lines:
        if line.get("event") == event and line.get("images_per_second", 0.0) > best.get(line["batch"], (0.0,))[0]:
            best[line["batch"]] = line["images_per_second"], line
    return best


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")
