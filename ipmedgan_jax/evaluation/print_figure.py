"""The figure of fills for print: black on white, 300 dots an inch, each hole enlarged below its image; as PDF."""

import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ipmedgan_jax.core import files
from ipmedgan_jax.evaluation.figures import Row, common_titles, draw_tile, fitting_font, font

DPI = 300
"""Dots an inch."""

PAGE, INK = (255, 255, 255), (0, 0, 0)
"""RGB: page, text."""

TILE, GAP, LINE, TYPE = DPI, 12, 44, 33
"""Pixels: side of a tile (an inch), gap between tiles, height of a line of text, height of the type (8 pt)."""

PER_LINE = 6
"""Images side by side; with the captions they are as wide as a page's text."""

AROUND = 0.25
"""Surroundings shown with the enlarged hole on each side, as a share of the hole's side."""


def print_figure(rows: Sequence[Row], path: Path) -> None:
    """Writes a PDF of one page: for each row its images, titles above and enlarged holes below, in lines of `PER_LINE`.

    Raises ValueError unless all rows have the same titles.
    """
    titles = common_titles(rows)
    caption_width = max(math.ceil(font(TYPE).getlength(line)) for row in rows for line in row.caption) + GAP
    lines = [range(start, min(start + PER_LINE, len(titles))) for start in range(0, len(titles), PER_LINE)]
    width = caption_width + min(len(titles), PER_LINE) * (TILE + GAP) - GAP
    height = LINE + 2 * (TILE + GAP)
    page = Image.new("RGB", (width, len(rows) * len(lines) * height - GAP), PAGE)
    top = 0
    for row in rows:
        for number, columns in enumerate(lines):
            if number == 0:
                for i, text in enumerate(row.caption):
                    ImageDraw.Draw(page).text((0, top + LINE * (i + 1.5)), text, INK, font(TYPE), anchor="lm")
            for place, column in enumerate(columns):
                _draw_pair(page, row, column, (caption_width + place * (TILE + GAP), top))
            top += height
    write_pdf(page, path)


def _draw_pair(page: Image.Image, row: Row, column: int, corner: tuple[int, int]) -> None:
    """Draws a title, the image below it and the enlarged hole below that; `corner` is the left upper one, in pixels."""
    title, pixels = row.tiles[column]
    left, top = corner
    type_ = fitting_font(title, TYPE, TILE)
    ImageDraw.Draw(page).text((left + TILE / 2, top + LINE - 10), title, INK, type_, anchor="ms")
    page.paste(draw_tile(pixels, (TILE, TILE), row.hole, outline=3), (left, top + LINE))
    if row.hole is not None:
        crop, hole = enlarged(pixels, row.hole)
        page.paste(draw_tile(crop, (TILE, TILE), hole, outline=3), (left, top + LINE + TILE + GAP))


def enlarged(pixels: np.ndarray, hole: tuple[int, int, int, int]) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Cuts a square with the hole and `AROUND` of its side around it, within the image; returns it and the hole in it."""
    row, column, height, width = hole
    top, left, side = square_around(hole, pixels.shape[:2])
    return pixels[top : top + side, left : left + side], (row - top, column - left, height, width)


def square_around(hole: tuple[int, int, int, int], shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Returns row, column and side of that square in an image of `shape` [H, W]."""
    row, column, height, width = hole
    side = min(round(max(height, width) * (1 + 2 * AROUND)), *shape)
    top = int(np.clip(row + (height - side) // 2, 0, shape[0] - side))
    left = int(np.clip(column + (width - side) // 2, 0, shape[1] - side))
    return top, left, side


def write_pdf(page: Image.Image, path: Path) -> None:
    """Writes an RGB image as a PDF of one page at `DPI`, without loss.

    Pillow would write JPEG into it, which changes grey levels and blurs the type.
    """
    width, height = (72 * length / DPI for length in page.size)
    image = zlib.compress(page.tobytes(), 9)
    contents = f"{width:.3f} 0 0 {height:.3f} 0 0 cm /Page Do".encode()
    form = f"/Type /XObject /Subtype /Image /Width {page.width} /Height {page.height} /ColorSpace /DeviceRGB"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width:.3f} {height:.3f}] /Contents 4 0 R "
        f"/Resources << /XObject << /Page 5 0 R >> >> >>".encode(),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(contents), contents),
        f"<< {form} /BitsPerComponent 8 /Filter /FlateDecode /Length {len(image)} >>\nstream\n".encode()
        + image
        + b"\nendstream",
    ]
    document, places = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(document))
        document += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    head = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    tail = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(document)}\n%%EOF\n"
    with files.atomic_file(path) as unfinished:
        unfinished.write_bytes(document + head.encode() + tail.encode())
