"""A mask fills the voxels of its scan that it marks, on any pair of grids, or is refused with the reason."""

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation
from scipy.spatial.transform import Rotation

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import mask_files, scans
from ipmedgan_jax.imaging.settings import PreparationSettings
from tests.imaging.test_overlap import sampled
from tests.properties import property_test

SHAPE = (12, 10, 6)
SCANNER = np.array([[-0.9, 0, 0, 30], [0, 0.9, 0, -20], [0, 0, 3.0, 5], [0, 0, 0, 1.0]])


def moved(affine, mm):
    other = affine.copy()
    other[0, 3] += mm
    return other


def save(path, array, sform, qform=None, codes=(1, 4)):
    """Saves an array with these forms; `codes` are those of qform and sform."""
    image = nibabel.Nifti1Image(array, None)
    image.set_qform(sform if qform is None else qform, codes[0])
    image.set_sform(sform, codes[1])
    nibabel.save(image, path)
    return path


def scan_at(folder, affine, shape=SHAPE, **forms):
    array = np.random.default_rng(0).integers(0, 1000, shape).astype(np.int16)
    return scans.read_scan(save(folder / "scan.nii.gz", array, affine, **forms))


def marked(shape=SHAPE):
    mask = np.zeros(shape, np.uint8)
    mask[4:7, 3:6, 2:4] = 1
    return mask


def filled(folder, mask, affine, scan, match=None, **forms):
    """Returns the filled voxels in the order of the scan's file, and the warnings."""
    path = save(folder / "mask.nii.gz", mask, affine, **forms)
    found, warnings = mask_files.read_mask(path, scan, match=match)
    return scan.in_file_order(found), warnings


PLACES = st.builds(
    lambda order, signs, angles, edges: (
        Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ (np.eye(3)[order] * signs) * edges
    ),
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.sampled_from([(0, 0, 0), (0, 0, 12), (8, -20, 33)]),
    st.tuples(*[st.sampled_from([0.5, 1.0, 2.0, 4.0])] * 3),
)


@property_test
@given(place=PLACES, mask_place=PLACES, shape=st.tuples(*[st.integers(4, 9)] * 3), seed=st.integers(0, 10**6))
def test_all_voxels_that_a_mask_touches_are_filled_in_any_orientation(tmp_path_factory, place, mask_place, shape, seed):
    folder, rng = tmp_path_factory.mktemp("grids"), np.random.default_rng(seed)
    affine = nibabel.affines.from_matvec(place, rng.uniform(-20, 20, 3))
    middle = nibabel.affines.apply_affine(affine, (np.array(SHAPE) - 1) / 2)
    mask_affine = nibabel.affines.from_matvec(mask_place, middle - mask_place @ ((np.array(shape) - 1) / 2))
    mask = np.zeros(shape, np.uint8)
    mask[tuple(np.array(shape) // 2)] = 1
    mask[tuple(rng.integers(0, shape, (2, 3)).T)] = 1
    found, _ = filled(folder, mask, mask_affine, scan_at(folder, affine), match="position")
    expected = sampled(mask, np.linalg.solve(affine, mask_affine), SHAPE)
    assert not (expected & ~found).any()
    assert not (found & ~binary_dilation(expected, np.ones((3, 3, 3)))).any()


@pytest.mark.parametrize(
    ("mask_affine", "distance"),
    [
        (np.diag([-1.0, 1, 1, 1]), r"\d\d\.\d"),
        (moved(SCANNER, 12), "12.0"),
        (moved(SCANNER, 0.2), "0.2"),
    ],
)
def test_a_mask_of_the_scan_s_shape_that_lies_elsewhere_is_refused(tmp_path, mask_affine, distance):
    scan = scan_at(tmp_path, SCANNER)
    with pytest.raises(UserError, match=rf"up to {distance} mm away .* --match_mask=index .* --match_mask=position"):
        filled(tmp_path, marked(), mask_affine, scan)
    found, warnings = filled(tmp_path, marked(), mask_affine, scan, match="index")
    np.testing.assert_array_equal(found, marked() > 0)
    assert not warnings


@pytest.mark.parametrize("mask_affine", [np.eye(4), SCANNER[[1, 0, 2, 3]], moved(SCANNER, 5) * [[-1], [1], [1], [1]]])
def test_the_index_is_not_offered_for_a_mask_of_other_axes_and_is_warned_of(tmp_path, mask_affine):
    scan = scan_at(tmp_path, SCANNER)
    with pytest.raises(UserError, match=r"mm away from the scan's; their axes point to \w+ and LAS; give --match_mask=pos"):
        filled(tmp_path, marked(), mask_affine, scan)
    _, (warning,) = filled(tmp_path, marked(), mask_affine, scan, match="index")
    assert "by the index, it may be mirrored" in warning


@pytest.mark.parametrize("mm", [0.04, 0.1])
def test_rounded_positions_of_dicom_are_the_same_place_whatever_the_order_of_rows(tmp_path, mm):
    scan = scan_at(tmp_path, SCANNER)
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(marked(), moved(SCANNER, mm)))
    found, warnings = filled(tmp_path, np.asarray(image.dataobj), image.affine, scan)
    np.testing.assert_array_equal(found, marked() > 0)
    assert not warnings
    found, _ = filled(tmp_path, marked((12, 10, 5)), moved(SCANNER, mm), scan)  # another grid stays one
    assert found.sum() > marked().sum()


def test_tiny_voxels_are_not_the_same_place_after_a_shift_of_the_rounding(tmp_path):
    tiny = SCANNER @ np.diag([0.2, 0.2, 0.2, 1])
    with pytest.raises(UserError, match=r"up to 0\.1 mm away"):
        filled(tmp_path, marked(), moved(tiny, 0.06), scan_at(tmp_path, tiny))


def test_an_overridden_mask_goes_by_its_millimetres(tmp_path):
    scan = scan_at(tmp_path, SCANNER)
    found, warnings = filled(tmp_path, marked(), moved(SCANNER, -0.9), scan, match="position")  # one voxel to the left
    np.testing.assert_array_equal(found, np.roll(marked() > 0, 1, axis=0))
    assert len(warnings) == 1
    with pytest.raises(UserError, match="--match_mask=index needs one shape"):
        filled(tmp_path, marked((12, 10, 5)), SCANNER, scan, match="index")
    with pytest.raises(UserError, match="not a mask of that volume; --match_mask=position"):
        filled(tmp_path, marked((12, 10, 5)), SCANNER, scan)
    found, _ = filled(tmp_path, marked((12, 10, 5)), SCANNER, scan, match="position")
    np.testing.assert_array_equal(found, marked() > 0)


@pytest.mark.parametrize("match", [None, "position", "index"])
def test_the_same_place_in_another_order_of_axes_is_no_other_place(tmp_path, match):
    scan = scan_at(tmp_path, SCANNER)
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(marked(), SCANNER))
    flipped = filled(tmp_path, np.asarray(image.dataobj), image.affine, scan, match)[0]
    np.testing.assert_array_equal(flipped, marked()[::-1] > 0 if match == "index" else marked() > 0)


