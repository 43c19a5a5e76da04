"""Writing slices with filled pixels as a new, derived DICOM series. Needs the extra `dicom` (pydicom).

Three things change in each dataset: the filled pixels; the attributes that identify it as part of a new, derived series
(DICOM PS3.3, C.7.6.1 General Image and C.12.1 SOP Common); and attributes that described the old pixels, which are taken out.
What says when and how the patient was imaged stays.
"""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

import ipmedgan_jax
from ipmedgan_jax.core import files
from ipmedgan_jax.imaging.dicom_files import MANUFACTURER
from ipmedgan_jax.imaging.dicom_parsing import pydicom_errors, quiet

_NUMBER_OFFSET = 9000
"""Added to the number of the source series, so that the new one stands apart and its source stays visible."""

_NUMBERS_END = 2**31
"""Absolute value that whole numbers stay below (DICOM PS3.5, 6.2: IS)."""

_LONGEST = 64
"""Largest number of characters of a short text (DICOM PS3.5, 6.2: LO)."""

_STALE = (
    *("SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries", "LargestPixelValueInSeries"),
    *("IconImageSequence", "DigitalSignaturesSequence", "MACParametersSequence", "InstanceCreatorUID"),
)
"""Attributes of the old pixels, and signatures that the new ones break. All are optional."""

_DAY = 24 * 60
"""Minutes."""

_CREATION = ("InstanceCreation", "Series", "Content")
"""The dates and times of a derived image's own creation; those of the study and the acquisition are its source's."""


def write_derived(
    output: Path,
    datasets: Sequence[Any],
    sources: Sequence[Path],
    where: np.ndarray,
    filled: np.ndarray,
    description: str,
    *,
    replace: bool = False,
) -> None:
    """Writes a series derived from another to a folder; the write is atomic.

    UserError if the folder exists at its end, unless it may be replaced.

    Args:
      output: the folder.
      datasets: the slices of the source.
      sources: their files, whose names are kept if no two are equal.
      where: the pixels that change, bool `[columns, rows, slices]`.
      filled: their new values in the image's unit, of the same shape.
      description: text for the derivation description.
      replace: whether a folder that exists is replaced, once all slices are written.
    """
    from pydicom import dcmwrite
    from pydicom.uid import generate_uid

    names = [path.name for path in sources]
    if len({name.lower() for name in names}) < len(names):
        names = [f"{i:05}.dcm" for i in range(len(names))]
    series, created = generate_uid(), datetime.now().astimezone()
    with quiet(), files.atomic_folder(output, replace=replace) as unfinished:
        for i, (dataset, name) in enumerate(zip(datasets, names, strict=True)):
            with writing_errors(sources[i]):
                changed = copy.deepcopy(dataset)
            _set_pixels(changed, dataset, where[..., i].T, filled[..., i].T)
            _mark_derived(changed, dataset, description, created)
            changed.update(item(SeriesInstanceUID=series))
            content = BytesIO()
            with writing_errors(sources[i]):
                dcmwrite(content, changed, enforce_file_format=True, little_endian=True, implicit_vr=False)
            (unfinished / name).write_bytes(content.getvalue())


def writing_errors(path: Path | str) -> AbstractContextManager[None]:
    """Turns errors of pydicom about a slice that could be read and cannot be written into a UserError."""
    return pydicom_errors(path, "cannot be written as DICOM", "repair or leave out the attribute")


def scaling(dataset: Any) -> tuple[float, float]:
    """Returns a slice's slope and intercept: value = stored * slope + intercept."""
    return float(dataset.get("RescaleSlope", 1) or 1), float(dataset.get("RescaleIntercept", 0) or 0)


def series_number(source: Any, offset: int = _NUMBER_OFFSET) -> int:
    """Returns the number of a series derived from that of a dataset: higher by an offset, or lower where DICOM ends."""
    number = int(source.get("SeriesNumber") or 0)
    fitting = [made for made in (number + offset, number - offset) if abs(made) < _NUMBERS_END]
    return fitting[0] if fitting else offset


def series_description(source: Any, mark: str) -> str:
    """Returns the description of a series derived from that of a dataset, with a mark at its end.

    If it would be too long, the source's own words are cut, and never a mark, so that no derived series has the description
    of its source.
    """
    text, marks = str(source.get("SeriesDescription") or "").strip(), f" {mark}"
    while text.endswith(f" {mark}"):  # the source is such a series itself
        text, marks = text.removesuffix(f" {mark}"), f"{marks} {mark}"
    return ended(text, marks).strip()


def ended(text: str, end: str) -> str:
    """Returns a text and its end as a value of at most `_LONGEST` characters; the text is cut before the end is."""
    return (text[: max(_LONGEST - len(end), 0)] + end)[:_LONGEST]


def set_creation(dataset: Any, created: datetime) -> None:
    """Sets the dates and times of an instance's own creation, in the dataset's time zone if it names one."""
    zone = str(dataset.get("TimezoneOffsetFromUTC") or "")
    if len(zone) == 5 and zone[1:].isdecimal() and (minutes := int(zone[1:3]) * 60 + int(zone[3:])) < _DAY:
        created = created.astimezone(timezone(timedelta(minutes=-minutes if zone[0] == "-" else minutes)))
    for name in _CREATION:
        date, time = created.strftime("%Y%m%d"), created.strftime("%H%M%S")
        dataset.update(item(**{f"{name}Date": date, f"{name}Time": time}))


