"""Figures: positions of tiles, colours, and refusals."""

import numpy as np
import pytest
from PIL import Image

from ipmedgan_jax.evaluation import figures


@pytest.fixture
def image() -> np.ndarray:
    return np.linspace(-1, 1, 64 * 64, dtype=np.float32).reshape(64, 64)


def row(image: np.ndarray) -> figures.Row:
    inpainted = image.copy()
    inpainted[16:32, 24:40] += 0.6
    context = image.copy()
    context[16:32, 24:40] = -1
    caption = ("sub-01", "slice 3", "PSNR 20.1 dB")
    return figures.example_row(caption, image=image, context=context, inpainted=inpainted, hole=(16, 24, 16, 16))


def test_example_grid_has_a_tile_for_each_column_and_slice(image, tmp_path):
    figures.example_grid([row(image), row(image)], tmp_path / "new" / "examples.png", title="telea", tile=128)
    with Image.open(tmp_path / "new" / "examples.png") as picture:
        width, height = picture.size
        assert picture.mode == "RGB"
        assert picture.getpixel((0, 0)) == figures.BACKGROUND
    assert width > 4 * 128
    assert 2 * 128 < height < 3 * 128


def test_tiles_are_enlarged_without_touching_their_grey_levels_and_the_hole_is_outlined(image, tmp_path):
    figures.example_grid([row(image)], tmp_path / "examples.png", tile=128)
    with Image.open(tmp_path / "examples.png") as picture:
        pixels = np.asarray(picture)
    last = pixels[-128 - figures.MARGIN : -figures.MARGIN, -128 - figures.MARGIN : -figures.MARGIN]
    assert (last[64:, 64:][20:] == 0).all()  # no difference outside the hole
    assert (last[40, 60] == [255, 75, 50]).all()  # too bright by more than the largest difference shown
    assert (last[31, 47:81] == figures.OUTLINE).all()
    assert (last[:, :47] == 0).all()


def test_systems_stand_side_by_side(image, tmp_path):
    tiles = tuple((name, image) for name in ("image", "ipmedgan", "a_system_whose_name_is_too_long"))
    figures.example_grid([figures.Row(("sub-01",), tiles)], tmp_path / "figure.png", tile=128)
    with Image.open(tmp_path / "figure.png") as picture:
        pixels = np.asarray(picture)
    assert (pixels[:, -figures.MARGIN :] == figures.BACKGROUND).all()
    assert (pixels[-figures.MARGIN - 1, -figures.MARGIN - 128 : -figures.MARGIN] == 255).any()


def test_rows_with_other_columns_are_refused(image, tmp_path):
    other = figures.Row(("sub-02",), (("image", image),))
    with pytest.raises(ValueError, match=r"in every row, got \['image'\] in \('sub-02',\)"):
        figures.example_grid([row(image), other], tmp_path / "examples.png")


def test_differences_are_red_where_too_bright_and_blue_where_too_dark():
    image = np.zeros((1, 3), np.float32)
    step = figures.DIFFERENCE_RANGE / 127.5
    colours = figures.difference_colours(image + np.array([[2 * step, 0, -step]]), image)
    np.testing.assert_array_equal(colours, [[[255, 75, 50], [0, 0, 0], [40, 130, 255]]])


def test_image_grid_arranges_images_row_by_row():
    grid = figures.image_grid([np.full((4, 6), value) for value in (-1.0, 0.0, 3.0)], columns=2)
    assert (grid.shape, grid.dtype) == ((10, 14), np.uint8)
    assert grid[0, 0] == 0
    assert grid[0, 8] == 128
    assert grid[6, 0] == 255
    assert (grid[6:, 8:] == 0).all()
