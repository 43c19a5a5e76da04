"""Line plots, drawn with Pillow: panels side by side with a logarithmic axis across, and each line's name at its end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ipmedgan_jax.evaluation.dot_plot import FINER, GRID, INK, PAGE, decimals_of, span, ticks
from ipmedgan_jax.evaluation.figures import font, write_png

COLOURS = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (0, 0, 0),
    (86, 180, 233),
    (196, 144, 0),
    (120, 94, 160),
)
"""RGB of the lines, in order: those of Okabe and Ito (2008), told apart with colour blindness too; the yellow is darker."""

PANEL, NAMES, LEFT, MARGIN, AXIS = (440, 360), 165, 70, 20, 52
"""Pixels: width and height of a panel, room for the names beside it and for its numbers, margin, space below the panels."""


@dataclass(frozen=True, eq=False)
class Line:
    """One line: its name, positions `[n]` above 0, and values `[n]`, all finite.

    Lines of one name have one colour in all panels, and are named once, at the end of the longest.
    """

    name: str
    positions: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Panel:
    """One panel: the title above it and its lines."""

    title: str
    lines: tuple[Line, ...]


def line_plot(panels: Sequence[Panel], across: str, path: Path) -> None:
    """Writes the panels side by side to a PNG file. `across` is the title of the axis across."""
    width = len(panels) * (LEFT + PANEL[0] + NAMES) + MARGIN
    page = Image.new("RGB", (width * FINER, (2 * MARGIN + 20 + PANEL[1] + AXIS) * FINER), PAGE)
    draw = ImageDraw.Draw(page)
    names = dict.fromkeys(line.name for panel in panels for line in panel.lines)
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    for i, panel in enumerate(panels):
        _draw_panel(draw, panel, colours, across, left=LEFT + i * (LEFT + PANEL[0] + NAMES), top=2 * MARGIN + 20)
    write_png(page.reduce(FINER), path)


def _draw_panel(
    draw: ImageDraw.ImageDraw, panel: Panel, colours: dict[str, tuple[int, int, int]], across: str, *, left: float, top: float
) -> None:
    width, height = PANEL
    positions = np.concatenate([line.positions for line in panel.lines])
    first, last = math.log(positions.min()), math.log(positions.max())
    low, high = span([line.values for line in panel.lines])

    def place(position: float, value: float) -> tuple[float, float]:
        share = (math.log(position) - first) / (last - first) if last > first else 0.5
        return (left + share * width) * FINER, (top + (high - value) / (high - low) * height) * FINER

    marks = ticks(low, high)
    decimals = decimals_of(marks)
    small, large = font(15 * FINER), font(18 * FINER)
    for mark in marks:
        y = place(positions.min(), mark)[1]
        draw.line((left * FINER, y, (left + width) * FINER, y), GRID, FINER)
        draw.text(((left - 8) * FINER, y), f"{mark:.{decimals}f}", INK, small, anchor="rm")
    for mark in _round_numbers(positions.min(), positions.max()):
        x = place(mark, low)[0]
        draw.line((x, top * FINER, x, (top + height) * FINER), GRID, FINER)
        draw.text((x, (top + height + 8) * FINER), f"{mark:,}", INK, small, anchor="mt")
    draw.rectangle((left * FINER, top * FINER, (left + width) * FINER, (top + height) * FINER), outline=INK, width=FINER)
    draw.text(((left + width / 2) * FINER, (top - 10) * FINER), panel.title, INK, large, anchor="mb")
    draw.text(((left + width / 2) * FINER, (top + height + AXIS) * FINER), across, INK, large, anchor="mb")
    for line in panel.lines:
        points = [place(x, y) for x, y in zip(line.positions, line.values, strict=True)]
        draw.line(points, colours[line.name], 2 * FINER, joint="curve")
    longest = {line.name: line for line in sorted(panel.lines, key=lambda line: line.positions[-1])}
    ends = sorted((place(line.positions[-1], line.values[-1])[1] / FINER, name) for name, line in longest.items())
    for y, (_, name) in zip(_apart([end for end, _ in ends], 18, top + height + AXIS), ends, strict=True):
        draw.text(((left + width + 8) * FINER, y * FINER), name, colours[name], small, anchor="lm")


def _apart(places: Sequence[float], distance: float, last: float) -> list[float]:
    """Returns ascending places moved down where they are closer than the distance, and up again from `last` on."""
    found = list(places)
    for i in range(1, len(found)):
        found[i] = max(found[i], found[i - 1] + distance)
    for i in reversed(range(len(found))):
        found[i] = min(found[i], last - (len(found) - 1 - i) * distance)
    return found


def _round_numbers(low: float, high: float) -> list[int]:
    """Returns the numbers 1, 2 and 5 times a power of ten in [low, high]."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [factor * 10**power for power in powers for factor in (1, 2, 5) if low <= factor * 10**power <= high]
