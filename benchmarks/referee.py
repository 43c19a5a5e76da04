"""Scores evaluated runs by an independent implementation: the metrics of the BraTS inpainting challenge.

  IPMEDGAN_REFEREE_PYTHON=/path/to/python python -m benchmarks.referee runs/mri runs/telea --output=results/mri/referee.md

The scores are of the fills that `evaluate` saved. The named interpreter must have the extra `referee` (PyPI `inpainting`,
AGPL-3.0, so it runs in its own processes). It gets the scored slices of each subject as one stack with their holes, in 0..255
for MRI and in HU + 1024 for CT. It normalises them itself and scores the holes alone. The table has means over subjects and
the rank of each system in each column.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path

if TYPE_CHECKING:
    import numpy as np

    from ipmedgan_jax.evaluation.evaluated_runs import Run

COLUMNS = (("SSIM", "ssim", 4), ("PSNR", "psnr", 2), ("MSE", "mse", 5))
"""The referee's scores; its MSE is of intensities scaled to [0, 1]."""

AIR = -1024.0
"""HU that maps to 0, because the referee takes no negative values."""


def main(folders: list[str]) -> None:
    from benchmarks import outputs
    from ipmedgan_jax.core import files
    from ipmedgan_jax.evaluation import comparable_runs

    interpreter = os.environ.get("IPMEDGAN_REFEREE_PYTHON")
    if not interpreter:
        raise UserError("IPMEDGAN_REFEREE_PYTHON: expected the path of a Python interpreter with the extra `referee`")
    output = outputs.file(flags.FLAGS.output)
    runs, left_out = comparable_runs.read_all([user_path(folder) for folder in folders])
    if left_out:
        raise UserError("; ".join(left_out))
    try:
        text = table({run.label: score_run(run, interpreter) for run in runs})
        files.write_text(output, text)
    except OSError as error:
        raise UserError(f"{error.filename or output}: {error.strerror or error}") from error
    print(text)


def score_run(run: "Run", interpreter: str) -> dict[str, float]:
    """Returns the means over subjects of the referee's scores."""
    import numpy as np

    script = Path(__file__).with_name("referee_process.py")
    found = []
    for stack in subject_stacks(run):
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / "fill.npz", **stack)
            command = [interpreter, str(script), str(Path(folder) / "fill.npz")]
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
            if answer.returncode:
                lines = answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"]
                raise UserError(f"{interpreter}: {lines[-1]}")
            found.append(json.loads(answer.stdout))
    return {key: float(np.mean([scores[key] for scores in found])) for _, key, _ in COLUMNS}


def subject_stacks(run: "Run") -> "Iterator[dict[str, np.ndarray]]":
    """Yields `image`, `inpainted` and `mask`, each `[S, H, W]`, of every subject, in order of name."""
    import numpy as np

    from benchmarks import evaluated_slices

    slices = evaluated_slices.slices_of([run])
    ct = slices.dataset.modality == "ct"
    windows = np.array([record.window if ct else (0.0, 255.0) for record in slices.records])
    low, high = windows.T[:, :, None, None]
    air = AIR if ct else 0.0
    image, inpainted = ((images + 1) / 2 * (high - low) + low - air for images in (slices.intact, slices.filled(run)))
    for subject in sorted(set(slices.subjects)):
        rows = [name == subject for name in slices.subjects]
        yield {
            "image": np.maximum(image[rows], 0),
            "inpainted": np.maximum(inpainted[rows], 0),
            "mask": slices.holes[rows],
        }


def table(scores: dict[str, dict[str, float]]) -> str:
    """Returns a Markdown table with one row per system, each score with its rank (1 is best)."""
    from ipmedgan_jax.evaluation import reports

    def ranked(key: str) -> list[str]:
        return sorted(scores, key=lambda label: scores[label][key], reverse=key != "mse")

    ranks = {key: {label: i + 1 for i, label in enumerate(ranked(key))} for _, key, _ in COLUMNS}
    rows = [
        [label, *(f"{by_key[key]:.{decimals}f} ({ranks[key][label]})" for _, key, decimals in COLUMNS)]
        for label, by_key in scores.items()
    ]
    return reports.markdown_table([["system", *(f"{title} (rank)" for title, _, _ in COLUMNS)], *rows]) + "\n"


def define_flags() -> None:
    flags.DEFINE_string("output", None, "Markdown file for the table")


if __name__ == "__main__":
    run_command(main, define_flags, required=["output"], arguments="the folders of runs are")
