"""Reading regions of a DICOM structure set (RTSTRUCT) as a mask. Needs the extra `dicom` (pydicom).

A structure set has closed planar contours in millimetres and no grid (DICOM PS3.3, C.8.8.6), so a region is drawn on the
grid of the scan. A voxel is inside if its centre lies in or on an odd number of the contours of one plane: a contour inside
another one is a cavity, as planning systems write it. Arrays are `[i, j, k]` in the axes of the scan's file.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nibabel
import numpy as np
from skimage.measure import points_in_poly

from ipmedgan_jax.core import memory
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging.dicom import TO_RAS
from ipmedgan_jax.imaging.dicom_parsing import Values

_CLOSED = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"})

_SAME_PLANE_MM = 0.05
"""Largest distance of two contours of one plane."""

_FLAT_MM = 0.5
"""Largest extent of a contour across its plane; coordinates are sometimes rounded."""

_LARGEST_SLAB_MM = 10.0
"""Planes further apart than this are no neighbours; a contour then stands for its own plane only."""

_FARTHEST_MM = 1e6
"""Largest coordinate of a point."""

_MOST_TESTS = 2**39
"""Largest number of tests of a voxel against an edge of a contour; an hour's work."""

_BYTES_PER_VOXEL = 160
"""Memory that the voxels near a contour take, each."""

_ON_CONTOUR_MM = 0.1
"""Distance from a contour within which a voxel's centre lies on it.

Contours often run through the centres of the outermost voxels, and positions are often rounded to 0.1 mm.
"""

_ON_CONTOUR_SHARE = 0.2
"""Largest such distance as a share of a voxel's shortest edge."""


