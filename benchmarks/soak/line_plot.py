"""Line plots below each other over one horizontal axis, drawn with Pillow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ipmedgan_jax.evaluation.dot_plot import DOT, GRID, INK, PAGE, ticks
from ipmedgan_jax.evaluation.figures import font, write_png

WIDTH, HEIGHT, LEFT, MARGIN, GAP = 560, 110, 80, 16, 40
"""Pixels: width and height of a plot, space for its labels, margin of the page, space between plots."""

FINER = 2
"""Scale of the drawing before it is reduced, which smooths lines."""


@dataclass(frozen=True)
class Plot:
    """One plot: its title and its values `[n]`, none below 0."""

    title: str
    values: np.ndarray


def line_plot(across: np.ndarray, label: str, plots: Sequence[Plot], path: Path) -> None:
    """Writes a PNG of the plots over `across` `[n]`, whose axis is named `label`. All axes start at 0."""
    size = (LEFT + WIDTH + 2 * MARGIN, MARGIN + len(plots) * (HEIGHT + GAP) + MARGIN)
    page = Image.new("RGB", (size[0] * FINER, size[1] * FINER), PAGE)
    draw = ImageDraw.Draw(page)
    for index, plot in enumerate(plots):
        _draw_plot(draw, across, plot, MARGIN + index * (HEIGHT + GAP) + GAP // 2)
    bottom = MARGIN + len(plots) * (HEIGHT + GAP) - GAP // 2
    for mark in ticks(0, across.max()):
        x = (LEFT + mark / across.max() * WIDTH) * FINER
        draw.text((x, (bottom + 4) * FINER), f"{mark:,.0f}", INK, font(12 * FINER), anchor="mt")
    draw.text(((LEFT + WIDTH) * FINER, (bottom + 20) * FINER), label, INK, font(12 * FINER), anchor="rt")
    write_png(page.reduce(FINER), path)


def _draw_plot(draw: ImageDraw.ImageDraw, across: np.ndarray, plot: Plot, top: float) -> None:
    highest = max(float(plot.values.max()), 1e-9) * 1.1
    bottom = top + HEIGHT
    draw.text((LEFT * FINER, (top - 3) * FINER), plot.title, INK, font(13 * FINER), anchor="lb")
    for mark in ticks(0, highest, at_most=4):
        y = (bottom - mark / highest * HEIGHT) * FINER
        draw.line((LEFT * FINER, y, (LEFT + WIDTH) * FINER, y), GRID, FINER)
        draw.text(((LEFT - 6) * FINER, y), f"{mark:,g}", INK, font(12 * FINER), anchor="rm")
    x = (LEFT + across / across.max() * WIDTH) * FINER
    y = (bottom - plot.values / highest * HEIGHT) * FINER
    draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), DOT, 2 * FINER)
    draw.rectangle((LEFT * FINER, top * FINER, (LEFT + WIDTH) * FINER, bottom * FINER), outline=INK, width=FINER)