@pytest.mark.parametrize("mm", [0.01, 12.0])
def test_forms_that_disagree_are_named_with_their_distance(tmp_path, mm):
    scan = scan_at(tmp_path, moved(SCANNER, mm), qform=SCANNER)
    expected = [] if mm < 0.1 else ["mask.nii.gz: its qform and its sform lie up to 12.0 mm apart; the sform is used"]
    found, warnings = filled(tmp_path, marked(), moved(SCANNER, mm), scan, qform=SCANNER)
    np.testing.assert_array_equal(found, marked() > 0)
    assert [warning.rpartition("/")[2] for warning in warnings] == expected
    if expected:  # the mask was drawn by the qform of the scan
        with pytest.raises(UserError, match=r"12\.0 mm away .*scan.nii.gz: its qform and its sform lie up to 12\.0 mm apart"):
            filled(tmp_path, marked(), SCANNER, scan)


def test_a_qform_that_is_no_rotation_is_named(tmp_path):
    path = save(tmp_path / "mask.nii", marked(), SCANNER)
    content = bytearray(path.read_bytes())
    content[256:268] = np.full(3, 0.9, np.float32).tobytes()  # the quaternion
    path.write_bytes(content)
    _, warnings = mask_files.read_mask(path, scan_at(tmp_path, SCANNER))
    assert len(warnings) == 1
    assert "its qform is no rotation" in warnings[0]


def test_nothing_to_fill_and_a_mask_elsewhere_are_told_apart(tmp_path):
    scan = scan_at(tmp_path, SCANNER)
    with pytest.raises(mask_files.EmptyMaskError, match="is empty, every voxel is 0"):
        filled(tmp_path, marked() * 0, SCANNER, scan)
    path = save(tmp_path / "mask.nii.gz", marked(), SCANNER)
    with pytest.raises(mask_files.EmptyMaskError, match="has no label 4; its labels are 1") as absent:
        mask_files.read_mask(path, scan, [4])
    assert len(absent.value.warnings) == 1
    with pytest.raises(UserError, match=r"lies outside scan\.nii\.gz: none of its 18 masked voxels") as outside:
        filled(tmp_path, marked((12, 10, 5)), moved(SCANNER, 500), scan)
    assert not isinstance(outside.value, mask_files.EmptyMaskError)


def test_a_position_needs_a_form(tmp_path):
    scan = scan_at(tmp_path, SCANNER)
    with pytest.raises(UserError, match="--match_mask=position needs one in both"):
        filled(tmp_path, marked(), SCANNER, scan, match="position", codes=(0, 0))
    found, warnings = filled(tmp_path, marked(), SCANNER, scan, codes=(0, 0))
    np.testing.assert_array_equal(found, marked() > 0)
    assert "matched by their order" in warnings[0]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (marked() * np.float32(0.4), "hold values such as 0.4; a mask has whole numbers"),
        (marked() + (np.arange(6) == 5).astype(np.uint8) * 3, "holds the values 1, 3: make a mask of 0 and 1"),
        (marked()[..., None].repeat(2, -1), "a mask is 3-D"),
        (marked()[..., 0], "a mask is 3-D"),
        (np.full(SHAPE, np.nan, np.float32), "NaN or infinite"),
    ],
)
def test_shapes_of_lesions_have_the_checks_of_masks(tmp_path, mask, message):
    path = save(tmp_path / "sub-1_mask.nii.gz", mask, SCANNER)
    settings = PreparationSettings("mri", 32, "scale", 0.0)
    with pytest.raises(UserError, match=message):
        list(mask_files.parts(path, settings, at_least=1))
    save(path, marked() * np.float32(1.0000153), SCANNER)
    assert len(list(mask_files.parts(path, settings, at_least=1))) == 2
