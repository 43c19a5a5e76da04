"""Learning curves of runs: their validation scores by the slices seen, how far each came, and where each is heading.

  python -m benchmarks.learning_curves runs/unet-seed0 runs/unet-seed1 runs/mri --output=results/mri

Writes to OUTPUT:
  curves.md     for each system: its scores at each of --at slices, and the trend in the last third of its run
  curves.csv    every validation: system, run, slices seen, and the scores
  curves.png    a line for each run, a colour for each system

The scores are those of training's own validations, on at most train.validation_slices slices of the validation subjects; they
are read from the run's event files. A run's score at N slices is the mean of its validations in the last quarter before N,
because single validations scatter. Runs of one system that differ in nothing but the seed share a row, with their mean. Runs
of other lengths have rows of their own: their phases (train.generator_alone, optimiser.decay) lie elsewhere.

The trend is the slope of Theil and Sen (Sen, 1968) over the last third of the slices seen, times that third: what the score
gained in it, with Sen's 95 % interval. `no trend seen`: the interval has 0 in it, so none can be told from the scatter. The
validations of one run are not independent where weights are averaged (train.ema), so an interval may be too narrow.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags, logging

from benchmarks import outputs
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.experiment.saved_config import differing_but_for_seed

SCORES = (("PSNR (dB)", "psnr", 2), ("SSIM", "ssim", 3), ("VGG distance", "vgg_distance", 3))
"""Columns of the table and panels of the picture: heading, score, decimals."""

FEWEST = 5
"""Validations in the last third below which there is no trend."""


@dataclass(frozen=True)
class Curve:
    """The validations of one run: slices seen `[n]`, ascending, and each score's finite values `[n]`; its config."""

    run: str
    system: str
    slices: np.ndarray
    scores: Mapping[str, np.ndarray]
    config: Mapping[str, Any] = field(default_factory=dict)

    def at(self, slices: int, score: str) -> float:
        """Returns the mean over the last quarter before that many slices; NaN if the run is shorter or has no such score."""
        chosen = (self.slices > 0.75 * slices) & (self.slices <= slices)
        if score not in self.scores or self.slices[-1] < slices or not chosen.any():
            return math.nan
        return float(self.scores[score][chosen].mean())

    def trend(self, score: str) -> tuple[float, float, float] | None:
        """Returns the gain over the last third and its 95 % interval; None for fewer than `FEWEST` validations there."""
        from scipy.stats import theilslopes

        third = self.slices[-1] / 3
        last = self.slices > self.slices[-1] - third
        if score not in self.scores or last.sum() < FEWEST:
            return None
        slope, _, low, high = theilslopes(self.scores[score][last], self.slices[last])
        return float(slope * third), float(low * third), float(high * third)


def read_curve(folder: Path) -> Curve:
    """Reads a run's validations. Raises UserError if the folder is no run, or nothing was validated."""
    from ipmedgan_jax.evaluation.evaluated_runs import TITLES
    from ipmedgan_jax.experiment import run_folder
    from ipmedgan_jax.training.curves import VALIDATION
    from ipmedgan_jax.training.event_reader import EventReader

    config = run_folder.read_config(folder)
    events = EventReader(folder / "tensorboard")
    events.update()
    scores = (name for name in events.scalars if name.startswith(VALIDATION))
    found = {name.removeprefix(VALIDATION): events.scalars[name] for name in scores}
    if not found:
        raise UserError(f"{folder}: nothing was validated (train.validate_every)")
    steps = next(iter(found.values())).arrays()[0]
    if any(not np.array_equal(points.arrays()[0], steps) for points in found.values()):
        raise UserError(f"{folder}: the scores were validated at different steps")
    values = {name: points.arrays()[1] for name, points in found.items()}
    finite = np.isfinite(list(values.values())).all(0)
    if not finite.all():
        logging.warning("%s: %d of %d validations are not finite and left out", folder, (~finite).sum(), len(finite))
    if not finite.any():
        raise UserError(f"{folder}: no validation is finite")
    title = TITLES.get(config["system"], config["system"])
    slices = steps[finite] * config["train"]["batch_size"]
    return Curve(folder.name, title, slices, {name: of[finite] for name, of in values.items()}, config)


