"""Scans as volumes: reading NIfTI and DICOM, orientation, resampling, and the intensity window.

Arrays are [X, Y, Z] in canonical RAS+ orientation: X grows to the subject's right, Y to the front, Z to the head.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import nibabel
import numpy as np

from ipmedgan_jax.core import memory
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import dicom, dicom_files, nifti
from ipmedgan_jax.imaging.geometry import check_extent, find_axes, reorient, resampling, without_trailing_axes

MODALITIES = ("mri", "ct")

Window = tuple[float, float]
"""The intensities that map to -1 and to 1."""

UNPLACED = "has no sform or qform; its header's default is used, left and right may be exchanged"
"""Warning about a file that is not `placed`."""

_BYTES_PER_NEW_VOXEL = 32
"""Memory that a resampled volume takes at most, per voxel, while its slices are made; measured."""

_LARGEST = 1e30
"""Largest intensity, and reciprocal of the smallest range of them, that float32 computes with."""

_NO_AIR_HU = -200  # air is near -1000 HU; nothing in an MRI is below this


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan in canonical orientation; `array` is [X, Y, Z], float32, in the source's unit."""

    path: Path
    array: np.ndarray
    spacing_mm: tuple[float, float, float]  # along X, Y, Z
    orientation: str  # axis codes of the file: the axes of "LPS" run to the left, to the back and to the head
    integer: bool  # whether the file's intensities are whole numbers


class ScanFile(Protocol):
    """The stored form of a scan: `nifti.NiftiFile` or `dicom.DicomSeries`."""

    @property
    def path(self) -> Path: ...

    @property
    def stored(self) -> np.ndarray: ...

    @property
    def placed(self) -> bool: ...

    @property
    def modality(self) -> str: ...

    @property
    def affine(self) -> np.ndarray: ...

    def values(self) -> np.ndarray: ...

    def write_filled(
        self, output: Path, where: np.ndarray, values: np.ndarray, description: str, *, replace: bool = False
    ) -> None: ...


@dataclass(frozen=True, eq=False)
class Scan:
    """A volume with the file or DICOM series that stores it."""

    file: ScanFile
    volume: Volume
    axes: np.ndarray  # nibabel's orientation of the file's axes: the canonical axis and direction of each
    affine: np.ndarray  # maps the volume's voxels to millimetres

    def in_file_order(self, array: np.ndarray) -> np.ndarray:
        """Reorders a canonical `[X, Y, Z]` to the file's axes and shape."""
        inverse = np.empty_like(self.axes)
        inverse[self.axes[:, 0].astype(int)] = np.column_stack([np.arange(3), self.axes[:, 1]])
        return nibabel.orientations.apply_orientation(array, inverse).reshape(self.file.stored.shape)


def read_volume(path: Path | str) -> Volume:
    """Reads one 3-D volume; UserError names the fault of an unusable file."""
    return read_scan(path).volume


def read_file(path: Path, series: str = "") -> ScanFile:
    """Reads a NIfTI file, or a DICOM series in a folder; UserError names the fault of an unusable one.

    `series` is the number, UID or description of the series, for a folder that holds several.
    """
    if path.is_dir():
        return dicom.read(path, series)
    dicom_files.refuse_file(path)
    if path.suffix == dicom_files.SUFFIX and not path.exists():
        raise UserError(f"{path}: not found; give an existing file")
    return nifti.read(path)


def read_scan(path: Path | str, *, series: str = "", finite: bool = True) -> Scan:
    """Reads a volume with its file; a folder is read as a DICOM series.

    The spacing is the length of a voxel's edges by the file's affine. If a gantry tilt shears the volume, it is measured
    along the shear.

    Args:
      path: a NIfTI file, or the folder of a DICOM series.
      series: the number, UID or description of the series, for a folder that holds several.
      finite: whether NaN and infinite voxels are an error; if False they are accepted.
    """
    return scan_of(read_file(Path(path), series), finite=finite)


def scan_of(file: ScanFile, *, finite: bool = True) -> Scan:
    """Returns the scan that a file holds, which may have been made in memory; see `read_scan`."""
    path = file.path
    data = without_trailing_axes(file.values())
    _check_shape(path, data.shape)
    # What is beyond float32 becomes infinite. A signalling NaN is a NaN like others, and `_check_values` names it.
    with np.errstate(over="ignore", invalid="ignore"):
        integer = bool(np.array_equal(data, np.rint(data)))
        data = data.astype(np.float32, copy=False)
    _check_values(path, data, finite)
    axes = find_axes(path, file.affine)
    array, canonical_affine = reorient(data, file.affine)
    spacing = nibabel.affines.voxel_sizes(canonical_affine)
    check_extent(path, array.shape, spacing)
    volume = Volume(
        path=path,
        array=np.ascontiguousarray(array),
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        orientation="".join(nibabel.orientations.ornt2axcodes(axes)),
        integer=integer,
    )
    return Scan(file, volume, axes, canonical_affine)


