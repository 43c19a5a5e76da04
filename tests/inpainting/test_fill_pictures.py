"""Pictures of the report of fills: upright for any orientation, square in millimetres, alike outside the mask."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion

from ipmedgan_jax.imaging import scans
from ipmedgan_jax.inpainting import fill_pictures, report_places

SHAPE = (24, 30, 10)


def scan_array():
    """Brighter to the subject's right, front and top; a corner marks right, front, top."""
    x, y, z = np.indices(SHAPE)
    return (100 + 10 * x + 6 * y + 20 * z).astype(np.float32)


def hole():
    mask = np.zeros(SHAPE, bool)
    mask[14:20, 18:26, 6:9] = True
    mask[14:20, 18:26, 7][3:, 3:] = False
    mask[19, :, 6] = False
    return mask


def scan_of(tmp_path, orientation="RAS", degrees=0.0, spacing=(1.0, 1.0, 3.0)):
    """Writes the scan with its axes in an order, rotated about the vertical axis, and reads it."""
    turn = np.eye(4)
    angle = np.deg2rad(degrees)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    image = nibabel.Nifti1Image(scan_array(), turn @ np.diag([*spacing, 1]))
    axes = nibabel.orientations.axcodes2ornt(orientation)
    image = image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.orientations.axcodes2ornt("RAS"), axes))
    nibabel.save(image, tmp_path / "x.nii.gz")
    return scans.read_scan(tmp_path / "x.nii.gz")


def draw(scan, filled=None):
    array = scan.volume.array
    return fill_pictures.draw(scan.volume, hole(), np.where(hole(), 0, array) if filled is None else filled)


@pytest.mark.parametrize(("orientation", "degrees"), [("LPI", 0), ("ASR", 0), ("PIL", 12), ("RAS", 12)])
def test_every_orientation_of_the_file_gives_the_same_picture(tmp_path, orientation, degrees):
    expected, found = draw(scan_of(tmp_path)), draw(scan_of(tmp_path, orientation, degrees))
    assert found.planes == expected.planes
    assert found.left_out == expected.left_out == []
    for name, picture in expected.layers.items():
        difference = np.abs(np.asarray(picture, int) - np.asarray(found.layers[name], int))
        assert difference.max() <= (0 if degrees == 0 else 1), name


def test_slices_are_upright_in_radiological_display(tmp_path):
    pictures = draw(scan_of(tmp_path))
    before = np.asarray(pictures.layers["before"], int)
    for plane in pictures.planes:
        left, right, top, bottom = plane["letters"]
        part = before[: plane["height"], plane["left"] : plane["left"] + plane["width"]]
        for brighter, darker, first, second in (
            (left, right, part[:, 0], part[:, -1]),
            (top, bottom, part[0], part[-1]),
        ):
            assert brighter + darker in ("RL", "AP", "SI")
            assert first.mean() > second.mean(), plane["plane"]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 3.0), (0.5, 1.0, 1.0), (4.0, 0.8, 0.8)])
def test_pixels_are_square_in_millimetres(tmp_path, spacing):
    edges = dict(zip("XYZ", np.array(SHAPE) * spacing, strict=True))
    for plane in draw(scan_of(tmp_path, spacing=spacing)).planes:
        width, height = (edges[axis] for axis in {"axial": "XY", "coronal": "XZ", "sagittal": "YZ"}[plane["plane"]])
        assert plane["width"] / plane["height"] == pytest.approx(width / height, rel=0.05)


def test_a_large_slice_is_reduced():
    volume = scans.Volume(None, np.random.default_rng(0).random((600, 500, 2), np.float32), (1.0, 1.0, 1.0), "RAS", False)
    mask = np.zeros(volume.array.shape, bool)
    mask[100, 100, 0] = True
    planes = fill_pictures.draw(volume, mask, volume.array).planes
    assert [plane["plane"] for plane in planes] == ["axial"]
    assert max(max(plane["width"], plane["height"]) for plane in planes) == fill_pictures.LONGEST
    assert planes[0]["box"][2] > planes[0]["box"][0]


def test_the_slice_with_most_masked_voxels_is_shown_with_its_box(tmp_path):
    axial, *_ = draw(scan_of(tmp_path)).planes
    assert (axial["at"][2], axial["slices"]) == (8, 10)  # of slices 6, 7 and 8 of the hole, the whole one
    rows, columns = slice(30 - 26, 30 - 18), slice(24 - 20, 24 - 14)
    assert axial["box"] == [columns.start, rows.start, columns.stop, rows.stop]


