"""Writing which voxels of a DICOM series were filled as a DICOM segmentation (SEG). Needs the extra `dicom` (pydicom).

The file has one binary segment, and a frame for each slice with filled voxels (DICOM PS3.3, A.51).
"""

import copy
from collections.abc import Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

import ipmedgan_jax
from ipmedgan_jax.core import files
from ipmedgan_jax.imaging.dicom import position
from ipmedgan_jax.imaging.dicom_files import MANUFACTURER, SEGMENTATION
from ipmedgan_jax.imaging.dicom_parsing import quiet
from ipmedgan_jax.imaging.dicom_writing import (
    add_equipment,
    code,
    ended,
    item,
    series_description,
    series_number,
    set_creation,
    source_image,
    writing_errors,
)

_NUMBER_OFFSET = 9500
"""Added to the number of the source series; another one than that of the filled series."""

_OF_PATIENT_AND_STUDY = (
    *("SpecificCharacterSet", "TimezoneOffsetFromUTC", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate"),
    *("PatientSex", "PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod"),
    *("DeidentificationMethodCodeSequence", "LongitudinalTemporalInformationModified"),
    *("PatientSpeciesDescription", "PatientSpeciesCodeSequence", "PatientSexNeutered", "PatientBreedDescription"),
    *("PatientBreedCodeSequence", "BreedRegistrationSequence", "ResponsiblePerson", "ResponsiblePersonRole"),
    "ResponsibleOrganization",
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber"),
    *("ReferringPhysicianName", "PositionReferenceIndicator"),
)
"""Attributes that the segmentation shares with its series."""

_MAY_BE_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator"),
)
"""Attributes among them that must be there, if only without a value (type 2)."""


def write(output: Path, datasets: Sequence[Any], where: np.ndarray, description: str) -> None:
    """Writes voxels of a series as a segmentation that refers to the series' images; the write is atomic.

    Args:
      output: the file.
      datasets: the slices of the series.
      where: the voxels, bool `[columns, rows, slices]`.
      description: text about the fill.
    """
    with quiet():
        content = _encode(datasets, where, description)
    with files.atomic_file(output) as unfinished:
        unfinished.write_bytes(content)


def _encode(datasets: Sequence[Any], where: np.ndarray, description: str) -> bytes:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.pixels import pack_bits
    from pydicom.uid import UID, ExplicitVRLittleEndian

    created = datetime.now().astimezone()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = UID(SEGMENTATION), ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    slices = np.flatnonzero(where.any((0, 1)))
    slices = slices if len(slices) else np.array([0])  # a segmentation has at least one frame
    for group in (_identity(datasets[0], description), _segment(), _geometry(datasets, slices), _references(datasets)):
        made.update(group)
    set_creation(made, created)
    add_equipment(made, description, created)
    made.PixelData = pack_bits(np.ascontiguousarray(where[..., slices].T, np.uint8))
    made["PixelData"].VR = "OB"
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    content = BytesIO()
    with writing_errors(datasets[0].filename):
        made.save_as(content, enforce_file_format=True)
    return content.getvalue()


def _identity(first: Any, description: str) -> Any:
    """Returns the attributes of patient, study, series, equipment and image."""
    from pydicom.uid import generate_uid

    made = item(**dict.fromkeys(_MAY_BE_EMPTY, ""))
    text, separator, last = description.rpartition("; ")  # what it is not for stays if the text is too long
    with writing_errors(first.filename):
        made.update({first[name].tag: copy.deepcopy(first[name]) for name in _OF_PATIENT_AND_STUDY if name in first})
    made.update(
        item(
            SOPClassUID=SEGMENTATION,
            SOPInstanceUID=generate_uid(),
            SeriesInstanceUID=generate_uid(),
            FrameOfReferenceUID=first.get("FrameOfReferenceUID") or generate_uid(),
            Modality="SEG",
            SeriesNumber=series_number(first, _NUMBER_OFFSET),
            SeriesDescription=series_description(first, "filled voxels"),
            InstanceNumber=1,
            Manufacturer=MANUFACTURER,
            ManufacturerModelName="inpaint",
            DeviceSerialNumber="none",
            SoftwareVersions=ipmedgan_jax.__version__,
            ImageType=["DERIVED", "PRIMARY"],
            ContentLabel="FILLED",
            ContentDescription=ended(text, separator + last),
            ContentCreatorName=MANUFACTURER,
            LossyImageCompression="00",
        )
    )
    return made