def table(curves: Sequence[Curve], milestones: Sequence[int]) -> str:
    """Returns a Markdown section for each score: a row for each system and length of runs, its means and trend."""
    from ipmedgan_jax.evaluation import reports

    sections = []
    for title, score, decimals in SCORES:
        rows = [
            ["system", "runs", "slices", *(f"at {slices:,}" for slices in milestones), "gain in the first run's last third"]
        ]
        for name, runs in _rows(curves):
            cells = (_cell(runs, slices, score, decimals) for slices in milestones)
            rows.append([name, str(len(runs)), f"{runs[0].slices[-1]:,}", *cells, _trend_text(runs[0], score, decimals)])
        sections.append(f"## {title}\n\n{reports.markdown_table(rows)}\n")
    return "\n".join(sections)


def _rows(curves: Iterable[Curve]) -> list[tuple[str, list[Curve]]]:
    """Returns the rows with their names: runs of one system and length whose configs differ in nothing but the seed."""
    rows: list[list[Curve]] = []
    for curve in curves:
        for runs in rows:
            if _kind(runs[0]) == _kind(curve) and not differing_but_for_seed(runs[0].config, curve.config):
                runs.append(curve)
                break
        else:
            rows.append([curve])
    kinds = [_kind(runs[0]) for runs in rows]
    return [
        (runs[0].system if kinds.count(kind) == 1 else f"{runs[0].system} ({runs[0].run})", runs)
        for kind, runs in zip(kinds, rows, strict=True)
    ]


def _kind(curve: Curve) -> tuple[str, int]:
    return curve.system, int(curve.slices[-1])


def _cell(runs: Sequence[Curve], slices: int, score: str, decimals: int) -> str:
    """Returns the mean over the runs, and their range if they are several."""
    values = [value for value in (curve.at(slices, score) for curve in runs) if math.isfinite(value)]
    if not values:
        return "-"
    mean = f"{np.mean(values):.{decimals}f}"
    return f"{mean} ({min(values):.{decimals}f} to {max(values):.{decimals}f})" if len(values) > 1 else mean


def _trend_text(curve: Curve, score: str, decimals: int) -> str:
    found = curve.trend(score)
    if found is None:
        return "too few validations"
    gain, low, high = found
    word = "rising" if low > 0 else "falling" if high < 0 else "no trend seen"
    return f"{gain:+.{decimals}f} [{low:+.{decimals}f}, {high:+.{decimals}f}], {word}"


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Writes a panel for each score that every run has, to a PNG file."""
    from benchmarks.line_plot import Line, Panel, line_plot

    panels = [
        Panel(title, tuple(Line(one.system, one.slices, one.scores[score]) for one in curves))
        for title, score, _ in SCORES
        if all(score in one.scores for one in curves)
    ]
    line_plot(panels, "slices seen", path)


def main(folders: list[str]) -> None:
    from ipmedgan_jax.core import files, provenance
    from ipmedgan_jax.evaluation import reports

    output = outputs.folder(flags.FLAGS.output)
    try:
        milestones = sorted({int(text) for text in flags.FLAGS.at})
    except ValueError as error:
        raise UserError(f"--at={','.join(flags.FLAGS.at)}: expected numbers of slices") from error
    curves = [read_curve(user_path(folder)) for folder in folders]
    text = table(curves, milestones)
    line = provenance.one_line(provenance.provenance())
    heading = "# Learning curves\n\nValidation scores by slices seen; see benchmarks/learning_curves.py."
    files.write_text(output / "curves.md", f"{heading}\n\n{text}\n`{line}`\n")
    rows = [
        {"system": curve.system, "run": curve.run, "slices": int(curve.slices[i])}
        | {score: f"{values[i]:.6g}" for score, values in curve.scores.items()}
        for curve in curves
        for i in range(len(curve.slices))
    ]
    files.write_text(output / "curves.csv", reports.csv_text(rows))
    draw(curves, output / "curves.png")
    print(text)


def define_flags() -> None:
    flags.DEFINE_list("at", ["4800", "9600", "24000", "48000"], "numbers of slices at which scores are compared")
    flags.DEFINE_string("output", None, "folder to write")


if __name__ == "__main__":
    run_command(main, define_flags, required=["output"], arguments="runs")
