"""What a run's report says beside its curves: data, environment, test scores, messages, and text that may be shared."""

import json
import os
import pwd
import re
import shlex
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ipmedgan_jax.core import json_fields, provenance
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.core.user_paths import without_homes
from ipmedgan_jax.experiment import run_folder
from ipmedgan_jax.experiment.build import Experiment
from ipmedgan_jax.training import step_files
from ipmedgan_jax.training.nonfinite import FOLDER as NONFINITE

Row = tuple[str, str]
"""A name and its value, as text."""

PHANTOM_WARNING = "The built-in head phantom: its scores say nothing of real scans."

SHORTEST_HOST = 3
"""Letters of a machine's name that is left out of a text; a shorter one would also be found in other words."""


def shareable(text: str, workdir: Path | None = None) -> str:
    """Returns a text without home folders, without folders named as this account, and without this machine's name.

    Args:
      workdir: a run's folder, which becomes its name alone.
    """
    if workdir is not None:
        for folder in {str(workdir), str(workdir.absolute())} - {"."}:
            text = text.replace(folder, workdir.name)
    text = without_homes(text)
    for name in {os.environ.get("USER", ""), _account()} - {"", "root"}:
        text = re.sub(rf"(?<=/){re.escape(name)}(?=[/\s'\",:;)]|$)", "USER", text)
    host = socket.gethostname()
    if len(host) >= SHORTEST_HOST:
        text = re.sub(rf"\b{re.escape(host)}\b", "HOST", text)
    return text


def _account() -> str:
    with suppress(KeyError):
        return pwd.getpwuid(os.getuid()).pw_name
    return ""


def data_rows(experiment: Experiment) -> list[Row]:
    """Describes the data of a run: subjects and slices per split, modality, spacing. No subject is named."""
    dataset = experiment.dataset
    slices = dataset.slices
    rows = [
        (split, f"{counted(slices[split], 'slice')} of {counted(len(subjects), 'subject')}")
        for split, subjects in dataset.subjects.items()
    ]
    if dataset.fold:
        rows.append(("fold", dataset.fold))
    described = dataset.training_data() if slices["train"] else {}
    contrasts = ", ".join(described.get("contrasts", [])) or "not known from the names"
    rows += [("modality", dataset.modality), ("contrast", contrasts)]
    if described:
        low, high = described["lowest_spacing_mm"], described["highest_spacing_mm"]
        ranges = (f"{a:.3g}" if a == b else f"{a:.3g} to {b:.3g}" for a, b in zip(low, high, strict=True))
        rows.append(("voxels of the training scans", " x ".join(ranges) + " mm"))
    network = f"windows of {dataset.image_size} pixels" if dataset.keeps_whole_slices else f"{dataset.image_size} pixels"
    rows += [("images of the network", network), ("fingerprint", dataset.fingerprint)]
    return [*rows, ("warning", PHANTOM_WARNING)] if is_phantom(experiment) else rows


def is_phantom(experiment: Experiment) -> bool:
    """Whether a run trains on the built-in phantom."""
    return not experiment.config["data"]["dir"]


def environment_rows(workdir: Path) -> list[list[Row]]:
    """Returns the provenance of each start of the run in the folder, newest first; none for a run older than that."""
    try:
        history = json_fields.read(workdir / run_folder.CONFIG_FILE, finite=False).get(provenance.KEY, [])
    except (OSError, ValueError, UserError):
        return []
    return [_provenance_rows(start) for start in reversed(history) if isinstance(start, dict)]


def _provenance_rows(made: Mapping[str, Any]) -> list[Row]:
    devices = made.get("devices")
    shown = dict(made)
    if isinstance(devices, dict):
        shown["devices"] = ", ".join(f"{count} x {kind}" for kind, count in devices.items()) or "none"
    shown["command"] = _without_subjects(str(made.get("command", "")))
    return [(name, shareable(str(value))) for name, value in shown.items() if value not in (None, "")]


def _without_subjects(command: str) -> str:
    """Leaves the names of subjects out of a command: some folders name patients."""
    with suppress(ValueError):
        words = (re.sub(r"(_subjects=).+", r"\1...", word, flags=re.DOTALL) for word in shlex.split(command))
        return " ".join(map(shlex.quote, words))
    return ""


def nonfinite_steps(workdir: Path) -> list[tuple[int, str]]:
    """Returns step and problem of each step with a number that is not finite, as far as their files are kept."""
    found = []
    for step in step_files.steps_in(workdir / NONFINITE, ".json"):
        with suppress(OSError, ValueError, UserError, KeyError, TypeError):
            fields = json_fields.read(step_files.path_of(workdir / NONFINITE, step, ".json"), finite=False)
            found.append((int(fields["step"]), str(fields["problem"])))
    return found


def evaluation_report(workdir: Path) -> dict[str, Any]:
    """Returns the content of the run's evaluation/metrics.json; empty without one that can be read."""
    try:
        report = json_fields.read(workdir / "evaluation" / "metrics.json", finite=False)
    except (OSError, ValueError, UserError):
        return {}
    return report if isinstance(report.get("region"), dict) else {}


def markdown(rows: Sequence[Row]) -> str:
    """Returns rows as a Markdown table, for TensorBoard."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {json.dumps(value)[1:-1]} |" for name, value in rows)])
