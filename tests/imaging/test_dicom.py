"""A DICOM series is filled like any scan and written as a new series with the same pixels."""

import dataclasses
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import dicom, scans
from ipmedgan_jax.inpainting.dicom_jobs import find_series_jobs
from ipmedgan_jax.inpainting.filling_options import Filling
from ipmedgan_jax.inpainting.jobs import check_output
from ipmedgan_jax.inpainting.learned_filler import LearnedFiller
from ipmedgan_jax.inpainting.scan import inpaint_file
from tests.inpainting.test_scan import generator, ramp, square, write

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")
from pydicom.uid import ImplicitVRLittleEndian, RLELossless, generate_uid  # noqa: E402

from ipmedgan_jax.imaging.dicom_files import SEGMENTATION  # noqa: E402
from tests.dicom_series import write_series  # noqa: E402


def fill(tmp_path, name="filled"):
    (work,), _ = find_series_jobs(str(tmp_path / "series"), (), str(tmp_path / "mask.nii.gz"), tmp_path / name)
    check_output(work, overwrite=False)
    return inpaint_file(LearnedFiller(generator()), work, Filling())


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


def test_the_mask_may_lie_in_the_folder_of_the_new_series(tmp_path):
    write_series(tmp_path / "series", ramp())
    mask_of(tmp_path)
    (work,), _ = find_series_jobs(str(tmp_path / "series"), (), str(tmp_path / "mask.nii.gz"), tmp_path / "filled")
    work = dataclasses.replace(work, mask_output=tmp_path / "filled" / "filled_mask.nii.gz")
    check_output(work, overwrite=False)
    inpaint_file(LearnedFiller(generator()), work, Filling())
    assert work.mask_output.exists()
    assert len(list(work.output.iterdir())) == 6


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
    with pytest.raises(UserError, match=r"holds 2 DICOM series: .*\(.*, 5 images\).*--series=NUMBER"):
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


@pytest.mark.parametrize("repeated", [True, False])
def test_new_pixels_have_their_sign_above_the_stored_bits_as_the_old_ones_have(tmp_path, repeated):
    def signed(dataset):
        words = np.frombuffer(dataset.PixelData, "<u2").astype(np.int16) - 1700  # below 0, but in the mask
        dataset.PixelData = (words if repeated else words & 0x0FFF).astype("<i2").tobytes()

    array = np.where(square(), 2000, ramp())
    write_series(tmp_path / "series", array, change=signed, PixelRepresentation=1, RescaleIntercept=676)
    mask_of(tmp_path)
    fill(tmp_path)
    for dataset in datasets(tmp_path / "filled"):
        words = np.frombuffer(dataset.PixelData, "<i2")
        assert (words < 0).all() if repeated else (words >= 0x0800).all()


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
        ({"PixelData": b"12"}, r"\d.dcm: is truncated: it has 2 of 1560 bytes"),
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
    with pytest.raises(UserError, match="holds no DICOM series"):
        dicom.read(tmp_path)


def add_companions(folder):
    for i in range(20):  # macOS writes them; they sort before all slices
        (folder / f"._{i}.dcm").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")


def add_texts(folder):
    for name in ("LICENSE", "README", "README.md", "NOTICE.0001"):
        (folder / name).write_text("Creative Commons, für alle\n")


def add_viewer(folder):
    for name in ("viewer.exe", "Thumbs.db", "preview.jpg", "AUTORUN.INF"):
        (folder / name).write_bytes(bytes(range(256)))


def add_other_classes(folder):
    """A directory, a report, a dose grid and a segmentation, with series of their own."""
    directory, report, dose = "1.2.840.10008.1.3.10", "1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.481.2"
    for i, kind in enumerate((directory, report, dose, SEGMENTATION)):
        dataset = pydicom.dcmread(folder / "0.dcm")
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = kind
        dataset.SeriesInstanceUID, dataset.SOPInstanceUID = generate_uid(), generate_uid()
        if kind in (directory, report):
            del dataset.PixelData, dataset.Rows, dataset.Columns
        dataset.save_as(folder / f"{i}{i}")


def add_copies(folder):
    for path in sorted(folder.glob("*.dcm")):
        (folder / f"Copy of {path.name}").write_bytes(path.read_bytes())


def move_to_subfolders(folder):
    for i, path in enumerate(sorted(folder.glob("*.dcm"))):
        (folder / f"A{i % 2}").mkdir(exist_ok=True)
        path.rename(folder / f"A{i % 2}" / path.name)


def drop_preamble(folder):
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[132:])


def drop_meta_header(folder):
    for i, path in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(path)
        del dataset.file_meta
        if i == 3:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        pydicom.dcmwrite(path, dataset, implicit_vr=i % 2 == 0, little_endian=i != 3)


@pytest.mark.parametrize(
    "change",
    [
        add_companions,
        add_texts,
        add_viewer,
        add_other_classes,
        add_copies,
        move_to_subfolders,
        drop_preamble,
        drop_meta_header,
    ],
)
def test_a_series_is_read_as_export_tools_leave_it(tmp_path, change):
    folder = write_series(tmp_path / "series", ramp())
    change(folder)
    np.testing.assert_array_equal(scans.read_volume(folder).array, ramp())
    write(tmp_path / "mask.nii.gz", square().astype(float), dtype=np.uint8)
    mask_of(tmp_path)
    fill(tmp_path)
    filled = scans.read_volume(tmp_path / "filled").array
    np.testing.assert_array_equal(filled[~square()], ramp()[~square()])