def _check_shape(path: Path, shape: tuple[int, ...]) -> None:
    if len(shape) != 3:
        raise UserError(f"{path}: has shape {shape}, a 3-D volume is needed; split or stack it into volumes")
    if 0 in shape:
        raise UserError(f"{path}: has an empty axis (shape {shape}); export it again")


def _check_values(path: Path, data: np.ndarray, finite: bool) -> None:
    usable = data if finite else data[np.isfinite(data)]
    if finite or not usable.size:
        check_finite(path, data)
    low, high = (float(usable.min()), float(usable.max())) if usable.size else (0.0, 0.0)
    if low == high:
        raise UserError(f"{path}: every voxel is {low:g}, there is no image in it; leave the file out")
    if max(-low, high) > _LARGEST or high - low < 1 / _LARGEST:
        raise UserError(f"{path}: its intensities run from {low:g} to {high:g}; rescale them first, to 0..1000 for example")


def check_finite(path: Path, values: np.ndarray) -> None:
    """UserError if some values are NaN or infinite."""
    if bad := int(values.size - np.isfinite(values).sum()):
        raise UserError(f"{path}: {bad} of its {values.size} voxels are NaN or infinite; replace them by the background")


def resample(volume: Volume, mm: float) -> Volume:
    """Resamples a volume to isotropic voxels of `mm`, by linear interpolation along each voxel axis; 0 keeps its grid.

    The new grid is centred on the old one. Voxels beyond the outermost voxel centres take the nearest voxel's value, so no
    value leaves the source's range. A shear (gantry tilt) stays: only the voxel axes are scaled, so slices stay slices.
    """
    stretches = resampling(volume.array.shape, volume.spacing_mm, mm)
    if not stretches:
        return volume
    after = [stretch.after for stretch in stretches]
    memory.check(volume.path, math.prod(after) * _BYTES_PER_NEW_VOXEL, f"its resampling by data.resample_mm to {after}")
    array = volume.array
    for stretch in stretches:
        array = stretch.apply(array, stretch.axis)
    return replace(volume, array=array, spacing_mm=(mm, mm, mm))


def intensity_window(
    array: np.ndarray,
    modality: str,
    *,
    window_hu: tuple[float, float],
    percentiles: tuple[float, float],
    foreground_level: float,
) -> tuple[float, float]:
    """Returns the intensities that map to -1 and to 1.

    CT: the HU window.

    MRI: the low end is the low percentile of ALL voxels. It lies in the background, if there is one, so that air and the
    zeros of a skull-stripped scan map to -1 or nearly so. The high end is the high percentile of the foreground. The
    foreground is the voxels above the low end by `foreground_level` of the distance to the high percentile of all voxels,
    so that the amount of air around the head hardly changes the brightness of the brain.

    UserError for an MRI without foreground.

    Args:
      array: the volume's intensities.
      modality: `ct` or `mri`.
      window_hu: the window of CT.
      percentiles: the low and the high percentile of MRI, in 0..100.
      foreground_level: share, at least 0 and below 1.
    """
    if modality == "ct":
        return float(window_hu[0]), float(window_hu[1])
    low, bright = (float(value) for value in np.percentile(array, percentiles))
    if bright <= low:  # the object is a smaller share of the volume than the high percentile cuts off
        bright = float(array.max())
    foreground = array[array > low + foreground_level * (bright - low)]
    if not foreground.size:
        raise UserError(f"nearly every voxel is {low:g}: a mask rather than a scan? leave the file out")
    return low, float(np.percentile(foreground, percentiles[1]))


def modality_warning(volume: Volume, modality: str) -> str:
    """Returns a warning if a volume's values do not look like its modality's, else an empty string."""
    lowest = float(volume.array.min())
    if modality == "ct" and lowest >= _NO_AIR_HU:
        return f"no value below {_NO_AIR_HU}, so not the usual HU of CT (lowest {lowest:g})"
    if modality == "mri" and lowest < _NO_AIR_HU:
        return f"values down to {lowest:g} look like the HU of CT, but modality is mri"
    return ""


def likely_modality(volume: Volume) -> str:
    """Returns the modality that a volume's values look like: `ct` if some are as low as the HU of air, else `mri`."""
    return "ct" if float(volume.array.min()) < _NO_AIR_HU else "mri"


def to_unit(intensities: Any, window: Window) -> np.ndarray:
    """Maps the window to [-1, 1]; clips intensities outside it."""
    low, high = window
    return np.clip((np.asarray(intensities, np.float32) - low) * np.float32(2 / (high - low)) - 1, -1, 1)


def from_unit(images: np.ndarray, window: Window) -> np.ndarray:
    """Maps [-1, 1] to the intensities of the window."""
    low, high = window
    return (images + 1) * np.float32((high - low) / 2) + np.float32(low)


def background(window: Window, intensities: np.ndarray) -> float:
    """Returns the intensity of padding: the lowest of the given intensities, or the window's low end if that is higher."""
    return max(window[0], float(intensities.min()))
