"""Small DICOM series and structure sets for tests. Import it after `pytest.importorskip("pydicom")`."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation

from ipmedgan_jax.imaging.dicom_files import STRUCTURE_SET
from ipmedgan_jax.imaging.dicom_writing import item

AXIAL = np.eye(3)
OBLIQUE = Rotation.from_euler("xyz", (25, -10, 40), degrees=True).as_matrix()
SAGITTAL = np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]])


def write_slices(
    folder: Path,
    stored: np.ndarray,
    *,
    spacing=(0.7, 0.8, 2.0),
    axes=AXIAL,
    start=(-9.0, 5.0, 0.0),
    decimals=None,
    slopes=(1,),
    seed=0,
    change=lambda dataset: None,
    **values,
) -> Path:
    """Writes a CT series of stored values `[columns, rows, slices]`, its files in shuffled order.

    Args:
      spacing: distance of columns, rows and slices, in millimetres.
      axes: the directions of columns, rows and slices in DICOM's patient coordinates, as columns of a matrix.
      decimals: number of decimals that positions are rounded to.
      slopes: rescale slopes that the slices take in turn; the intercept is -1024.
      change: changes a dataset before it is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shared = {"SeriesInstanceUID": generate_uid(), "StudyInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid()}
    names = np.random.default_rng(seed).permutation(stored.shape[2])
    for i, name in enumerate(names):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        position = np.array(start) + i * spacing[2] * axes[:, 2]
        position = np.round(position, 6 if decimals is None else decimals)
        made = {
            "SOPClassUID": CTImageStorage,
            "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
            "PatientID": "someone",
            "Modality": "CT",
            "SeriesNumber": 4,
            "SeriesDescription": "head",
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "ImageOrientationPatient": np.round(axes[:, :2].T.ravel(), 9).tolist(),
            "ImagePositionPatient": position.tolist(),
            "PixelSpacing": [spacing[1], spacing[0]],
            "SliceThickness": spacing[2],
            "Rows": stored.shape[1],
            "Columns": stored.shape[0],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": 16,
            "BitsStored": 12,
            "HighBit": 11,
            "PixelRepresentation": 0,
            "RescaleSlope": slopes[i % len(slopes)],
            "RescaleIntercept": -1024,
            **shared,
            **values,
        }
        for key, value in made.items():
            setattr(dataset, key, value)
        dataset.PixelData = np.rint(stored[:, :, i].T / dataset.RescaleSlope).astype("<u2").tobytes()
        change(dataset)
        dataset.save_as(folder / f"{name}.dcm", enforce_file_format=True)
    return folder


def write_series(folder: Path, array: np.ndarray, **options) -> Path:
    """Writes an axial series of a canonical array `[X, Y, Z]` (right, anterior, superior) of HU."""
    return write_slices(folder, array[::-1, ::-1] + 1024, **options)  # DICOM's rows run to the left and to the back


def write_structures(path: Path, regions: dict[int, list[np.ndarray]], like: Dataset, *, images=(), **values) -> Path:
    """Writes a structure set of closed contours `[points, 3]` in DICOM's patient coordinates, of a series `like`.

    `images` are the slices that the contours refer to.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = STRUCTURE_SET, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = STRUCTURE_SET, meta.MediaStorageSOPInstanceUID
    made.SeriesInstanceUID, made.StudyInstanceUID, made.PatientID = generate_uid(), like.StudyInstanceUID, like.PatientID
    made.Modality = "RTSTRUCT"
    series = item(SeriesInstanceUID=like.SeriesInstanceUID)
    study = item(ReferencedSOPInstanceUID=like.StudyInstanceUID, RTReferencedSeriesSequence=[series])
    made.ReferencedFrameOfReferenceSequence = [
        item(FrameOfReferenceUID=like.FrameOfReferenceUID, RTReferencedStudySequence=[study])
    ]
    references = [
        item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID) for image in images
    ]
    made.StructureSetROISequence = [item(ROINumber=number, ROIName=f"region {number}") for number in regions]
    made.ROIContourSequence = [
        item(ReferencedROINumber=number, ContourSequence=[_contour(points, references) for points in contours])
        for number, contours in regions.items()
    ]
    for key, value in values.items():
        setattr(made, key, value)
    made.save_as(path, enforce_file_format=True)
    return path


def _contour(points: np.ndarray, references: list) -> Dataset:
    data = [float(f"{value:.6f}") for value in points.ravel()]
    contour = item(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=len(points), ContourData=data)
    if references:
        contour.ContourImageSequence = references
    return contour