@dataclass(frozen=True, eq=False)
class StructureSet:
    """The regions of a structure set; `scan_affine` and `scan_shape` are of a scan, `images` the UIDs of its slices."""

    values: Values
    scan_affine: np.ndarray
    scan_shape: tuple[int, ...]
    images: frozenset[str]

    @property
    def path(self) -> Path:
        """The file."""
        return self.values.path

    @cached_property
    def names(self) -> dict[int, str]:
        """The name of each region that has closed contours, by its ROI number."""
        listed = self.values.items("StructureSetROISequence")
        names = {region.integer("ROINumber"): region.text("ROIName") for region in listed}
        return {number: names.get(number, "") for number, contours in sorted(self._contours.items()) if contours}

    def select(self, numbers: Collection[int]) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Returns the voxels of some regions, bool, their affine (millimetres, RAS+), and notes for the user."""
        selected, notes = np.zeros(self.scan_shape, bool), []
        for number in numbers:
            normal = _normal(self._contours[number], self.scan_affine)
            planes = self._planes(number, normal)
            slab = 0.0 if self._drawn_on_scan(number) else _slab_mm(list(planes))
            for contours in planes.values():
                self._draw(selected, contours, normal, slab)
            if slab > 1.5 * nibabel.affines.voxel_sizes(self.scan_affine).max():
                notes.append(
                    f"{self.path}: the contours of {number} ({self.names[number]}) are {slab:g} mm apart, further than the "
                    "slices; each fills the slices within half of that"
                )
        return selected, self.scan_affine, notes

    @cached_property
    def _contours(self) -> dict[int, list[np.ndarray]]:
        """The closed contours `[points, 3]` of each region, in RAS+ millimetres; UserError for one of no whole points."""
        found: dict[int, list[np.ndarray]] = {}
        for region in self.values.items("ROIContourSequence"):
            number = region.integer("ReferencedROINumber")
            contours = found.setdefault(number, [])
            for contour in region.items("ContourSequence"):
                data = contour.contour("ContourData")
                if len(data) % 3 or np.abs(data).max(initial=0) > _FARTHEST_MM:
                    raise UserError(f"{self.path}: a contour of region {number} is damaged; export it again")
                if len(data) and contour.text("ContourGeometricType") in _CLOSED:
                    contours.append(nibabel.affines.apply_affine(TO_RAS, data.reshape(-1, 3)))
        return found

    def _drawn_on_scan(self, number: int) -> bool:
        """Whether the contours of a region refer to images of the scan, so that each belongs to one of its slices."""
        for region in self.values.items("ROIContourSequence"):
            if region.integer("ReferencedROINumber") == number:
                contours = region.items("ContourSequence")
                images = (image for contour in contours for image in contour.items("ContourImageSequence"))
                return any(image.text("ReferencedSOPInstanceUID") in self.images for image in images)
        return False

    def _planes(self, number: int, normal: np.ndarray) -> dict[float, list[np.ndarray]]:
        """Returns the contours of a region that lie in one plane, by the plane's offset; UserError if planes cross."""
        planes: dict[float, list[np.ndarray]] = {}
        for contour in self._contours[number]:
            offsets = contour @ normal
            if np.ptp(offsets) > _FLAT_MM:
                raise UserError(f"{self.path}: region {number} ({self.names[number]}) has contours that are not parallel")
            offset = next((offset for offset in planes if abs(offset - offsets.mean()) <= _SAME_PLANE_MM), offsets.mean())
            planes.setdefault(float(offset), []).append(contour)
        return planes

    def _draw(self, selected: np.ndarray, plane: list[np.ndarray], normal: np.ndarray, slab: float) -> None:
        """Marks the voxels whose centres lie in or on the contours of a plane, within half of the slab of it."""
        basis = np.linalg.svd(normal[None])[2][1:].T  # two directions in the plane
        depth = float(np.abs(normal @ self.scan_affine[:3, :3]).sum())
        reach = max(slab, depth) / 2 + 1e-6
        indices, centres = self._voxels_near(np.concatenate(plane), reach)
        offsets = centres - plane[0][0]
        near = np.abs(offsets @ normal) <= reach
        indices, flat = indices[near], offsets[near] @ basis
        if len(indices) * sum(map(len, plane)) > _MOST_TESTS:
            raise UserError(f"{self.path}: a contour has too many points for this scan; export it again with fewer")
        outlines = [(contour - plane[0][0]) @ basis for contour in plane]
        tolerance = min(_ON_CONTOUR_MM, _ON_CONTOUR_SHARE * nibabel.affines.voxel_sizes(self.scan_affine).min())
        shifts = np.array([(1, 1), (1, -1), (-1, 1), (-1, -1)]) * tolerance / np.sqrt(2)
        within = np.array([[points_in_poly(flat + shift, outline) for outline in outlines] for shift in shifts])
        selected[tuple(indices[np.logical_xor.reduce(within, axis=1).any(0)].T)] = True
        for i, contour in enumerate(plane):
            if not within[:, i].any():  # smaller than a voxel
                self._mark_points(selected, contour)

    def _voxels_near(self, points: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
        """Returns the indices `[n, 3]` and centres of the scan's voxels in the box around points, with a margin in mm."""
        at = nibabel.affines.apply_affine(np.linalg.inv(self.scan_affine), points)
        margin = reach * np.linalg.norm(np.linalg.inv(self.scan_affine[:3, :3]), axis=1) + 1e-3
        low = np.clip(np.floor(at.min(0) - margin), 0, self.scan_shape).astype(int)
        high = np.clip(np.ceil(at.max(0) + margin) + 1, 0, self.scan_shape).astype(int)
        size = math.prod((high - low).tolist())
        memory.check(self.path, size * _BYTES_PER_VOXEL, f"a contour, which {size:,} voxels lie near,")
        axes = (np.arange(start, stop) for start, stop in zip(low, high, strict=True))
        indices = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        return indices, nibabel.affines.apply_affine(self.scan_affine, indices)

    def _mark_points(self, selected: np.ndarray, points: np.ndarray) -> None:
        nearest = np.rint(nibabel.affines.apply_affine(np.linalg.inv(self.scan_affine), points)).astype(int)
        inside = ((nearest >= 0) & (nearest < self.scan_shape)).all(1)
        selected[tuple(nearest[inside].T)] = True


def _normal(contours: list[np.ndarray], scan_affine: np.ndarray) -> np.ndarray:
    """Returns the unit normal of the largest contour; of the scan's slices if no contour has an area."""
    areas = [np.cross(points - points[0], np.roll(points, -1, 0) - points[0]).sum(0) for points in contours]
    largest = max(areas, key=lambda area: float(np.linalg.norm(area)))
    if np.linalg.norm(largest) < 1e-6:
        largest = np.cross(scan_affine[:3, 0], scan_affine[:3, 1])
    return largest / np.linalg.norm(largest)


def _slab_mm(offsets: list[float]) -> float:
    """Returns the distance of neighbouring planes in millimetres; 0 if they are too far apart to be neighbours."""
    apart = np.diff(np.sort(offsets))
    return float(apart.min()) if len(apart) and apart.min() <= _LARGEST_SLAB_MM else 0.0