def add_equipment(dataset: Any, description: str, created: datetime) -> None:
    """Adds this program to the equipment that contributed to an instance (DICOM PS3.3, C.12.1.1.5)."""
    equipment = item(
        PurposeOfReferenceCodeSequence=[code("109102", "DCM", "Processing Equipment")],
        Manufacturer=MANUFACTURER,
        ManufacturerModelName="inpaint",
        SoftwareVersions=ipmedgan_jax.__version__,
        ContributionDateTime=created.strftime("%Y%m%d%H%M%S%z"),
        ContributionDescription=description[:1024],
    )
    earlier = dataset.get("ContributingEquipmentSequence") or ()
    dataset.update(item(ContributingEquipmentSequence=[*earlier, equipment]))


def source_image(source: Any) -> Any:
    """Returns the item of a Source Image Sequence: a reference to an image whose pixels lie at the same places."""
    return item(
        ReferencedSOPClassUID=source.SOPClassUID,
        ReferencedSOPInstanceUID=source.SOPInstanceUID,
        PurposeOfReferenceCodeSequence=[code("121322", "DCM", "Source image for image processing operation")],
        SpatialLocationsPreserved="YES",
    )


def code(value: str, scheme: str, meaning: str) -> Any:
    """Returns the item of a code sequence."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def item(**values: Any) -> Any:
    """Returns the item of a sequence, or another data set, with some attributes."""
    from pydicom.dataset import Dataset

    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def _set_pixels(changed: Any, source: Any, selected: np.ndarray, filled: np.ndarray) -> None:
    """Gives a slice new pixels, uncompressed; rounds and clips values to the range of the stored bits."""
    from pydicom.uid import ExplicitVRLittleEndian

    (slope, intercept), bits = scaling(source), int(source.BitsStored)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if source.PixelRepresentation else (0, 2**bits - 1)
    new = np.clip(np.rint((filled[selected] - intercept) / slope), low, high).astype(np.int64)
    if not source.file_meta.TransferSyntaxUID.is_little_endian:
        _swap_words(changed)
    words = _stored_words(source)
    # Some series keep other data in the remaining bits, and some repeat the sign there.
    pixel_bits = 2 ** (8 * words.itemsize if source.PixelRepresentation and _repeats_sign(words, bits) else bits) - 1
    words[selected] = (words[selected] & ~np.array(pixel_bits, words.dtype)) | (new & pixel_bits).astype(words.dtype)
    changed.PixelData = words.tobytes() + b"\0" * (words.nbytes % 2)
    changed["PixelData"].VR = "OW" if int(source.BitsAllocated) > 8 else "OB"
    changed.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _stored_words(dataset: Any) -> np.ndarray:
    """Returns a copy of the pixels `[rows, columns]` as unsigned little-endian words, unused bits included."""
    kind = np.dtype(f"<u{int(dataset.BitsAllocated) // 8}")
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_compressed or not syntax.is_little_endian:
        return np.ascontiguousarray(dataset.pixel_array).astype(kind.newbyteorder("<")).view(kind)
    count = int(dataset.Rows) * int(dataset.Columns)
    return np.frombuffer(dataset.PixelData, kind, count).reshape(dataset.Rows, dataset.Columns).copy()


def _repeats_sign(words: np.ndarray, bits: int) -> bool:
    """Whether each word has the sign of its pixel, which takes the lowest `bits`, in all bits above it too."""
    signed, above = words.view(f"<i{words.itemsize}"), 8 * words.itemsize - bits
    return bool(np.array_equal((signed << above) >> above, signed))


def _swap_words(changed: Any) -> None:
    """Turns the 16-bit words of overlays and the like to little endian; pydicom keeps their bytes."""
    with writing_errors(changed.filename):
        elements = list(changed.iterall())
    for element in elements:
        if element.VR == "OW" and element.keyword != "PixelData":
            element.value = np.frombuffer(element.value, ">u2").astype("<u2").tobytes()


def _mark_derived(changed: Any, source: Any, description: str, created: datetime) -> None:
    """Gives a slice the identity of a derived image, and takes out what described its source's pixels."""
    from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, generate_uid

    for name in _STALE:
        changed.pop(name, None)
    for name in ("ImplementationVersionName", "SourceApplicationEntityTitle"):
        changed.file_meta.pop(name, None)
    uid = generate_uid()
    changed.file_meta.update(
        item(
            MediaStorageSOPClassUID=source.SOPClassUID,
            MediaStorageSOPInstanceUID=uid,
            ImplementationClassUID=PYDICOM_IMPLEMENTATION_UID,
        )
    )
    changed.update(  # not by attribute, which would keep the value representations of the file
        item(
            SOPInstanceUID=uid,
            SeriesNumber=series_number(source),
            SeriesDescription=series_description(source, "inpainted"),
            ImageType=["DERIVED", "SECONDARY", *_image_type(source)[2:]],
            DerivationDescription=description[:1024],
            DerivationCodeSequence=[code("INPAINT", "99IPMEDGAN", "Inpainting")],
            SourceImageSequence=[source_image(source)],
        )
    )
    set_creation(changed, created)
    add_equipment(changed, description, created)


def _image_type(source: Any) -> list[str]:
    """Returns the values of ImageType; pydicom gives a single one as text."""
    kind = source.get("ImageType") or []
    return [kind] if isinstance(kind, str) else [value for value in kind if isinstance(value, str)]
