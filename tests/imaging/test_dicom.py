"""A DICOM series is filled like any scan and written as a new series with the same pixels."""

from pathlib import Path

import numpy as np
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import dicom, scans
from ipmedgan_jax.inpainting.jobs import check_output, find_jobs
from ipmedgan_jax.inpainting.scan import Filling, inpaint_file
from tests.inpainting.test_scan import generator, ramp, square, write

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")
from pydicom.dataset import FileDataset, FileMetaDataset  # noqa: E402
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid  # noqa: E402


def write_series(folder: Path, array: np.ndarray, spacing=(0.7, 0.8, 2.0), slopes=(1,), **changes) -> Path:
    """Writes a CT series of a canonical array [X, Y, Z] (right, anterior, superior), its files in shuffled order.

    Slices take the `slopes` in turn.
    """
    folder.mkdir(parents=True)
    series, study = generate_uid(), generate_uid()
    stored = array[::-1, ::-1] + 1024  # DICOM's rows run to the left and to the back
    for i, name in enumerate(np.random.default_rng(0).permutation(array.shape[2])):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_ = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        slice_.SeriesInstanceUID, slice_.StudyInstanceUID, slice_.PatientID = series, study, "someone"
        slice_.SeriesDescription, slice_.ImageType = "head", ["ORIGINAL", "PRIMARY", "AXIAL"]
        slice_.ImageOrientationPatient, slice_.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-9.0, 5.0, i * spacing[2]]
        slice_.PixelSpacing = [spacing[1], spacing[0]]
        slice_.Rows, slice_.Columns = array.shape[1], array.shape[0]
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 16, 12, 11, 0
        slice_.RescaleSlope, slice_.RescaleIntercept = slopes[i % len(slopes)], -1024
        for key, value in changes.items():
            setattr(slice_, key, value)
        slice_.PixelData = np.rint(stored[:, :, i].T / slice_.RescaleSlope).astype("<u2").tobytes()
        slice_.save_as(folder / f"{name}.dcm", enforce_file_format=True)
    return folder


def fill(tmp_path, name="filled"):
    (work,), _ = find_jobs(str(tmp_path / "series"), str(tmp_path / "mask.nii.gz"), tmp_path / name)
    check_output(work, overwrite=False)
    return inpaint_file(generator(), work, Filling())


def datasets(folder):
    found = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    return sorted(found, key=lambda each: float(each.ImagePositionPatient[2]))


def mask_of(tmp_path, spacing=(0.7, 0.8, 2.0)):
    """A NIfTI mask at the position of the series; it is RAS, so its origin is another corner than DICOM's."""
    import nibabel

    write(tmp_path / "mask.nii.gz", square().astype(float), dtype=np.uint8)
    affine = np.diag([*spacing, 1.0])
    affine[:2, 3] = 9.0 - 29 * spacing[0], -5.0 - 25 * spacing[1]
    nibabel.save(nibabel.Nifti1Image(square().astype(np.uint8), affine), tmp_path / "mask.nii.gz")


def test_a_series_is_read_as_the_volume_it_is(tmp_path):
    volume = scans.read_volume(write_series(tmp_path / "series", ramp()))
    np.testing.assert_array_equal(volume.array, ramp())
    np.testing.assert_allclose(volume.spacing_mm, (0.7, 0.8, 2.0))


def test_a_filled_series_is_another_one_of_the_same_pixels(tmp_path):
    write_series(tmp_path / "series", ramp())
    mask_of(tmp_path)
    report = fill(tmp_path)
    assert not report["warnings"] or "HU" in report["warnings"][0]
    before, after = datasets(tmp_path / "series"), datasets(tmp_path / "filled")
    assert len(before) == len(after) == 5
    masked = scans.read_scan(tmp_path / "series").in_file_order(square())
    for i, (a, b) in enumerate(zip(before, after, strict=True)):
        np.testing.assert_array_equal(a.pixel_array[~masked[..., i].T], b.pixel_array[~masked[..., i].T])
        assert (b.RescaleSlope, b.RescaleIntercept, b.PatientID, b.StudyInstanceUID) == (
            1,
            -1024,
            "someone",
            a.StudyInstanceUID,
        )
        assert a.SOPInstanceUID not in (b.SOPInstanceUID, b.file_meta.MediaStorageSOPInstanceUID)
        assert b.SourceImageSequence[0].ReferencedSOPInstanceUID == a.SOPInstanceUID
        assert (list(b.ImageType), b.SeriesDescription) == (["DERIVED", "SECONDARY", "AXIAL"], "head inpainted")
        assert "not for diagnosis" in b.DerivationDescription
    assert len({b.SeriesInstanceUID for b in after} | {before[0].SeriesInstanceUID}) == 2
    assert len({b.SOPInstanceUID for b in after}) == 5
    np.testing.assert_allclose(scans.read_volume(tmp_path / "filled").array[square()], ramp()[square()], atol=1)
    assert (tmp_path / "filled.json").exists()
    with pytest.raises(UserError, match="exists; choose another name"):
        fill(tmp_path)