@pytest.mark.parametrize("spacing", [0.3, 0.625, 0.9375, 1.25, 3.3])
def test_positions_rounded_to_a_tenth_are_even_and_a_missing_slice_is_not(tmp_path, spacing):
    folder = write_series(tmp_path / "series", ramp((8, 8, 24)), spacing=(1, 1, spacing), decimals=1)
    found = dicom.read(folder)
    np.testing.assert_allclose(found.affine[2, 2], spacing, atol=0.1 / 23 + 1e-6)
    for i in (1, 12, 22):
        content = found.files[i].read_bytes()
        found.files[i].unlink()
        with pytest.raises(UserError, match="mm apart: some are missing"):
            dicom.read(folder)
        found.files[i].write_bytes(content)


def test_two_volumes_in_one_series_and_a_changed_copy_are_refused(tmp_path):
    folder = write_series(tmp_path / "series", ramp())
    dataset = pydicom.dcmread(folder / "2.dcm")
    dataset.PixelData = b"\1" * len(dataset.PixelData)
    dataset.save_as(folder / "other.dcm")
    with pytest.raises(UserError, match=r"other.dcm: has the SOPInstanceUID of .*2.dcm but another content"):
        dicom.read(folder)
    dataset.SOPInstanceUID = generate_uid()
    dataset.save_as(folder / "other.dcm")
    with pytest.raises(UserError, match=r"share one position .*several volumes in one series"):
        dicom.read(folder)


def test_a_scout_in_the_series_is_named(tmp_path):
    folder = write_series(tmp_path / "series", ramp())
    dataset = pydicom.dcmread(folder / "2.dcm")
    dataset.SOPInstanceUID, dataset.ImageOrientationPatient = generate_uid(), [1, 0, 0, 0, 0, -1]
    dataset.save_as(folder / "scout.dcm")
    with pytest.raises(UserError, match=r"differ in ImageOrientationPatient \(scout.dcm\)"):
        dicom.read(folder)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, RLELossless])
def test_a_truncated_slice_is_named_as_damaged(tmp_path, share, syntax):
    folder = write_series(tmp_path / "series", ramp((32, 32, 3)))
    path = folder / "1.dcm"
    if syntax == RLELossless:
        dataset = pydicom.dcmread(path)
        dataset.compress(syntax)
        dataset.save_as(path)
    elif syntax:
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path, implicit_vr=True, little_endian=True)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        UserError, match=r"1.dcm: (ends before its pixels|is truncated|its pixels are damaged).*cop"
    ) as raised:
        dicom.read(folder)
    assert "decompress" not in str(raised.value)


def test_a_compression_that_nothing_here_reads_is_named(tmp_path):
    folder = write_series(tmp_path / "series", ramp())
    each_dataset(folder, compress_unreadably)
    with pytest.raises(UserError, match=r"dcm: no installed package decompresses its pixels \(.*MPEG.*\); decompress"):
        dicom.read(folder)


def compress_unreadably(i, dataset):
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    dataset.PixelData = pydicom.encaps.encapsulate([b"1234"])
    dataset["PixelData"].VR = "OB"


def test_colours_by_palette_and_inverted_grey_are_refused(tmp_path):
    for kind in ("PALETTE COLOR", "MONOCHROME1"):
        folder = write_series(tmp_path / kind, ramp(), PhotometricInterpretation=kind)
        with pytest.raises(UserError, match=f"its PhotometricInterpretation is {kind}; expected MONOCHROME2"):
            dicom.read(folder)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("ORIGINAL", ["DERIVED", "SECONDARY"]),
        (["ORIGINAL", "PRIMARY"], ["DERIVED", "SECONDARY"]),
        (["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5"], ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5"]),
        (None, ["DERIVED", "SECONDARY"]),
    ],
)
def test_the_image_type_of_a_filled_slice_is_derived(tmp_path, given, made):
    write_series(tmp_path / "series", ramp(), ImageType=given)
    mask_of(tmp_path)
    fill(tmp_path)
    assert all(list(dataset.ImageType) == made for dataset in datasets(tmp_path / "filled"))


def test_a_filled_series_says_when_and_by_what_it_was_made(tmp_path):
    names = ("Study", "Series", "Acquisition", "Content", "InstanceCreation")
    long_ago = {f"{name}Date": "20010203" for name in names} | {f"{name}Time": "040506" for name in names}
    stale = {"SmallestImagePixelValue": 1, "LargestImagePixelValue": 2, "LargestPixelValueInSeries": 2}
    write_series(tmp_path / "series", ramp(), TimezoneOffsetFromUTC="+1300", **long_ago, **stale)
    mask_of(tmp_path)
    begin = datetime.now(timezone(timedelta(hours=13))).replace(microsecond=0)
    fill(tmp_path)
    for dataset in datasets(tmp_path / "filled"):
        assert not any(name in dataset for name in stale)
        assert dataset.SeriesNumber == 9004
        assert (dataset.StudyDate, dataset.AcquisitionTime) == ("20010203", "040506")  # the patient's times stay
        for name in ("Series", "Content", "InstanceCreation"):
            made = dataset[f"{name}Date"].value + dataset[f"{name}Time"].value
            assert begin <= datetime.strptime(f"{made}+1300", "%Y%m%d%H%M%S%z") <= begin + timedelta(minutes=5)
        (equipment,) = dataset.ContributingEquipmentSequence
        assert equipment.Manufacturer == "ipmedgan_jax"
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert dataset.DerivationCodeSequence[0].CodeMeaning == "Inpainting"
        (source,) = dataset.SourceImageSequence
        assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
