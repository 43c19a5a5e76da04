"""What a derived DICOM series and a segmentation say of themselves stays within DICOM's bounds, and apart from the source."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipmedgan_jax.core.errors import UserError
from tests.inpainting.test_scan import ramp, square
from tests.properties import property_test

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")

from ipmedgan_jax.imaging import dicom, dicom_seg_writing, dicom_writing, scans  # noqa: E402
from ipmedgan_jax.imaging.dicom_writing import code, item  # noqa: E402
from tests.dicom_series import write_series  # noqa: E402

MARK = st.sampled_from(["inpainted", "filled voxels"])


@property_test
@given(text=st.text("ab ", max_size=64), mark=MARK, times=st.integers(1, 4))
def test_a_derived_series_never_has_the_description_of_its_source(text, mark, times):
    source = item(SeriesDescription=text)
    for _ in range(times):
        made = dicom_writing.series_description(source, mark)
        assert made.endswith(mark)
        assert made != source.SeriesDescription
        assert len(made) <= 64
        source = item(SeriesDescription=made)


@pytest.mark.parametrize("offset", [9000, 9500])
@pytest.mark.parametrize("number", [None, 0, 4, -(2**31), 2**31 - 9501, 2**31 - 9000, 2**31 - 1, 10**11])
def test_the_number_of_a_derived_series_is_another_one_that_dicom_can_hold(number, offset):
    made = dicom_writing.series_number(item(SeriesNumber=number), offset)
    assert abs(made) < 2**31
    assert made != number
    if number in (0, 4):
        assert made == number + offset


def written_segmentation(tmp_path, description="made up", **values):
    write_series(tmp_path / "series", ramp(), **values)
    scan = scans.read_scan(tmp_path / "series")
    dicom_seg_writing.write(tmp_path / "seg.dcm", scan.file.datasets, scan.in_file_order(square()), description)
    return pydicom.dcmread(tmp_path / "seg.dcm")


def test_a_segmentation_says_how_its_series_was_de_identified(tmp_path):
    method = code("113100", "DCM", "Basic Application Confidentiality Profile")
    told = {"PatientIdentityRemoved": "YES", "LongitudinalTemporalInformationModified": "MODIFIED",
            "PatientSpeciesDescription": "dog"}  # fmt: skip
    made = written_segmentation(tmp_path, DeidentificationMethodCodeSequence=[method], **told)
    assert made.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert {name: made[name].value for name in told} == told


def test_a_segmentation_s_description_is_cut_but_for_what_it_is_not_for(tmp_path):
    made = written_segmentation(tmp_path, f"12 voxels filled by {'x' * 60}; not for diagnosis")
    assert made.ContentDescription == f"12 voxels filled by {'x' * 25}; not for diagnosis"
    assert len(made.ContentDescription) == 64


@pytest.mark.parametrize(("stored", "high"), [(12, 15), (12, 13), (16, 11)])
def test_pixels_in_other_bits_than_dicom_has_them_are_refused(tmp_path, stored, high):
    folder = write_series(tmp_path / "series", ramp(), BitsStored=stored, HighBit=high)
    with pytest.raises(UserError, match=rf"\d.dcm: the HighBit of its pixels is {high}; expected {stored - 1}"):
        dicom.read(folder)


def test_pixels_without_a_high_bit_are_read(tmp_path):
    dicom.read(write_series(tmp_path / "series", ramp(), change=lambda dataset: dataset.pop("HighBit")))


def test_values_that_a_table_gives_are_refused(tmp_path):
    def add_table(dataset):
        dataset.ModalityLUTSequence = [item(ModalityLUTType="HU")]

    with pytest.raises(UserError, match="a table says what its pixels mean"):
        dicom.read(write_series(tmp_path / "series", ramp(), change=add_table))