def test_each_slice_s_slope_counts_in_reading_and_in_writing(tmp_path):
    write_series(tmp_path / "series", ramp(), slopes=(0.5, 2, 4))
    mask_of(tmp_path)
    np.testing.assert_allclose(scans.read_volume(tmp_path / "series").array, ramp(), atol=2)
    fill(tmp_path)
    before, after = datasets(tmp_path / "series"), datasets(tmp_path / "filled")
    assert [float(dataset.RescaleSlope) for dataset in after] == [0.5, 2, 4, 0.5, 2]
    masked = scans.read_scan(tmp_path / "series").in_file_order(square())
    for i, (a, b) in enumerate(zip(before, after, strict=True)):
        where = masked[..., i].T
        np.testing.assert_array_equal(a.pixel_array[~where], b.pixel_array[~where])
        hounsfield = b.pixel_array * float(b.RescaleSlope) + float(b.RescaleIntercept)
        np.testing.assert_allclose(hounsfield[where], as_rows(ramp(), i)[where], atol=5)


def as_rows(array, i):
    """Returns a slice of a canonical array in the order of DICOM's rows and columns."""
    return array[::-1, ::-1, i].T


def test_a_series_with_a_gap_and_two_series_are_refused(tmp_path):
    folder = write_series(tmp_path / "series", ramp())
    for path in write_series(tmp_path / "other", ramp()).iterdir():
        path.rename(folder / f"other{path.name}")
    with pytest.raises(UserError, match="holds 2 DICOM series"):
        dicom.read(folder)
    for path in folder.glob("other*"):
        path.unlink()
    found = dicom.read(folder)
    found.files[2].unlink()
    with pytest.raises(UserError, match="mm apart: some are missing"):
        dicom.read(folder)


def each_dataset(folder, change):
    for i, path in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(path)
        change(i, dataset)
        dataset.save_as(path)


def test_bits_that_are_no_pixels_stay(tmp_path):
    folder, words = write_series(tmp_path / "series", ramp()), {}

    def with_high_bits(i, dataset):
        pixels = np.frombuffer(dataset.PixelData, "<u2") | 0x8000
        dataset.PixelData = pixels.tobytes()
        words[float(dataset.ImagePositionPatient[2])] = pixels

    each_dataset(folder, with_high_bits)
    mask_of(tmp_path)
    fill(tmp_path)
    masked = scans.read_scan(folder).in_file_order(square())
    for i, dataset in enumerate(datasets(tmp_path / "filled")):
        new, old = np.frombuffer(dataset.PixelData, "<u2"), words[float(dataset.ImagePositionPatient[2])]
        outside = ~masked[..., i].T.ravel()
        np.testing.assert_array_equal(new[outside], old[outside])
        assert (new & 0x8000).all()


def test_slices_of_unlike_pixels_are_refused(tmp_path):
    folder = write_series(tmp_path / "series", ramp())
    each_dataset(folder, lambda i, dataset: setattr(dataset, "PixelRepresentation", int(i == 2)))
    with pytest.raises(UserError, match="differ in PixelRepresentation"):
        dicom.read(folder)


@pytest.mark.parametrize("length", [0, 140, 300, 700])
def test_a_damaged_file_is_not_passed_over(tmp_path, length):
    folder = write_series(tmp_path / "series", ramp())
    last = folder / "4.dcm"
    last.write_bytes(last.read_bytes()[:length])
    with pytest.raises(UserError, match=r"4.dcm: (not a readable DICOM file|ends before its pixels|has no)"):
        dicom.read(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"NumberOfFrames": 3}, "several frames"),
        ({"ImageOrientationPatient": None}, "has no usable ImageOrientationPatient"),
        ({"PixelData": b"12"}, "cannot be read"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path, changes, message):
    folder = write_series(tmp_path / "series", ramp())
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        for key, value in changes.items():
            if value is None:
                delattr(dataset, key)
            else:
                setattr(dataset, key, value)
        dataset.save_as(path)
    with pytest.raises(UserError, match=message):
        dicom.read(folder)


def test_a_folder_without_images_is_no_series(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    assert not dicom.is_series(tmp_path)
    with pytest.raises(UserError, match="holds 0 DICOM series"):
        dicom.read(tmp_path)
