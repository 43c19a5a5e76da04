"""The curves of a run's report: which scalars share a chart, and which of their points are drawn.

A long run has more points than a screen has columns. Of each column its lowest and its highest point are kept, so that no
spike is lost, and the mean of the column for the smoothed line.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ipmedgan_jax.experiment.checkpoint_scores import HIGHER_IS_BETTER
from ipmedgan_jax.training.event_reader import Points

COLUMNS = 300
"""Columns of a drawn curve; a curve with up to twice as many points is drawn whole."""

VALIDATION = "validation/"

UNITS = {"psnr": "dB", "mse": "squared grey levels, 0..255", "mae": "grey levels, 0..255", "mae_hu": "HU"}

CHARTS = (
    ("loss/generator_weighted/", "Generator loss, weighted", "weight x term: what the generator lowers", True),
    ("loss/discriminator/", "Discriminator loss", "near 0: it tells fakes from real images without error", False),
    ("logit/", "Discriminator logits", "mean over patches; above 0: judged real", False),
    ("gradient_norm/", "Gradient norms", "norm of each network's gradient", True),
    ("images_per_second", "Images per second", "between two reports, without validation and saving", False),
    (
        "skipped_steps",
        "Skipped steps",
        "steps left out for a number that is not finite, since the process started",
        False,
    ),
    ("loss/generator/", "Generator loss, terms", "each term before its weight", True),
)
"""Beginning of the scalars' names, title, note, and whether the scale is logarithmic at first."""


def charts(scalars: Mapping[str, Points], best_score: str) -> list[dict[str, Any]]:
    """Returns the charts, as the page's script reads them: the score that chooses first, the other scores last."""
    scores = sorted(name for name in scalars if name.startswith(VALIDATION))
    score_charts = {name: _score_chart(name.removeprefix(VALIDATION), scalars[name], best_score) for name in scores}
    leading = score_charts.pop(VALIDATION + best_score, None)
    found = [leading] if leading else []
    left = {name: points for name, points in sorted(scalars.items()) if name not in scores}
    for beginning, title, note, logarithmic in CHARTS:
        series = {name: left.pop(name) for name in list(left) if name.startswith(beginning)}
        found += [_chart(title, note, series, beginning, logarithmic=logarithmic)] if series else []
    return [*found, *score_charts.values(), *([_chart("Other", "", left, "")] if left else [])]


def _score_chart(name: str, points: Points, best_score: str) -> dict[str, Any]:
    direction = "higher is better" if name in HIGHER_IS_BETTER else "lower is better"
    unit = f" ({UNITS[name]})" if name in UNITS else ""
    chooses = name == best_score
    note = f"{direction}{unit}{'; chooses the best checkpoint' if chooses else ''}"
    chart = _chart(f"Validation: {name}", note, {name: points}, "")
    return chart | {"best": best_step(points, name), "chooses": chooses}


def _chart(title: str, note: str, series: Mapping[str, Points], prefix: str, *, logarithmic: bool = False) -> dict[str, Any]:
    lines = [{"name": name.removeprefix(prefix) or name} | thinned(*points.arrays()) for name, points in series.items()]
    return {"title": title, "note": note, "log": logarithmic, "series": lines}


def best_step(points: Points, score: str) -> int | None:
    """Returns the step with the best finite value of a score, the last of equal ones; None if no value is finite."""
    sign = 1 if score in HIGHER_IS_BETTER else -1
    finite = [(step, value) for step, value in zip(points.steps, points.values, strict=True) if math.isfinite(value)]
    return max(reversed(finite), key=lambda point: sign * point[1])[0] if finite else None


def thinned(steps: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Returns the points of a curve that are drawn, as JSON: `steps`, `values` with None for what is not finite, `count`.

    A curve of more than twice `COLUMNS` points keeps of each column the lowest and the highest point, one that is not finite,
    and the last point of all. It has `means` too, [step, mean] of the finite points of each column.
    """
    count = len(steps)
    if count <= 2 * COLUMNS:
        return {"count": count, "steps": steps.tolist(), "values": _as_json(values)}
    column = (steps - steps[0]) * COLUMNS // (steps[-1] - steps[0] + 1)
    bounds = np.flatnonzero(np.diff(column, prepend=-1))
    kept: list[int] = [count - 1]
    means = []
    for start, end in zip(bounds, [*bounds[1:], count], strict=True):
        part = values[start:end].astype(np.float64)
        finite = np.flatnonzero(np.isfinite(part))
        if len(finite):
            kept += [int(start + finite[part[finite].argmin()]), int(start + finite[part[finite].argmax()])]
            means.append([int(steps[start:end].mean()), float(f"{part[finite].mean():.5g}")])
        if len(finite) < len(part):
            kept.append(int(start + np.flatnonzero(~np.isfinite(part))[0]))
    chosen = np.unique(kept)
    return {"count": count, "steps": steps[chosen].tolist(), "values": _as_json(values[chosen]), "means": means}


def _as_json(values: np.ndarray) -> list[float | None]:
    """Returns values with six digits; None for one that is not finite."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values.tolist()]
