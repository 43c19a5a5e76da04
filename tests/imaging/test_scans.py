"""Reading, geometry and intensity of volumes."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import geometry, mask_files, nifti, scans
from tests.properties import property_test

SHARED = Path(__file__).parents[3] / "shared" / "data"
MRI_WINDOW = {"window_hu": (-1000, 2000), "percentiles": (0.5, 99.5), "foreground_level": 0.05}


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def ramp(shape=(6, 5, 4)) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


def volume_of(array: np.ndarray, spacing_mm=(1.0, 1.0, 1.0)) -> scans.Volume:
    return scans.Volume(Path("made.nii"), array.astype(np.float32), spacing_mm, "RAS", True)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PSR", "SAL", "IPR"])
def test_every_orientation_of_a_volume_gives_the_same_slices(tmp_path, codes):
    image = nibabel.Nifti1Image(ramp(), np.diag([1.0, 2.0, 3.0, 1.0]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
    )
    nibabel.save(image.as_reoriented(turn), tmp_path / "v.nii.gz")
    volume = scans.read_volume(tmp_path / "v.nii.gz")
    assert (volume.orientation, volume.integer) == (codes, True)
    np.testing.assert_allclose(volume.spacing_mm, (1, 2, 3))
    np.testing.assert_array_equal(volume.array, ramp())


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (ramp((6, 20)), r"shape \(6, 20\), a 3-D volume is needed"),
        (ramp((2, 3, 4, 5)), "a 3-D volume is needed"),
        (np.full((3, 3, 3), 7, np.int16), "every voxel is 7"),
        (np.array([[[1, np.nan, np.inf]]], np.float32), "2 of its 3 voxels are NaN or infinite"),
        (np.ones((2, 2, 2), np.complex64), "not one number each"),
        (np.ones((2, 0, 2), np.int16), "empty axis"),
    ],
)
def test_a_file_that_is_no_volume_is_refused(tmp_path, array, message):
    with pytest.raises(UserError, match=message):
        scans.read_volume(save(tmp_path / "v.nii", array))


def test_a_missing_a_damaged_and_a_foreign_file_are_refused(tmp_path):
    with pytest.raises(UserError, match="not found"):
        scans.read_volume(tmp_path / "v.nii.gz")
    path = save(tmp_path / "v.nii.gz", np.random.default_rng(0).integers(0, 999, (20, 20, 20)).astype(np.int16))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match="not a readable NIfTI file"):
        scans.read_volume(path)
    path.write_text("not gzip")
    with pytest.raises(UserError, match="not a readable NIfTI file"):
        scans.read_volume(path)
    nibabel.save(nibabel.MGHImage(np.ones((2, 2, 2), np.float32), np.eye(4)), tmp_path / "v.mgz")
    with pytest.raises(UserError, match="it has no NIfTI header"):
        scans.read_volume(tmp_path / "v.mgz")


@pytest.mark.parametrize("spacing", [0.0, -2.0, np.nan])
def test_a_bad_spacing_in_the_header_is_refused(tmp_path, spacing):
    path = save(tmp_path / "v.nii", ramp())
    data = bytearray(path.read_bytes())
    data[80:84] = np.float32(spacing).tobytes()  # pixdim[1]
    path.write_bytes(data)
    with pytest.raises(UserError, match="the spacing in its header is"):
        scans.read_volume(path)


def affine_of(codes: str, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """An affine along the axes of `codes` that puts the first voxel at (-90, 126, -72) mm."""
    axes = nibabel.orientations.axcodes2ornt(codes)
    affine = nibabel.orientations.inv_ornt_aff(axes, (1, 1, 1)) @ np.diag([*spacing_mm, 1])
    affine[:3, 3] = (-90, 126, -72)
    return affine


@pytest.mark.parametrize(("unit", "mm"), [("meter", 1000.0), ("micron", 0.001), ("mm", 1.0), ("unknown", 1.0)])
@property_test
@given(
    image_type=st.sampled_from([nibabel.Nifti1Image, nibabel.Nifti2Image]),
    order=st.sampled_from("<>"),
    forms=st.sampled_from(["sform", "qform", "both", "neither"]),
    codes=st.sampled_from(["RAS", "LPS", "PSR", "SAL"]),
    spacing=st.tuples(*[st.floats(0.3, 5)] * 3),
    time_unit=st.sampled_from(["unknown", "msec"]),
)
def test_every_unit_of_length_is_read_as_millimetres(
    tmp_path_factory, unit, mm, image_type, order, forms, codes, spacing, time_unit
):
    affine, in_mm = affine_of(codes, spacing), np.diag([mm, mm, mm, 1.0])
    stored = np.linalg.inv(in_mm) @ affine
    image = image_type(ramp(), stored, image_type.header_class(endianness=order))
    for name, set_form in (("sform", image.set_sform), ("qform", image.set_qform)):
        set_form(stored, 1 if forms in (name, "both") else 0)
    image.header.set_xyzt_units(unit, time_unit)
    path = tmp_path_factory.getbasetemp() / "unit.nii"
    nibabel.save(image, path)
    file = nifti.read(path)
    assert file.content == path.read_bytes()
    if forms == "neither":
        affine = affine_of("LAS", spacing)  # the default, around the origin
        affine[:3, 3] = file.affine[:3, 3]
        assert np.abs(file.affine[:3, 3]).max() < 3 * max(spacing)
    np.testing.assert_allclose(file.affine, affine, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(file.header.get_zooms(), spacing, rtol=1e-5)
    np.testing.assert_allclose(np.sort(scans.read_volume(path).spacing_mm), np.sort(spacing), rtol=1e-4)


@pytest.mark.parametrize("of_scan", ["mm", "meter", "micron"])
@pytest.mark.parametrize("of_mask", ["mm", "meter", "micron"])
def test_a_mask_lies_where_it_lay_whatever_the_units_of_both(tmp_path, of_scan, of_mask):
    mask = np.zeros((12, 10, 8), np.uint8)
    mask[3:6, 2:8, 4:6] = 1
    paths = []
    for unit, name, array in ((of_scan, "scan", ramp(mask.shape)), (of_mask, "mask", mask[:, ::-1])):
        in_mm = np.diag([*[{"mm": 1, "meter": 1000, "micron": 0.001}[unit]] * 3, 1])
        affine = np.diag([1.0, -2 if name == "mask" else 2, 3, 1])
        affine[1, 3] = 2 * 9 if name == "mask" else 0
        image = nibabel.Nifti1Image(array, np.linalg.inv(in_mm) @ affine)
        image.header.set_xyzt_units(unit)
        nibabel.save(image, tmp_path / f"{name}.nii")
        paths.append(tmp_path / f"{name}.nii")
    found, notes = mask_files.read_mask(paths[1], scans.read_scan(paths[0]))
    np.testing.assert_array_equal(found, mask > 0)
    assert not notes


def test_a_written_array_says_that_it_is_in_millimetres(tmp_path):
    nifti.write_array(tmp_path / "v.nii", ramp(), np.diag([1.0, 2.0, 3.0, 1.0]))
    assert nibabel.load(tmp_path / "v.nii").header.get_xyzt_units()[0] == "mm"


WRONG_UNITS = [("unknown", 0.001), ("unknown", 1000), ("meter", 1), ("micron", 1), ("mm", 0.001)]


@pytest.mark.parametrize(("unit", "size"), WRONG_UNITS)
def test_a_wrong_unit_of_length_is_named(tmp_path, unit, size):
    image = nibabel.Nifti1Image(ramp((100, 100, 40)), np.diag([size, size, 3 * size, 1]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "v.nii")
    with pytest.raises(UserError, match=r"v.nii: its header makes it .* mm large, no scan is; correct its spacing"):
        scans.read_volume(tmp_path / "v.nii")


@pytest.mark.parametrize(("mm", "grid"), [(0.01, "500 x 1000 x 36000"), (0.004, "1250 x 2500 x 90000"), (1e-5, "500000 x")])
def test_a_grid_too_large_for_memory_is_refused_before_it_is_made(mm, grid):
    with pytest.raises(UserError, match=f"resample_mm {mm:g} makes a grid of {grid}.*at most 4,096 along an axis"):
        scans.resample(volume_of(ramp((10, 20, 120)), (0.5, 0.5, 3.0)), mm)


@property_test
@given(st.tuples(*[st.integers(1, 700)] * 3), st.tuples(*[st.floats(0.5, 8)] * 3), st.floats(0.05, 0.4))
def test_a_resampled_grid_keeps_its_bounds_or_is_refused(lengths, spacing, mm):
    expected = [max(1, round(length * edge / mm)) for length, edge in zip(lengths, spacing, strict=True)]
    if max(expected) <= 4096 and np.prod(expected) <= 2**29:
        assert [stretch.after for stretch in geometry.resampling(lengths, spacing, mm)] == expected
    else:
        with pytest.raises(UserError, match="makes a grid of"):
            geometry.resampling(lengths, spacing, mm)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_an_affine_of_two_axes_or_without_numbers_is_refused(tmp_path, value):
    path = save(tmp_path / "v.nii", ramp())
    data = bytearray(path.read_bytes())
    data[280:296] = np.full(4, value, np.float32).tobytes()  # srow_x
    path.write_bytes(data)
    with pytest.raises(UserError, match="does not span three axes"):
        scans.read_volume(path)


def test_a_trailing_axis_of_one_is_dropped(tmp_path):
    assert scans.read_volume(save(tmp_path / "v.nii", ramp((3, 4, 5, 1)))).array.shape == (3, 4, 5)


def test_fractions_are_not_whole_numbers(tmp_path):
    assert not scans.read_volume(save(tmp_path / "v.nii", ramp().astype(np.float32) / 2)).integer


@pytest.mark.parametrize("mm", [0.5, 1.0, 2.5])
def test_a_ramp_in_millimetres_stays_a_ramp(mm):
    volume = scans.resample(volume_of(np.broadcast_to(3.0 * np.arange(40), (4, 5, 40)), (1.0, 2.0, 3.0)), mm)
    assert volume.spacing_mm == (mm, mm, mm)
    inner = volume.array[0, 0, 4:-4] if mm < 2 else volume.array[0, 0, 1:-1]
    np.testing.assert_allclose(np.diff(inner), mm, rtol=1e-4)
    assert volume.array.min() >= 0
    assert volume.array.max() <= 117


@pytest.mark.parametrize("axis", range(3))
def test_each_axis_is_resampled_by_its_own_spacing(axis):
    spacing = (0.5, 2.0, 3.0)
    steps = np.arange(24).reshape([-1 if a == axis else 1 for a in range(3)])
    array = np.broadcast_to(spacing[axis] * steps, [24 if a == axis else 4 for a in range(3)])
    resampled = scans.resample(volume_of(array, spacing), 1.0).array
    assert resampled.shape[axis] == 24 * spacing[axis]
    np.testing.assert_allclose(np.diff(resampled, axis=axis).mean(), 1.0, rtol=0.05)


def test_a_constant_stays_constant_and_zero_mm_keeps_the_grid():
    volume = volume_of(np.full((7, 8, 9), 37.1), (0.7, 0.7, 5.0))
    assert (scans.resample(volume, 1.0).array == volume.array[0, 0, 0]).all()
    assert scans.resample(volume, 1.0).array.shape == (5, 6, 45)
    assert scans.resample(volume, 0) is volume


def test_zeros_around_the_brain_are_minus_1_however_many_they_are():
    brain = np.random.default_rng(0).normal(300, 40, (40, 40, 40)).clip(1)
    windows = [scans.intensity_window(np.pad(brain, pad), "mri", **MRI_WINDOW) for pad in (4, 20)]
    assert windows[0][0] == windows[1][0] == 0
    assert windows[0][1] == pytest.approx(windows[1][1], rel=0.01)
    assert windows[0][1] == pytest.approx(np.percentile(brain, 99.5), rel=0.01)


def test_a_tiny_bright_object_still_has_a_window():
    array = np.zeros((20, 20, 20))
    array[0, 0, 0] = 5
    assert scans.intensity_window(array, "mri", **MRI_WINDOW) == (0, 5)


def test_ct_is_seen_through_its_hu_window():
    assert scans.intensity_window(ramp(), "ct", **MRI_WINDOW) == (-1000, 2000)


@pytest.mark.parametrize("pattern", ["flair_lgg/sub-014/**/*_FLAIR.nii.gz", "flair_open_ms/sub-19/ses-1/**/*_FLAIR.nii.gz"])
def test_real_flair_has_dark_air_and_a_bright_brain(pattern):
    path = next(SHARED.glob(pattern), None)
    if path is None:
        pytest.skip(f"{SHARED / pattern} is not on this machine")
    volume = scans.read_volume(path)
    low, high = scans.intensity_window(volume.array, "mri", **MRI_WINDOW)
    image = 2 * (volume.array - low) / (high - low) - 1
    assert volume.integer
    assert np.median(image[:5, :5]) < -0.9
    assert -0.7 < np.median(image[tuple(slice(n // 3, -n // 3) for n in image.shape)]) < 0.9


def test_real_ct_has_air_and_bone():
    path = SHARED / "ct/sub-cthead/ct/sub-cthead_ct.nii.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not on this machine")
    volume = scans.resample(scans.read_volume(path), 2.0)
    assert volume.array.min() < -900
    assert volume.array.max() > 1000
