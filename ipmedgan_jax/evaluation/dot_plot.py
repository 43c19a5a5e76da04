"""Dot plots, drawn with Pillow: a panel for each score, a line for each system, a dot for each subject, and the means."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ipmedgan_jax.evaluation.figures import font, write_png
from ipmedgan_jax.evaluation.print_figure import write_pdf

PAGE, INK, GRID, DOT = (255, 255, 255), (0, 0, 0), (226, 226, 226), (59, 111, 182)
"""RGB: background, text and axes, grid lines, dots."""

OPACITY = 0.45
"""Opacity of a dot: overlapping dots are darker."""

LINE, PANEL, GAP, MARGIN, AXIS = 56, 480, 36, 20, 60
"""Pixels: height of a line, width of a panel, gap between panels, margin of the page, space below the panels."""

TICK, RADIUS, MEAN, MARK = 5, 4.5, (3, 28), (1, 44)
"""Pixels: length of a tick, radius of a dot, width and height of a mean's bar and of the mark of one of several means."""

FINER = 2
"""Scale of the drawing before it is reduced, which smooths edges."""


@dataclass(frozen=True)
class Panel:
    """One panel: the title of its axis, and the values `[k, n]` of each line. NaN is not drawn.

    A dot is a mean over k, the bar the mean of all; where k is above 1, each of the k means over n is a thin mark.
    """

    title: str
    values: tuple[np.ndarray, ...]


def dot_plot(panels: Sequence[Panel], names: Sequence[str], *paths: Path) -> None:
    """Writes the panels side by side, a line for each name, to PNG or PDF files. A panel's axis spans its values."""
    labels = font(18 * FINER)
    left = MARGIN + math.ceil(max(labels.getlength(name) for name in names) / FINER) + 2 * TICK
    width = left + len(panels) * (PANEL + GAP) - GAP + MARGIN
    page = Image.new("RGB", (width * FINER, (MARGIN + len(names) * LINE + AXIS) * FINER), PAGE)
    for line, name in enumerate(names):
        at = (left - 2 * TICK, MARGIN + (line + 0.5) * LINE)
        ImageDraw.Draw(page).text(_scaled(at), name, INK, labels, anchor="rm")
    for column, panel in enumerate(panels):
        _draw_panel(page, panel, left + column * (PANEL + GAP))
    for path in paths:
        if path.suffix == ".pdf":
            write_pdf(page, path)  # not reduced: its type of 18 pixels becomes one of 8.6 pt
        else:
            write_png(page.reduce(FINER), path)


def ticks(low: float, high: float, at_most: int = 7) -> np.ndarray:
    """Returns the round numbers in [low, high]; their distance is 1, 2 or 5 times a power of ten."""
    smallest = (high - low) / at_most
    power = 10.0 ** math.floor(math.log10(smallest))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= smallest)
    return step * np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)


def decimals_of(marks: np.ndarray) -> int:
    """Returns the decimals that tell the marks of an axis apart, as `ticks` gives them."""
    return max(0, -math.floor(math.log10(marks[1] - marks[0]) + 1e-9)) if len(marks) > 1 else 3


def span(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Returns the range of an axis: the lowest and the highest finite value, widened on each side.

    The margin is 5 % of their distance, or of their size if they are equal. Without a finite value the range is [0, 1],
    widened.
    """
    finite = np.concatenate(values)
    finite = finite[np.isfinite(finite)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    margin = 0.05 * (high - low) or max(0.05 * abs(high), 1e-3)
    return float(low - margin), float(high + margin)


def _draw_panel(page: Image.Image, panel: Panel, left: float) -> None:
    draw = ImageDraw.Draw(page)
    low, high = span([np.concatenate([values.mean(0), values.mean(1)]) for values in panel.values])
    top, bottom = MARGIN, MARGIN + len(panel.values) * LINE
    marks = ticks(low, high)
    decimals = decimals_of(marks)

    def across(value: float) -> float:
        return left + (value - low) / (high - low) * PANEL

    for mark in marks:
        x = across(mark)
        draw.line((*_scaled((x, top)), *_scaled((x, bottom))), GRID, FINER)
        draw.line((*_scaled((x, bottom)), *_scaled((x, bottom + TICK))), INK, FINER)
        draw.text(_scaled((x, bottom + 2 * TICK)), f"{mark:.{decimals}f}", INK, font(16 * FINER), anchor="mt")
    draw.rectangle((*_scaled((left, top)), *_scaled((left + PANEL, bottom))), outline=INK, width=FINER)
    draw.text(_scaled((left + PANEL / 2, bottom + AXIS)), panel.title, INK, font(18 * FINER), anchor="mb")
    for line, values in enumerate(panel.values):
        y = top + (line + 0.5) * LINE
        draw.line((*_scaled((left - TICK, y)), *_scaled((left, y))), INK, FINER)
        dots = values.mean(0)
        for value in dots[np.isfinite(dots)]:
            _draw_dot(page, (across(value), y))
        marks_of_line = [(mean, MARK) for mean in values.mean(1)] if len(values) > 1 else []
        for mean, (width, height) in ((values.mean(), MEAN), *marks_of_line):
            if np.isfinite(mean):
                x = across(mean)
                box = (x - width / 2, y - height / 2), (x + width / 2, y + height / 2)
                draw.rectangle((*_scaled(box[0]), *_scaled(box[1])), INK)


def _draw_dot(page: Image.Image, middle: tuple[float, float]) -> None:
    """Blends the colour of a dot into the page."""
    x, y = _scaled(middle)
    size = round(2 * RADIUS * FINER)
    mask = Image.new("L", (size + 1, size + 1))
    ImageDraw.Draw(mask).ellipse((0, 0, size, size), round(255 * OPACITY))
    page.paste(DOT, (round(x - size / 2), round(y - size / 2)), mask)


def _scaled(point: tuple[float, float]) -> tuple[float, float]:
    return point[0] * FINER, point[1] * FINER