def test_only_masked_pixels_are_drawn_over_the_scan(tmp_path):
    pictures = draw(scan_of(tmp_path))
    axial = pictures.planes[0]
    alpha, difference = (
        np.asarray(pictures.layers[name])[: axial["height"], : axial["width"], 3] for name in ("filled", "difference")
    )
    outline = np.asarray(pictures.layers["outline"])[: 2 * axial["height"], : 2 * axial["width"], 3]
    masked = hole()[::-1, ::-1, 8].T
    np.testing.assert_array_equal(alpha > 0, masked)
    assert not difference[~masked].any()
    assert difference[masked].all()
    assert not outline[binary_erosion(masked).repeat(2, 0).repeat(2, 1)].any()
    assert not outline[~binary_dilation(masked).repeat(2, 0).repeat(2, 1)].any()
    assert outline.any()


def test_masked_values_that_are_no_numbers_are_drawn_black(tmp_path):
    scan = scan_of(tmp_path)
    scan.volume.array[hole()] = np.nan
    pictures = draw(scan, np.nan_to_num(scan.volume.array, nan=300.0))
    axial = pictures.planes[0]
    before = np.asarray(pictures.layers["before"])[: axial["height"], : axial["width"]]
    assert not before[hole()[::-1, ::-1, 8].T].any()


def test_a_scan_without_contrast_around_the_mask_is_drawn():
    array = np.zeros((8, 8, 3), np.float32)
    mask = np.zeros(array.shape, bool)
    mask[2:4, 2:4, 1] = True
    array[mask] = 5
    volume = scans.Volume(None, array, (1.0, 1.0, 1.0), "RAS", False)
    assert fill_pictures.draw(volume, mask, np.zeros_like(array)).size[1] == 8


@pytest.mark.parametrize(("orientation", "degrees"), [("RAS", 0), ("LPI", 0), ("ASR", 0), ("PIL", 12)])
def test_a_place_is_that_of_the_file(tmp_path, orientation, degrees):
    scan = scan_of(tmp_path, orientation, degrees)
    image = nibabel.load(tmp_path / "x.nii.gz")
    for plane in draw(scan).planes:
        place = report_places.with_place(plane, scan)
        assert hole()[plane["at"]]
        assert image.get_fdata()[tuple(place["voxel"])] == scan_array()[plane["at"]]
        signs = {"R": 1, "A": 1, "S": 1, "L": -1, "P": -1, "I": -1}
        mm = [signs[word[0]] * float(word[2:]) for word in place["mm"]]
        np.testing.assert_allclose(mm, image.affine[:3] @ [*place["voxel"], 1], atol=0.051)


def test_a_scan_without_a_position_has_no_millimetres(tmp_path):
    image = nibabel.Nifti1Image(scan_array(), None)
    image.header.set_qform(None, 0)
    image.header.set_sform(None, 0)
    nibabel.save(image, tmp_path / "x.nii.gz")
    scan = scans.read_scan(tmp_path / "x.nii.gz")
    place = report_places.with_place(draw(scan).planes[0], scan)
    assert (place["mm"], len(place["voxel"])) == ([], 3)


@pytest.mark.parametrize(("shape", "shown"), [((24, 30, 1), "axial"), ((1, 30, 30), "sagittal"), ((4, 200, 4), "axial")])
def test_planes_in_which_a_scan_is_thin_are_left_out(shape, shown):
    mask = np.zeros(shape, bool)
    mask[tuple(length // 2 for length in shape)] = True
    volume = scans.Volume(None, np.random.default_rng(0).random(shape, np.float32), (1.0, 1.0, 1.0), "RAS", False)
    pictures = fill_pictures.draw(volume, mask, volume.array)
    planes = [plane["plane"] for plane in pictures.planes]
    assert shown in planes or shape == (4, 200, 4)
    assert sorted([*planes, *pictures.left_out]) == ["axial", "coronal", "sagittal"]
    assert len(planes) == 1


def test_the_shown_intensities_are_those_of_the_head_even_if_most_of_it_is_masked():
    head = np.zeros((40, 40, 20), bool)
    head[10:30, 10:30, 3:17] = True
    array = (np.abs(np.random.default_rng(0).normal(0, 8, head.shape)) + head * 400).astype(np.float32)
    most, few = head.copy(), np.zeros_like(head)
    most[:, :, 16] = False
    few[15:20, 15:20, 8] = True
    volume = scans.Volume(None, np.where(head, np.nan, array), (1.0, 1.0, 1.0), "RAS", False)
    for mask, fill in ((head, array), (most, array), (few, np.where(few, 4000, array))):
        low, high = fill_pictures._shown_window(replace(volume, array=np.where(mask, np.nan, array)), mask, fill)
        assert low < 20
        assert 350 < high < 500
