"""Holes of any shape lie in their box, have the requested sizes, and are the same on host and device."""

import numpy as np
import pytest

from ipmedgan_jax.data import hole_shapes, pipeline
from ipmedgan_jax.imaging import mask_files
from ipmedgan_jax.imaging.settings import PreparationSettings
from ipmedgan_jax.systems.interface import Batch
from tests.inpainting.test_scan import write

SIZE, SMALLEST = 24, 6
LESION = np.array([[0, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0]], bool)


def settings(*kinds, shares=(1.0,), size=SIZE):
    return hole_shapes.ShapeSettings(kinds, shares, size, SMALLEST, [LESION, np.ones((50, 40), bool)])


def drawn(kind, count=200):
    rng = np.random.default_rng(0)
    return [hole_shapes.draw(rng, settings(kind)) for _ in range(count)]


def extents(shape):
    return [int(np.ptp(where)) + 1 for where in np.nonzero(shape)]


@pytest.mark.parametrize("kind", hole_shapes.KINDS)
def test_every_shape_lies_in_its_box_and_shapes_vary(kind):
    found = drawn(kind)
    assert all(shape.shape == (SIZE, SIZE) and shape.dtype == bool and shape.any() for shape in found)
    assert len({shape.tobytes() for shape in found}) > (100 if kind != "square" else 0)
    if kind != "square":
        anywhere = np.any(found, axis=0)
        assert anywhere.any(0).all()  # shapes reach every row and column of the box
        assert anywhere.any(1).all()


@pytest.mark.parametrize("kind", ["smaller_square", "rectangle", "ellipse", "blob"])
def test_sizes_range_from_the_smallest_to_the_complete_box(kind):
    longest = [max(extents(shape)) for shape in drawn(kind)]
    assert min(longest) <= SMALLEST + 4
    assert max(longest) >= SIZE - 2
    if kind in ("smaller_square", "rectangle"):
        assert min(min(extents(shape)) for shape in drawn(kind)) >= SMALLEST


def test_the_paper_s_hole_is_the_complete_box():
    assert all(shape.all() for shape in drawn("square"))


def test_real_lesions_keep_their_form_and_are_shrunk_to_fit():
    found = drawn("lesion")
    filled = [shape.sum() / np.prod(extents(shape)) for shape in found]
    assert {max(extents(shape)) == SIZE for shape in found} == {True, False}  # the large one fills the box
    assert min(filled) == pytest.approx(LESION.mean(), abs=0.2)


def test_kinds_are_drawn_by_their_shares():
    rng = np.random.default_rng(0)
    both = settings("square", "ellipse", shares=(3.0, 1.0))
    share_of_squares = np.mean([hole_shapes.draw(rng, both).all() for _ in range(2000)])
    assert share_of_squares == pytest.approx(0.75, abs=0.03)


def test_training_batches_have_hole_masks_only_if_holes_are_not_complete_boxes(phantom_data):
    square = pipeline.HoleSettings(16, -2 / 3, 0.0, 0.5, 0)
    other = pipeline.HoleSettings(16, -2 / 3, 0.0, 0.5, 0, settings("ellipse", size=16))
    for holes, keys in ((square, {"image", "hole"}), (other, {"image", "hole", "hole_mask"})):
        batches = pipeline.training_batches(phantom_data, holes, batch_size=4, seed=0, threads=1, prefetch=2)
        batch = next(batches)
        batches.close()
        assert batch.keys() == keys
    masks = np.asarray(Batch(**batch).mask)[..., 0]
    for mask, hole, hole_mask in zip(masks, batch["hole"], batch["hole_mask"], strict=True):
        row, column, height, width = hole
        np.testing.assert_array_equal(mask[row : row + height, column : column + width], hole_mask)
        assert mask.sum() == hole_mask.sum() > 0


def test_lesions_of_a_mask_file_are_in_the_network_s_pixels(tmp_path):
    array = np.zeros((64, 64, 3))
    array[10:30, 40:50, 1] = 1
    array[50:52, 50:52, 2] = 1  # too small
    write(tmp_path / "mask.nii.gz", array, "LPI", np.uint8)
    found = list(mask_files.parts(tmp_path / "mask.nii.gz", PreparationSettings("mri", 32, "scale", 0.0), at_least=3))
    assert [component.shape for component in found] == [(5, 10)]


def test_lesions_keep_their_proportions_in_millimetres(tmp_path):
    array = np.zeros((64, 64, 3))
    array[10:30, 40:50, 1] = 1  # 20 voxels of 0.5 mm along X, 10 of 2 mm along Y
    write(tmp_path / "mask.nii.gz", array, "LPI", np.uint8, spacing=(0.5, 2.0, 5.0))
    found = list(mask_files.parts(tmp_path / "mask.nii.gz", PreparationSettings("mri", 32, resample_mm=1.0), at_least=3))
    assert [component.shape for component in found] == [(20, 10)]
