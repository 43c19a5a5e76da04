"""Small valid files of each format, which the soak damages: NIfTI, and DICOM as slices, segmentation and structure set."""

import copy
import functools
import gzip
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel
import numpy as np

SHAPE = (9, 8, 4)
JPEG = b"1.2.840.10008.1.2.4.50"
"""The transfer syntax of the slice of 8 bits."""

_UID = "1.2.826.0.1.3680043.8.498."


def volume() -> np.ndarray:
    """Returns intensities `SHAPE`, uint16: noise in a box, in air."""
    stored = np.zeros(SHAPE, np.uint16)
    stored[2:7, 2:6] = np.random.default_rng(0).integers(300, 900, (5, 4, SHAPE[2]))
    return stored


def voxels() -> np.ndarray:
    """Returns a mask of the volume, uint8."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:5, 3:5, 1:3] = 1
    return mask


@functools.cache
def nifti_files(*, mask: bool = False) -> tuple[bytes, ...]:
    """Returns a volume, or a mask of it, as NIfTI-1 and NIfTI-2, in both byte orders, with an extension and compressed."""
    array = voxels() if mask else volume().astype(np.int16)
    files = []
    for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image):
        image = kind(array, np.diag([-2.0, -2.0, 2.0, 1.0]))
        image.header.set_xyzt_units("mm")
        files.append(image.to_bytes())
    swapped = nibabel.Nifti1Image(array, np.diag([-2.0, -2.0, 2.0, 1.0]), nibabel.Nifti1Header(endianness=">"))
    if not mask:
        swapped.header.set_slope_inter(0.5, -10.0)
        swapped.header.set_data_dtype(np.float32)
    swapped.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"hello"))
    files.append(swapped.to_bytes())
    files.append(gzip.compress(files[0], mtime=0))
    return tuple(files)


def slice_at(k: int, *, of_bytes: bool = False) -> Any:
    """Returns slice `k` of the volume as a DICOM data set of explicit little endian, with pixels of 16 or 8 bits."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, f"{_UID}{k + 1}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    values = {
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": f"{_UID}{k + 1}",
        "StudyDate": "20200101",
        "Modality": "MR",
        "TimezoneOffsetFromUTC": "+0100",
        "SeriesDescription": "head",
        "PatientName": "A^B",
        "PatientID": "someone",
        "StudyInstanceUID": f"{_UID}90",
        "SeriesInstanceUID": f"{_UID}91",
        "SeriesNumber": 4,
        "ImagePositionPatient": [0, 0, 2.0 * k],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "FrameOfReferenceUID": f"{_UID}92",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": SHAPE[1],
        "Columns": SHAPE[0],
        "PixelSpacing": [2, 2],
        "SliceThickness": 2,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "RescaleIntercept": -10,
        "RescaleSlope": 1,
        "PixelData": volume()[..., k].T.tobytes(),
    }
    if of_bytes:
        pixels = (volume()[..., k].T // 4).astype(np.uint8)
        values |= {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": pixels.tobytes()}
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset["PixelData"].VR = "OB" if of_bytes else "OW"
    return dataset


def encode(dataset: Any) -> bytes:
    """Returns a data set as a file whose sequences have no length, so that an element can be changed within them."""
    for element in dataset.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@functools.cache
def slice_files() -> tuple[bytes, ...]:
    """Returns the first slice in several transfer syntaxes: explicit, implicit, big endian, deflated, RLE and JPEG."""
    from pydicom import uid
    from pydicom.encaps import encapsulate

    files = [encode(slice_at(0))]
    for syntax in (uid.ImplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian):
        dataset = slice_at(0)
        dataset.file_meta.TransferSyntaxUID = syntax
        files.append(encode(dataset))
    dataset = slice_at(0)
    dataset.compress(uid.RLELossless, generate_instance_uid=False)
    files.append(encode(dataset))
    dataset = slice_at(0, of_bytes=True)
    dataset.PixelData = encapsulate([_jpeg(dataset.pixel_array)])
    dataset.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    files.append(encode(dataset))
    return tuple(files)


def _jpeg(pixels: np.ndarray) -> bytes:
    from PIL import Image

    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


@functools.cache
def segmentation_files() -> tuple[bytes, ...]:
    """Returns a segmentation of the volume, as it is and with compressed frames."""
    import pydicom

    from ipmedgan_jax.imaging import dicom_seg_writing

    with TemporaryDirectory() as folder:
        path = Path(folder, "seg.dcm")
        dicom_seg_writing.write(path, [slice_at(k) for k in range(SHAPE[2])], voxels().astype(bool), "made")
        made = _without_chance(pydicom.dcmread(path))
    labels = copy.deepcopy(made)
    labels.SegmentationType, labels.BitsAllocated, labels.BitsStored, labels.HighBit = "FRACTIONAL", 8, 8, 7
    labels.MaximumFractionalValue = 1
    labels.PixelData = voxels()[..., 1:3].T.tobytes()
    labels.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    return encode(made), encode(labels)


def _without_chance(dataset: Any) -> Any:
    """Replaces the UIDs and times that differ from call to call, in place."""
    known: dict[str, str] = {}
    for element in dataset.iterall():
        if element.VR == "UI" and str(element.value).startswith(_UID) and len(element.value) > 40:
            element.value = known.setdefault(str(element.value), f"{_UID}70{len(known)}")
        elif element.VR in ("DA", "TM", "DT"):
            element.value = {"DA": "20200101", "TM": "120000", "DT": "20200101120000"}[element.VR]
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


@functools.cache
def structure_files() -> tuple[bytes, ...]:
    """Returns a structure set with two contours in the volume."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    from ipmedgan_jax.imaging.dicom_files import STRUCTURE_SET
    from ipmedgan_jax.imaging.dicom_writing import item

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = STRUCTURE_SET, f"{_UID}80"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID, made.PatientID = STRUCTURE_SET, f"{_UID}80", "someone"
    made.Modality, made.SeriesInstanceUID, made.StudyInstanceUID = "RTSTRUCT", f"{_UID}81", f"{_UID}90"
    series = item(SeriesInstanceUID=f"{_UID}91")
    study = item(ReferencedSOPInstanceUID=f"{_UID}90", RTReferencedSeriesSequence=[series])
    made.ReferencedFrameOfReferenceSequence = [item(FrameOfReferenceUID=f"{_UID}92", RTReferencedStudySequence=[study])]
    made.StructureSetROISequence = [item(ROINumber=1, ROIName="lesion", ReferencedFrameOfReferenceUID=f"{_UID}92")]
    contours = [
        item(
            ContourImageSequence=[item(ReferencedSOPInstanceUID=f"{_UID}{k + 1}")],
            ContourGeometricType="CLOSED_PLANAR",
            NumberOfContourPoints=4,
            ContourData=[5, 5, 2 * k, 11, 5, 2 * k, 11, 9, 2 * k, 5, 9, 2 * k],
        )
        for k in (1, 2)
    ]
    made.ROIContourSequence = [item(ReferencedROINumber=1, ContourSequence=contours)]
    return (encode(made),)
