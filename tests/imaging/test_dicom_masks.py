"""Masks in DICOM: segmentations and structure sets select the voxels that they mark, whatever the grid and order of files."""

import nibabel
import numpy as np
import pytest
from skimage.draw import polygon2mask

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import mask_files, nifti, scans

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")

from ipmedgan_jax.imaging import dicom_masks, dicom_seg_writing  # noqa: E402
from ipmedgan_jax.imaging.dicom_files import LABEL_MAP  # noqa: E402
from ipmedgan_jax.imaging.dicom_writing import item  # noqa: E402
from tests.dicom_series import AXIAL, OBLIQUE, SAGITTAL, write_slices, write_structures  # noqa: E402

SHAPE = (15, 13, 7)  # 195 pixels a frame, not whole bytes of bits
AXES = {"axial": AXIAL, "oblique": OBLIQUE, "sagittal": SAGITTAL, "upside down": np.diag([1.0, -1.0, -1.0])}


def series_of(tmp_path, name="series", **options):
    stored = np.random.default_rng(3).integers(0, 2000, SHAPE)
    return scans.read_scan(write_slices(tmp_path / name, stored, **options))


def some_voxels() -> np.ndarray:
    """Voxels `[columns, rows, slices]` without any symmetry, and empty slices among them."""
    voxels = np.zeros(SHAPE, bool)
    voxels[3:9, 2:7, 1:3], voxels[4:11, 6, 2], voxels[13, 1, 5] = True, True, True
    return voxels


def read(path, scan, labels=()):
    """Returns the mask in the order of the series, and the notes."""
    mask, notes = mask_files.read_mask(path, scan, labels)
    return scan.in_file_order(mask), notes


def write_seg(tmp_path, scan, voxels, change=lambda dataset: None):
    path = tmp_path / "seg.dcm"
    dicom_seg_writing.write(path, scan.file.datasets, voxels, "42 voxels filled")
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
@pytest.mark.parametrize(("decimals", "seed"), [(None, 0), (None, 1), (1, 2)])
def test_a_segmentation_that_is_written_is_read_as_the_same_voxels(tmp_path, axes, decimals, seed):
    scan = series_of(tmp_path, axes=axes, spacing=(0.7, 0.8, 0.625), decimals=decimals, seed=seed)
    found, notes = read(write_seg(tmp_path, scan, some_voxels()), scan)
    np.testing.assert_array_equal(found, some_voxels())
    assert not notes


def test_a_segmentation_says_what_it_is_of(tmp_path):
    scan = series_of(tmp_path, PatientName="A^B", StudyDate="20200101")
    made = pydicom.dcmread(write_seg(tmp_path, scan, some_voxels()))
    first = scan.file.datasets[0]
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "StudyDate", "FrameOfReferenceUID"):
        assert made[name].value == first[name].value
    assert (made.Modality, made.SeriesNumber, made.NumberOfFrames, made.SegmentationType) == ("SEG", 9504, 3, "BINARY")
    assert made.ReferencedSeriesSequence[0].SeriesInstanceUID == first.SeriesInstanceUID
    assert made.ContributingEquipmentSequence[0].Manufacturer == "ipmedgan_jax"
    for frame, k in zip(made.PerFrameFunctionalGroupsSequence, (1, 2, 5), strict=True):
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert source.ReferencedSOPInstanceUID == scan.file.datasets[k].SOPInstanceUID


@pytest.mark.parametrize("axes", [AXIAL, OBLIQUE], ids=["axial", "oblique"])
@pytest.mark.parametrize("codes", ["RAS", "LPI", "PSR"])
def test_a_segmentation_fits_the_nifti_file_of_its_series(tmp_path, axes, codes):
    series = series_of(tmp_path, axes=axes)
    image = nibabel.Nifti1Image(series.file.values(), series.file.affine)
    axcodes = nibabel.orientations.axcodes2ornt(codes)
    turned = image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), axcodes))
    nifti.write_array(tmp_path / "scan.nii", np.asarray(turned.dataobj), turned.affine)
    mask, _ = mask_files.read_mask(write_seg(tmp_path, series, some_voxels()), scans.read_scan(tmp_path / "scan.nii"))
    np.testing.assert_array_equal(series.in_file_order(mask), some_voxels())