def _segment() -> Any:
    """Returns the description of the one segment."""
    segment = item(
        SegmentNumber=1,
        SegmentLabel="filled",
        SegmentAlgorithmType="AUTOMATIC",
        SegmentAlgorithmName=f"{MANUFACTURER} inpaint",
        SegmentedPropertyCategoryCodeSequence=[code("309825002", "SCT", "Spatial and Relational Concept")],
        SegmentedPropertyTypeCodeSequence=[code("111099", "DCM", "Selected region")],
    )
    return item(SegmentationType="BINARY", SegmentSequence=[segment])


def _geometry(datasets: Sequence[Any], slices: np.ndarray) -> Any:
    """Returns the format of the pixels, where each frame lies, and the dimensions that order the frames."""
    from pydicom.datadict import tag_for_keyword
    from pydicom.uid import generate_uid

    first, order = datasets[0], generate_uid()
    shared = item(
        PixelMeasuresSequence=[_measures(datasets)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=first.ImageOrientationPatient)],
        SegmentIdentificationSequence=[item(ReferencedSegmentNumber=1)],
    )
    dimensions = {
        "ReferencedSegmentNumber": "SegmentIdentificationSequence",
        "ImagePositionPatient": "PlanePositionSequence",
    }
    indices = [
        item(
            DimensionOrganizationUID=order,
            DimensionIndexPointer=tag_for_keyword(name),
            FunctionalGroupPointer=tag_for_keyword(group),
            DimensionDescriptionLabel=name,
        )
        for name, group in dimensions.items()
    ]
    return item(
        Rows=first.Rows,
        Columns=first.Columns,
        NumberOfFrames=len(slices),
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=1,
        BitsStored=1,
        HighBit=0,
        PixelRepresentation=0,
        DimensionOrganizationSequence=[item(DimensionOrganizationUID=order)],
        DimensionIndexSequence=indices,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=[_frame(datasets[k], number) for number, k in enumerate(slices, start=1)],
    )


def _measures(datasets: Sequence[Any]) -> Any:
    from pydicom.valuerep import DSfloat

    first, measures = datasets[0], item(PixelSpacing=datasets[0].PixelSpacing)
    spacing = first.get("SliceThickness") or 1.0
    if len(datasets) > 1:
        across = np.linalg.norm(position(datasets[-1]) - position(first))
        spacing = measures.SpacingBetweenSlices = DSfloat(float(across) / (len(datasets) - 1), auto_format=True)
    measures.SliceThickness = first.get("SliceThickness") or spacing
    return measures


def _frame(dataset: Any, number: int) -> Any:
    """Returns the functional groups of one frame."""
    derivation = item(
        DerivationCodeSequence=[code("113076", "DCM", "Segmentation")], SourceImageSequence=[source_image(dataset)]
    )
    return item(
        DerivationImageSequence=[derivation],
        FrameContentSequence=[item(DimensionIndexValues=[1, number])],
        PlanePositionSequence=[item(ImagePositionPatient=dataset.ImagePositionPatient)],
    )


def _references(datasets: Sequence[Any]) -> Any:
    """Returns the list of all images that the segmentation refers to (Common Instance Reference)."""
    images = [
        item(ReferencedSOPClassUID=dataset.SOPClassUID, ReferencedSOPInstanceUID=dataset.SOPInstanceUID)
        for dataset in datasets
    ]
    series = item(SeriesInstanceUID=datasets[0].SeriesInstanceUID, ReferencedInstanceSequence=images)
    return item(ReferencedSeriesSequence=[series])
