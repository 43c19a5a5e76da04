"""Pictures of slices and their fills, drawn with Pillow: a run's examples, systems side by side, TensorBoard's images.

Images are float [H, W] in [-1, 1] and are shown as 0..255. Differences are float [H, W] in the unit of the images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ipmedgan_jax.core import files

BACKGROUND, INK, FAINT, OUTLINE = (17, 19, 24), (236, 238, 242), (150, 156, 168), (255, 176, 32)
"""RGB: page, titles and first lines of captions, further lines of captions, the hole's outline."""

DIFFERENCE_RANGE = 64
"""Difference, in grey levels of 0..255, that is drawn in full colour; fixed so that figures can be compared."""

DIFFERENCE_TITLE = f"difference (blue -{DIFFERENCE_RANGE} .. +{DIFFERENCE_RANGE} red)"

BLUE, RED = np.array([40.0, 130.0, 255.0]), np.array([255.0, 75.0, 50.0])
"""RGB where a fill is too dark and too bright by `DIFFERENCE_RANGE` grey levels or more."""

GAP, MARGIN = 8, 20
"""Pixels: gap between tiles, margin of the page."""


@dataclass(frozen=True)
class Row:
    """One row of a figure, for one slice: lines of the caption, (title, image) tiles, the hole [row, column, height, width].

    Tiles are grey [H, W] in [-1, 1] or colour [H, W, 3] uint8, all of one size.
    """

    caption: tuple[str, ...]
    tiles: tuple[tuple[str, np.ndarray], ...]
    hole: tuple[int, int, int, int] | None = None


def example_row(
    caption: Sequence[str],
    *,
    image: np.ndarray,
    context: np.ndarray,
    inpainted: np.ndarray,
    hole: tuple[int, int, int, int] | None = None,
) -> Row:
    """Returns a row of examples.png: the slice, its context, the inpainted image, and its difference from the slice."""
    tiles = (
        ("image", image),
        ("context", context),
        ("inpainted", inpainted),
        (DIFFERENCE_TITLE, difference_colours(inpainted, image)),
    )
    return Row(tuple(caption), tiles, hole)


def example_grid(rows: Sequence[Row], path: Path, *, title: str = "", tile: int = 256) -> None:
    """Writes a PNG with one row for each slice, tiles `tile` pixels high, and the tiles' titles above the columns.

    Raises ValueError unless all rows have the same titles.
    """
    titles = common_titles(rows)
    height, width = rows[0].tiles[0][1].shape[:2]
    tile_size = (round(tile * width / height), tile)
    small = font(14)
    caption_width = max(math.ceil(small.getlength(line)) for row in rows for line in (*row.caption, " "))
    left = MARGIN + caption_width + 2 * GAP
    top = MARGIN + (40 if title else 0) + 28
    page = Image.new(
        "RGB",
        (left + len(titles) * (tile_size[0] + GAP) - GAP + MARGIN, top + len(rows) * (tile + GAP) - GAP + MARGIN),
        BACKGROUND,
    )
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, MARGIN - 4), title, INK, font(22))
    for column, name in enumerate(titles):
        x = left + column * (tile_size[0] + GAP) + tile_size[0] / 2
        draw.text((x, top - 10), name, INK, fitting_font(name, 16, tile_size[0]), anchor="ms")
    for index, row in enumerate(rows):
        y = top + index * (tile + GAP)
        _draw_caption(draw, row.caption, (MARGIN, y + tile / 2), small)
        for column, (_, pixels) in enumerate(row.tiles):
            page.paste(draw_tile(pixels, tile_size, row.hole), (left + column * (tile_size[0] + GAP), y))
    write_png(page, path)


def image_grid(images: Sequence[np.ndarray], *, columns: int = 4) -> np.ndarray:
    """Arranges images [H, W] of one size row by row, 2 black pixels between them -> uint8 [H', W']."""
    height, width = images[0].shape
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    grid = np.zeros((rows * (height + 2) - 2, columns * (width + 2) - 2), np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        y, x = row * (height + 2), column * (width + 2)
        grid[y : y + height, x : x + width] = grey_levels(image)
    return grid


def save_image(pixels: np.ndarray, path: Path) -> None:
    """Writes uint8 pixels [H, W] or [H, W, 3] as a PNG; creates its folder."""
    write_png(Image.fromarray(pixels), path)


def write_png(picture: Image.Image, path: Path) -> None:
    """Writes a PNG atomically, in the place of a link too; creates its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_file(path) as unfinished:
        picture.save(unfinished, format="PNG")


def grey_levels(image: np.ndarray) -> np.ndarray:
    """[-1, 1] -> uint8 0..255; values outside are clipped."""
    return np.rint((np.clip(image, -1, 1) + 1) * 127.5).astype(np.uint8)


def difference_colours(inpainted: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Colours a fill's errors: red where too bright, blue where too dark, black where right; [H, W] -> uint8 [H, W, 3].

    Full colour stands for `DIFFERENCE_RANGE` grey levels of 0..255 or more.
    """
    share = np.clip((inpainted - image) * 127.5 / DIFFERENCE_RANGE, -1, 1)[..., None]
    return np.rint(np.where(share > 0, share * RED, -share * BLUE)).astype(np.uint8)


def common_titles(rows: Sequence[Row]) -> list[str]:
    """Returns the column titles. Raises ValueError unless all rows have the same."""
    titles = [name for name, _ in rows[0].tiles]
    for row in rows:
        found = [name for name, _ in row.tiles]
        if found != titles:
            raise ValueError(f"expected tiles {titles} in every row, got {found} in {row.caption}")
    return titles


def draw_tile(
    pixels: np.ndarray, size: tuple[int, int], hole: tuple[int, int, int, int] | None, *, outline: int = 1
) -> Image.Image:
    """Scales one image to `size` (width, height) and outlines the hole, `outline` pixels wide, just outside its pixels."""
    levels = pixels if pixels.dtype == np.uint8 else grey_levels(pixels)
    height, width = levels.shape[:2]
    resampling = Image.Resampling.NEAREST if size[1] % height == 0 else Image.Resampling.LANCZOS
    picture = Image.fromarray(levels).convert("RGB").resize(size, resampling)
    if hole is not None:
        row, column, rows, columns = hole
        across, down = size[0] / width, size[1] / height
        low, high = outline, outline - 1
        box = (column * across - low, row * down - low, (column + columns) * across + high, (row + rows) * down + high)
        ImageDraw.Draw(picture).rectangle(box, outline=OUTLINE, width=outline)
    return picture


def _draw_caption(
    draw: ImageDraw.ImageDraw, lines: Sequence[str], middle: tuple[float, float], font: ImageFont.FreeTypeFont
) -> None:
    """Draws lines of text, centred on the height of `middle`; the first line stands out."""
    x, y = middle
    for index, line in enumerate(lines):
        offset = (index - (len(lines) - 1) / 2) * 22
        draw.text((x, y + offset), line, INK if index == 0 else FAINT, font, anchor="lm")


def fitting_font(text: str, size: float, width: float) -> ImageFont.FreeTypeFont:
    """Returns the font of `size`, or of the smaller size at which `text` is `width` pixels wide."""
    return font(min(size, size * width / font(size).getlength(text)))


def font(size: float) -> ImageFont.FreeTypeFont:
    """Returns Pillow's own font; every wheel of Pillow has the FreeType that it needs."""
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size=size))