@pytest.mark.parametrize("stated", [("SpacingBetweenSlices",), ("SliceThickness",)])
def test_frames_of_another_grid_keep_their_gaps(tmp_path, stated):
    """Slices 1, 2 and 5 of a series of 2 mm, on a scan of 1 mm: three slabs, not five."""
    series = series_of(tmp_path, spacing=(1.0, 1.0, 2.0), start=(0.0, 0.0, 0.5))
    voxels = np.zeros(SHAPE, bool)
    voxels[3:6, 4:8, [1, 2, 5]] = True

    def keep_spacing(dataset):
        measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        for name in {"SpacingBetweenSlices", "SliceThickness"} - set(stated):
            delattr(measures, name)

    path = write_seg(tmp_path, series, voxels, keep_spacing)
    stored = np.random.default_rng(3).integers(0, 2000, (15, 13, 16))
    fine = scans.read_scan(write_slices(tmp_path / "fine", stored, spacing=(1.0, 1.0, 1.0), start=(0.0, 0.0, -1.0)))
    found, notes = read(path, fine)
    expected = np.zeros(found.shape, bool)
    expected[3:6, 4:8, [3, 4, 5, 6, 11, 12]] = True  # at 2 to 5 and 10 to 11 mm
    np.testing.assert_array_equal(found, expected)
    assert any("another frame of reference" in note for note in notes)


def with_two_segments(dataset):
    """Adds a segment of the pixels of frame 3 (slice 5) to one of frames 1 and 2."""
    second = item(SegmentNumber=7, SegmentLabel="metal")
    dataset.SegmentSequence = [*dataset.SegmentSequence, second, item(SegmentNumber=8, SegmentLabel="empty")]
    del dataset.SharedFunctionalGroupsSequence[0].SegmentIdentificationSequence
    for frame, number in zip(dataset.PerFrameFunctionalGroupsSequence, (1, 1, 7), strict=True):
        frame.SegmentIdentificationSequence = [item(ReferencedSegmentNumber=number)]


def test_segments_are_chosen_by_their_numbers(tmp_path):
    scan = series_of(tmp_path)
    path = write_seg(tmp_path, scan, some_voxels(), with_two_segments)
    metal = some_voxels() & (np.arange(7) == 5)
    np.testing.assert_array_equal(read(path, scan, (7,))[0], metal)
    np.testing.assert_array_equal(read(path, scan, (1,))[0], some_voxels() & ~metal)
    np.testing.assert_array_equal(read(path, scan, (1, 7))[0], some_voxels())
    found, notes = read(path, scan, (7, 3))
    np.testing.assert_array_equal(found, metal)
    assert [note for note in notes if "has no label 3; it holds 1 (filled), 7 (metal)" in note]
    with pytest.raises(UserError, match=r"holds 1 \(filled\), 7 \(metal\): name those to be filled with --mask_labels"):
        read(path, scan)
    with pytest.raises(UserError, match=r"has no label 3, 8; it holds 1 \(filled\), 7 \(metal\); there is nothing to fill"):
        read(path, scan, (3, 8))


def as_bytes(dataset, frames, kind):
    """Stores frames of bytes instead of bits."""
    dataset.SegmentationType = kind
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = frames.astype(np.uint8).tobytes() + b"\0" * (frames.size % 2)


def test_a_label_map_and_a_fractional_segmentation_of_whole_voxels_are_read(tmp_path):
    scan = series_of(tmp_path)

    def to_label_map(dataset):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = LABEL_MAP
        as_bytes(dataset, dataset.pixel_array * np.array([1, 1, 7])[:, None, None], "LABELMAP")

    def to_fractions(dataset, part=255):
        frames = dataset.pixel_array * 255
        frames[0][frames[0] > 0] = part
        as_bytes(dataset, frames, "FRACTIONAL")
        dataset.MaximumFractionalValue = 255

    path = write_seg(tmp_path, scan, some_voxels(), to_label_map)
    np.testing.assert_array_equal(read(path, scan, (7,))[0], some_voxels() & (np.arange(7) == 5))
    np.testing.assert_array_equal(read(write_seg(tmp_path, scan, some_voxels(), to_fractions), scan)[0], some_voxels())
    path = write_seg(tmp_path, scan, some_voxels(), lambda dataset: to_fractions(dataset, 100))
    with pytest.raises(UserError, match="holds fractions of voxels; export it as a binary segmentation"):
        read(path, scan)


def turn_a_frame(dataset):
    orientation = item(ImageOrientationPatient=[0, 1, 0, 1, 0, 0])
    for frame in dataset.PerFrameFunctionalGroupsSequence[1:]:
        frame.PlaneOrientationSequence = [orientation]


def drop_positions(dataset):
    del dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence


