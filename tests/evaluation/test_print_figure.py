"""The figure for print: a PDF without loss, white, with enlarged holes."""

import re
import zlib

import numpy as np
import pytest
from PIL import Image

from ipmedgan_jax.evaluation import figures
from ipmedgan_jax.evaluation.print_figure import DPI, GAP, LINE, PER_LINE, TILE, enlarged, print_figure, write_pdf


def read_pdf(path):
    """Returns the pixels [H, W, 3] of the page and its width and height in points, after a check of every object's place."""
    document = path.read_bytes()
    start = int(re.search(rb"startxref\n(\d+)\n%%EOF\n$", document)[1])
    assert document[start : start + 4] == b"xref"
    for number, place in enumerate(re.findall(rb"(\d{10}) 00000 n ", document), 1):
        assert document[int(place) :].startswith(b"%d 0 obj" % number)
    width, height, length = (
        int(re.search(rb"/%s (\d+)" % name, document)[1]) for name in (b"Width", b"Height", b"FlateDecode /Length")
    )
    content = document[document.index(b"stream\n", document.index(b"/FlateDecode")) + 7 :][:length]
    box = re.search(rb"MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", document)
    return np.frombuffer(zlib.decompress(content), np.uint8).reshape(height, width, 3), (float(box[1]), float(box[2]))


def test_a_pdf_has_the_pixels_of_the_page_at_300_dots_an_inch(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (75, 150, 3), dtype=np.uint8)
    write_pdf(Image.fromarray(pixels), tmp_path / "page.pdf")
    found, size = read_pdf(tmp_path / "page.pdf")
    np.testing.assert_array_equal(found, pixels)
    assert size == (72 * 150 / DPI, 72 * 75 / DPI)


@pytest.mark.parametrize("hole", [(20, 30, 16, 16), (0, 0, 16, 16), (48, 40, 16, 24), (0, 0, 64, 64)])
def test_the_enlarged_hole_is_whole_and_square(hole):
    image = np.arange(64.0 * 64).reshape(64, 64)
    crop, (row, column, height, width) = enlarged(image, hole)
    assert crop.shape[0] == crop.shape[1] == min(64, round(1.5 * max(hole[2:])))
    np.testing.assert_array_equal(
        crop[row : row + height, column : column + width],
        image[hole[0] : hole[0] + hole[2], hole[1] : hole[1] + hole[3]],
    )


@pytest.mark.parametrize("count", [3, PER_LINE + 1])
def test_every_image_has_its_enlarged_hole_below_it_on_white(count, tmp_path):
    tiles = tuple((f"t{i}", np.full((32, 32), -1 + i / 4, np.float32)) for i in range(count))
    rows = [figures.Row(("sub-01", "slice 3"), tiles, (8, 8, 16, 16))] * 2
    print_figure(rows, tmp_path / "figure.pdf")
    pixels, _ = read_pdf(tmp_path / "figure.pdf")
    lines = -(-count // PER_LINE)
    height = LINE + 2 * (TILE + GAP)
    assert len(pixels) == 2 * lines * height - GAP
    left = pixels.shape[1] - min(count, PER_LINE) * (TILE + GAP) + GAP
    for column in range(count):
        x = left + column % PER_LINE * (TILE + GAP) + TILE // 2
        y = column // PER_LINE * height + LINE + TILE // 2
        expected = figures.grey_levels(tiles[column][1])[0, 0]
        assert (pixels[y, x] == expected).all()
        assert (pixels[y + TILE + GAP, x] == expected).all()
    assert (pixels[LINE + TILE : LINE + TILE + GAP] == 255).all()
    assert (pixels == figures.OUTLINE).all(-1).any()
