"""Reading a DICOM segmentation (SEG) as a mask. Needs the extra `dicom` (pydicom).

A segmentation is a set of frames, each with its own position and segment; frames without voxels are usually left out (DICOM
PS3.3, A.51 and C.8.20). Frames of the slices of a scan are put on its grid. Other frames get a grid of their own.
Arrays are `[columns, rows, slices]`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import dicom_pixels, geometry
from ipmedgan_jax.imaging.dicom import TO_RAS, plane_affine
from ipmedgan_jax.imaging.dicom_files import LABEL_MAP
from ipmedgan_jax.imaging.dicom_parsing import Values

_SAME_VOXEL = 0.25
"""Largest distance of a frame's corners from those of its slice, in voxels along each axis; positions are often rounded."""


@dataclass(frozen=True, eq=False)
class _Grid:
    """The slice of each frame, and the affine (millimetres, RAS+) and shape of the volume of these slices."""

    slices: np.ndarray
    affine: np.ndarray
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A segmentation read from a file; `scan_affine` and `scan_shape` are those of a scan."""

    values: Values
    scan_affine: np.ndarray
    scan_shape: tuple[int, ...]

    @property
    def path(self) -> Path:
        """The file."""
        return self.values.path

    @cached_property
    def names(self) -> dict[int, str]:
        """The label of each segment that has voxels, by its number."""
        segments = self.values.items("SegmentSequence")
        labels = {segment.integer("SegmentNumber"): segment.text("SegmentLabel") for segment in segments}
        return {number: labels.get(number, "") for number in self._segments_with_voxels()}

    def select(self, numbers: Collection[int]) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Returns the voxels of some segments, bool, their affine (millimetres, RAS+), and notes for the user."""
        grid = self._grid()
        geometry.check_memory(self.path, grid.shape, 1)
        selected = np.zeros(grid.shape, bool)
        for frame, segment, k in zip(self._frames, self._frame_segments, grid.slices, strict=True):
            if segment is None:
                selected[..., k] |= np.isin(frame, list(numbers)).T
            elif segment in numbers:
                selected[..., k] |= (frame > 0).T
        return selected, grid.affine, []

    @cached_property
    def _frames(self) -> np.ndarray:
        """The frames `[frames, rows, columns]`; UserError if they cannot be read or are no mask."""
        frames = dicom_pixels.decode(self.values.dataset, self.path)
        largest = self.values.integer("MaximumFractionalValue", 1)
        if self.values.text("SegmentationType") == "FRACTIONAL" and not np.isin(frames, (0, largest)).all():
            raise UserError(f"{self.path}: holds fractions of voxels; export it as a binary segmentation")
        return frames.reshape(dicom_pixels.shape(self.values))

    @cached_property
    def _frame_groups(self) -> list[Values]:
        """The functional groups of each frame; UserError if their number is another than that of the frames."""
        groups = self.values.items("PerFrameFunctionalGroupsSequence")
        if len(groups) != len(self._frames):
            raise UserError(
                f"{self.path}: has {len(self._frames)} frames and describes {len(groups)}; copy or export it again"
            )
        return groups

    @cached_property
    def _frame_segments(self) -> list[int | None]:
        """The segment of each frame; None for a label map, whose pixels are segment numbers."""
        if self.values.text("SOPClassUID") == LABEL_MAP or self.values.text("SegmentationType") == "LABELMAP":
            return [None] * len(self._frames)
        items = (self._macro(i, "SegmentIdentificationSequence") for i in range(len(self._frames)))
        return [item.integer("ReferencedSegmentNumber") for item in items]

    def _segments_with_voxels(self) -> list[int]:
        if None in self._frame_segments:
            return [int(number) for number in np.unique(self._frames[self._frames > 0])]
        pairs = zip(self._frames, self._frame_segments, strict=True)
        return sorted({segment for frame, segment in pairs if segment is not None and frame.any()})

    def _macro(self, i: int, name: str) -> Values:
        """Returns an item of the functional groups of frame `i`, or the one that all frames share; UserError without one."""
        for groups in (self._frame_groups[i], *self.values.items("SharedFunctionalGroupsSequence")[:1]):
            if found := groups.items(name):
                return found[0]
        raise UserError(f"{self.path}: frame {i + 1} has no {name}: not a segmentation of a volume")

    def _grid(self) -> _Grid:
        """Returns where the frames lie, on the scan's grid if they are slices of it; UserError if they form no volume."""
        count = len(self._frames)
        planes = [self._macro(i, "PlaneOrientationSequence").numbers("ImageOrientationPatient", 6) for i in range(count)]
        measures = [self._macro(i, "PixelMeasuresSequence") for i in range(count)]
        spacings = [measure.numbers("PixelSpacing", 2) for measure in measures]
        if not (np.allclose(planes, planes[0], atol=1e-4) and np.allclose(spacings, spacings[0], atol=1e-4)):
            raise UserError(f"{self.path}: its frames differ in orientation or spacing: not a segmentation of one volume")
        starts = np.array([self._macro(i, "PlanePositionSequence").numbers("ImagePositionPatient", 3) for i in range(count)])
        geometry.find_axes(self.path, plane_affine(planes[0], spacings[0], starts[0]))
        frame = plane_affine(planes[0], spacings[0], starts[0])
        on_scan = self._slices_of_scan(frame, starts)
        if on_scan is not None:
            return _Grid(on_scan, self.scan_affine, self.scan_shape)
        return self._own_grid(frame, starts, measures[0])

    def _slices_of_scan(self, frame: np.ndarray, starts: np.ndarray) -> np.ndarray | None:
        """Returns the slice of the scan that each frame lies on; None if they are frames of another grid."""
        rows, columns = self._frames.shape[1:]
        if (columns, rows) != self.scan_shape[:2]:
            return None
        to_scan = np.linalg.solve(self.scan_affine, TO_RAS)
        edges = (to_scan @ frame)[:3, :2] - np.eye(3)[:, :2]
        at = starts @ to_scan[:3, :3].T + to_scan[:3, 3]
        slices = np.rint(at[:, 2])
        lies = (
            np.abs(edges * (columns, rows)).max() < _SAME_VOXEL
            and np.abs(at[:, :2]).max() < _SAME_VOXEL
            and np.abs(at[:, 2] - slices).max() < _SAME_VOXEL
            and 0 <= slices.min() <= slices.max() < self.scan_shape[2]
        )
        return slices.astype(int) if lies else None

    def _own_grid(self, frame: np.ndarray, starts: np.ndarray, measures: Values) -> _Grid:
        """Returns the grid of frames that are no slices of the scan; frames may be missing among them."""
        distances = (starts - starts[0]) @ frame[:3, 2]
        first, last = int(distances.argmin()), int(distances.argmax())
        distances -= distances[first]
        slices = np.rint(distances / self._slice_spacing(distances, measures)).astype(int)
        affine, (rows, columns) = frame.copy(), self._frames.shape[1:]
        affine[:3, 3] = starts[first]
        if slices[last]:
            affine[:3, 2] = (starts[last] - starts[first]) / slices[last]
        else:
            affine[:3, 2] *= self._slice_spacing(distances, measures)
        return _Grid(slices, TO_RAS @ affine, (columns, rows, int(slices[last]) + 1))

    def _slice_spacing(self, distances: np.ndarray, measures: Values) -> float:
        """Returns the spacing that puts frames at whole slices: as stated, or else the smallest distance of two frames."""
        steps = np.diff(np.unique(np.round(distances, 2)))
        smallest = float(steps.min()) if len(steps) else np.inf
        stated = (abs(measures.scalar(name, 0.0)) for name in ("SpacingBetweenSlices", "SliceThickness"))
        for spacing in (*stated, smallest if len(steps) else 1.0):
            if 0 < spacing < 1.5 * smallest:
                slices = distances / spacing
                if np.abs(slices - np.rint(slices)).max() < _SAME_VOXEL:
                    return spacing
        raise UserError(f"{self.path}: its frames are unevenly spaced: not a segmentation of one volume")