def cut_pixels(dataset):
    dataset.PixelData = dataset.PixelData[:4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (turn_a_frame, "differ in orientation"),
        (drop_positions, "frame 2 has no PlanePositionSequence"),
        (cut_pixels, "its pixels are damaged"),
    ],
)
def test_a_segmentation_that_is_no_volume_is_refused(tmp_path, change, message):
    scan = series_of(tmp_path)
    with pytest.raises(UserError, match=message):
        read(write_seg(tmp_path, scan, some_voxels(), change), scan)


def test_a_mask_of_another_patient_is_warned_of(tmp_path):
    scan, other = series_of(tmp_path), series_of(tmp_path, "other", PatientID="somebody")
    _, notes = read(write_seg(tmp_path, other, some_voxels()), scan)
    assert any("is of the patient somebody, the series of someone" in note for note in notes)
    assert any("has another frame of reference than the series" in note for note in notes)


def test_the_mask_of_a_series_is_found_in_a_folder(tmp_path):
    scan, other = series_of(tmp_path), series_of(tmp_path, "other")
    write_seg(tmp_path, other, ~some_voxels()).rename(tmp_path / "series" / "SEG1")
    write_seg(tmp_path, scan, some_voxels()).rename(tmp_path / "series" / "SEG2")
    scan = scans.read_scan(tmp_path / "series")
    np.testing.assert_array_equal(read(tmp_path / "series", scan)[0], some_voxels())
    (tmp_path / "series" / "SEG2").unlink()
    (tmp_path / "series" / "SEG1").rename(tmp_path / "series" / "SEG3")
    write_seg(tmp_path, other, ~some_voxels()).rename(tmp_path / "series" / "SEG4")
    with pytest.raises(UserError, match=r"none of the masks refers to it \(.*SEG3, .*SEG4\); name one file by --mask"):
        read(tmp_path / "series", scan)


def test_a_series_of_labels_is_a_mask(tmp_path):
    scan = series_of(tmp_path)
    write_slices(tmp_path / "labels", some_voxels() * 3, RescaleIntercept=0)
    np.testing.assert_array_equal(read(tmp_path / "labels", scan)[0], some_voxels())


def test_messages_about_dicom_do_not_speak_of_nifti(tmp_path):
    scan = series_of(tmp_path)
    slice_ = scan.file.files[0]
    for refused in (lambda: scans.read_scan(slice_), lambda: mask_files.read_mask(slice_, scan)):
        with pytest.raises(UserError, match="is one DICOM file; give the folder that holds its series") as raised:
            refused()
        assert "NIfTI" not in str(raised.value)
    with pytest.raises(UserError, match=r"none.dcm: not found; give an existing file"):
        mask_files.read_mask(tmp_path / "none.dcm", scan)


def in_millimetres(scan, points):
    """Returns voxel indices `[points, 3]` of a series in DICOM's patient coordinates."""
    return nibabel.affines.apply_affine(np.diag([-1, -1, 1, 1]) @ scan.file.affine, points)


def contour(scan, polygon, k):
    return in_millimetres(scan, np.column_stack([polygon, np.full(len(polygon), k)]))


TRIANGLE = np.array([[1.8, 1.1], [12.9, 3.8], [5.3, 11.3]])  # no voxel's centre lies within 0.09 voxels of it
CAVITY = np.array([[4.6, 3.6], [7.4, 3.6], [7.4, 6.4], [4.6, 6.4]])


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_contours_fill_the_voxels_whose_centres_they_hold(tmp_path, axes):
    scan = series_of(tmp_path, axes=axes, spacing=(2.0, 2.5, 3.0), seed=4)
    contours = [contour(scan, TRIANGLE, 2), contour(scan, CAVITY, 2), contour(scan, TRIANGLE, 4)]
    datasets = scan.file.datasets
    path = write_structures(tmp_path / "rt.dcm", {5: contours}, datasets[0], images=datasets)
    expected = np.zeros(SHAPE, bool)
    expected[..., 4] = polygon2mask(SHAPE[:2], TRIANGLE)
    expected[..., 2] = expected[..., 4] ^ polygon2mask(SHAPE[:2], CAVITY)
    found, notes = read(path, scan)
    np.testing.assert_array_equal(found, expected)
    assert not notes
    assert expected.any((0, 1)).sum() == 2


def test_a_contour_through_centres_holds_them_and_a_tiny_one_marks_its_voxel(tmp_path):
    """So do contours that are traced around voxels; some of these are single points."""
    scan = series_of(tmp_path, decimals=1, spacing=(0.7, 0.8, 0.625), start=(-9.04, 5.03, 0.0))
    box = np.array([[3, 2], [8, 2], [8, 6], [3, 6]])
    contours = [contour(scan, box, 1), contour(scan, np.array([[13.2, 1.1]]), 5)]
    datasets = scan.file.datasets
    found, _ = read(write_structures(tmp_path / "rt.dcm", {1: contours}, datasets[0], images=datasets), scan)
    expected = np.zeros(SHAPE, bool)
    expected[3:9, 2:7, 1], expected[13, 1, 5] = True, True
    np.testing.assert_array_equal(found, expected)


def test_regions_are_chosen_and_points_are_no_region(tmp_path):
    scan = series_of(tmp_path)
    regions = {2: [contour(scan, TRIANGLE, 1)], 9: [contour(scan, CAVITY, 3)], 11: []}
    path = write_structures(tmp_path / "rt.dcm", regions, scan.file.datasets[0])
    assert read(path, scan, (9,))[0].any((0, 1)).nonzero()[0].tolist() == [3]
    with pytest.raises(UserError, match=r"holds 2 \(region 2\), 9 \(region 9\): name those"):
        read(path, scan)
    with pytest.raises(UserError, match=r"has no label 11"):
        read(path, scan, (11,))


def test_contours_of_a_coarser_series_fill_the_slices_between_them(tmp_path):
    """Contours at 0, 4 and 8 mm, a gap, and one at 40 mm on slices of 1 mm."""
    stored = np.random.default_rng(3).integers(0, 2000, (16, 12, 60))
    scan = scans.read_scan(write_slices(tmp_path / "fine", stored, spacing=(1.0, 1.0, 1.0)))
    contours = [contour(scan, TRIANGLE, k) for k in (10, 14, 18, 40)]
    path = write_structures(tmp_path / "rt.dcm", {1: contours}, scan.file.datasets[0])
    found, notes = read(path, scan)
    assert found.any((0, 1)).nonzero()[0].tolist() == [*range(8, 21), *range(38, 43)]
    assert any("contours of 1 (region 1) are 4 mm apart" in note for note in notes)
    path = write_structures(tmp_path / "rt.dcm", {1: contours}, scan.file.datasets[0], images=scan.file.datasets)
    assert read(path, scan)[0].any((0, 1)).nonzero()[0].tolist() == [10, 14, 18, 40]  # drawn on these slices


def test_contours_partly_outside_the_scan_and_across_its_slices_are_filled(tmp_path):
    scan = series_of(tmp_path, spacing=(2.0, 2.0, 2.0))
    shifted = TRIANGLE + np.array([8, -4])
    outside = [contour(scan, shifted, 2), contour(scan, TRIANGLE, 30)]
    path = write_structures(tmp_path / "rt.dcm", {1: outside}, scan.file.datasets[0])
    expected = np.zeros(SHAPE, bool)
    expected[..., 2] = polygon2mask(SHAPE[:2], shifted)
    np.testing.assert_array_equal(read(path, scan)[0], expected)
    coronal = np.array([[2.5, 5, 0.5], [9.5, 5, 0.5], [9.5, 5, 4.5], [2.5, 5, 4.5]])
    path = write_structures(tmp_path / "rt.dcm", {1: [in_millimetres(scan, coronal)]}, scan.file.datasets[0])
    expected = np.zeros(SHAPE, bool)
    expected[3:10, 5, 1:5] = True
    np.testing.assert_array_equal(read(path, scan)[0], expected)


def test_damaged_and_crossing_contours_and_empty_sets_are_refused(tmp_path):
    scan = series_of(tmp_path)
    crossing = [contour(scan, TRIANGLE, 2), in_millimetres(scan, np.array([[2, 5, 0], [9, 5, 0], [9, 5, 4.0]]))]
    for regions, message in (({1: crossing}, "has contours that are not parallel"), ({1: []}, "has a voxel")):
        path = write_structures(tmp_path / "rt.dcm", regions, scan.file.datasets[0])
        with pytest.raises(UserError, match=message):
            read(path, scan)
    path = write_structures(tmp_path / "rt.dcm", {3: [contour(scan, TRIANGLE, 2)]}, scan.file.datasets[0])
    dataset = pydicom.dcmread(path)
    dataset.ROIContourSequence[0].ContourSequence[0].ContourData = [1.0, 2.0, 3.0, 4.0]
    dataset.save_as(path)
    with pytest.raises(UserError, match="a contour of region 3 is damaged"):
        read(path, scan)


def test_a_mask_is_told_from_a_scan(tmp_path):
    scan = series_of(tmp_path)
    path = write_seg(tmp_path, scan, some_voxels())
    assert dicom_masks.is_mask(path)
    assert not dicom_masks.is_mask(tmp_path / "series")
    assert not dicom_masks.is_mask(scan.file.files[0])
    assert not dicom_masks.is_mask(tmp_path / "none.nii.gz")
