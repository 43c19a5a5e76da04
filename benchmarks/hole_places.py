"""Places of holes in healthy tissue of scans, for benchmarks that score fills on the scan's own grid.

A hole lies in one axial slice, in the head and at least `CLEAR` pixels from the subject's own lesions. Its place depends on
the names of its slice alone, so that all fills and all calls get the same holes. Slices are those of
`imaging.grids.PLANES["axial"]`: row 0 is anterior, column 0 the subject's right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nibabel
import numpy as np
from scipy.ndimage import binary_dilation, find_objects, label
from scipy.signal import correlate

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data.holes import evaluation_rng
from ipmedgan_jax.data.pipeline import spread
from ipmedgan_jax.data.subjects import subject_of
from ipmedgan_jax.imaging import geometry, mask_files, scans
from ipmedgan_jax.imaging.foreground import Foreground, find_foreground
from ipmedgan_jax.imaging.grids import PLANES
from ipmedgan_jax.imaging.settings import PreparationSettings

CLEAR = 4
"""Smallest distance in pixels between a hole and a lesion of its subject."""

FOREGROUND = 0.9
"""Smallest share of a hole that must be head."""

SMALLEST, LONGEST = 60, 96
"""Pixels: smallest area of an outline, and largest side of its box."""

WINDOW = 128
"""Pixels: side of the windows that are cut out round holes."""

KINDS = ("lesions", "squares64", "squares32")
"""Outlines of other subjects' lesions, and squares of 64 and 32 pixels."""

Outlines = dict[str, list[np.ndarray]]
"""The outlines of each subject's lesions, bool `[h, w]`."""


@dataclass(frozen=True, eq=False)
class HealthyScan:
    """A scan, and where its subject's lesions are."""

    subject: str
    volume: scans.Volume
    lesion: np.ndarray  # bool, of the volume's shape
    modality: str

    @property
    def name(self) -> str:
        return self.volume.path.name

    @cached_property
    def foreground(self) -> Foreground:
        """The head and the intensity window of the complete scan, by the default settings of its modality."""
        settings = PreparationSettings(self.modality, WINDOW)
        return find_foreground(settings, self.volume.array, self.volume.spacing_mm)

    def slice(self, index: int, array: np.ndarray | None = None) -> np.ndarray:
        """The axial slice of the scan, or of an array of its shape, in the scan's intensity window: 0..1, clipped."""
        intensities = PLANES["axial"](self.volume.array if array is None else array)[index]
        return (scans.to_unit(intensities, self.foreground.window) + 1) / 2


@dataclass(frozen=True, eq=False)
class Hole:
    """One hole: the slice, and the place and shape of what is removed."""

    scan: HealthyScan
    index: int  # of the slice
    corner: tuple[int, int]  # row and column of the shape's first pixel
    shape: np.ndarray  # bool [h, w]

    @property
    def mask(self) -> np.ndarray:
        """The removed pixels of the slice, bool `[H, W]`."""
        mask = np.zeros(PLANES["axial"](self.scan.volume.array).shape[1:], bool)
        mask[self._box] = self.shape
        return mask

    @property
    def _box(self) -> tuple[slice, slice]:
        (row, column), (height, width) = self.corner, self.shape.shape
        return slice(row, row + height), slice(column, column + width)

    def window(self, image: np.ndarray, side: int = WINDOW) -> np.ndarray:
        """Cuts the square window round the hole, moved to stay inside the slice; zeros fill up a smaller slice."""
        sides = zip(self.corner, self.shape.shape, image.shape, strict=True)
        row, column = (int(np.clip(at + extent // 2 - side // 2, 0, max(0, length - side))) for at, extent, length in sides)
        return geometry.crop_or_pad(image[None], side, (row, column), 0)[0]


def read_scans(scan_paths: Sequence[Path], mask_paths: Sequence[Path], subjects: Sequence[str], modality: str):
    """Reads the scans of the subjects, of all if none are named, with all masks of their lesions. A list of `HealthyScan`.

    UserError if a named subject has no scan.
    """
    found = {subject_of(path) for path in scan_paths}
    if absent := sorted(set(subjects) - found):
        raise UserError(f"--subjects: {', '.join(absent)} not among the scans, whose subjects are {', '.join(sorted(found))}")
    healthy = []
    for path in scan_paths:
        subject = subject_of(path)
        if not subjects or subject in subjects:
            scan = scans.read_scan(path)
            lesion = np.zeros(scan.volume.array.shape, bool)
            for mask_path in mask_paths:
                if subject_of(mask_path) == subject:
                    lesion |= _read_lesion(mask_path, scan)
            healthy.append(HealthyScan(subject, scan.volume, lesion, modality))
    return healthy


def _read_lesion(path: Path, scan: scans.Scan) -> np.ndarray:
    try:
        return mask_files.read_mask(path, scan)[0]
    except mask_files.EmptyMaskError:
        return np.zeros(scan.volume.array.shape, bool)


def read_outlines(mask_paths: Sequence[Path]) -> Outlines:
    """Returns the outlines of the lesions in each subject's axial slices: connected components, in pixels of the mask."""
    outlines: Outlines = {}
    for path in mask_paths:
        mask = np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj) > 0
        outlines.setdefault(subject_of(path), []).extend(find_outlines(PLANES["axial"](mask)))
    return outlines


def find_outlines(masks: np.ndarray) -> list[np.ndarray]:
    """Returns the connected components of masks, bool `[S, H, W]`, that are neither too small nor too long."""
    found = []
    for mask in masks[masks.any((1, 2))]:
        labels, _ = label(mask)
        parts = [labels[box] == i for i, box in enumerate(find_objects(labels), start=1)]
        found += [part for part in parts if part.sum() >= SMALLEST and max(part.shape) <= LONGEST]
    return found


def place_holes(healthy: Sequence[HealthyScan], kind: str, outlines: Outlines, *, at_most: int, seed: int = 0) -> list[Hole]:
    """Places at most `at_most` holes of a kind, one in a slice, spread evenly over subjects and their slices.

    UserError if the kind is unknown, or no slice has room.
    """
    if kind not in KINDS:
        raise UserError(f"--holes: unknown kind {kind!r}, expected some of {', '.join(KINDS)}")
    subjects = sorted({scan.subject for scan in healthy})
    holes: list[Hole] = []
    for left, subject in zip(range(len(subjects), 0, -1), subjects, strict=True):
        draw = _shapes_of(kind, [outline for other in sorted(outlines) if other != subject for outline in outlines[other]])
        found = [hole for scan in healthy if scan.subject == subject for hole in _place_in_scan(scan, kind, draw, seed)]
        share = round((at_most - len(holes)) / left)
        holes += [found[i] for i in spread(len(found), share)] if share else []
    if not holes:
        raise UserError(f"--holes={kind}: no slice of the {len(healthy)} scans has room for a hole")
    return holes


def _shapes_of(kind: str, outlines: Sequence[np.ndarray]) -> Callable[[np.random.Generator], np.ndarray]:
    """Returns a function that draws the shape of a hole."""
    if kind != "lesions":
        side = int(kind.removeprefix("squares"))
        return lambda rng: np.ones((side, side), bool)
    if not outlines:
        raise UserError("--holes=lesions: expected masks of other subjects' lesions in --masks, found none")
    return lambda rng: outlines[int(rng.integers(len(outlines)))]


def _place_in_scan(scan: HealthyScan, kind: str, draw: Callable[[np.random.Generator], np.ndarray], seed: int) -> list[Hole]:
    """Places a hole in each slice that has room for one."""
    heads, lesions = PLANES["axial"](scan.foreground.head), PLANES["axial"](scan.lesion)
    holes = []
    for index in np.flatnonzero(heads.any((1, 2))):
        rng = evaluation_rng(seed, scan.subject, f"{scan.name} {kind}", int(index))
        shape = draw(rng)
        places = np.argwhere(admissible_places(heads[index], lesions[index], shape))
        if len(places):
            row, column = places[int(rng.integers(len(places)))]
            holes.append(Hole(scan, int(index), (int(row), int(column)), shape))
    return holes


def admissible_places(head: np.ndarray, lesion: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Where a hole may begin: bool `[H - h + 1, W - w + 1]`, true if its shape is in the head and clear of the lesion."""
    if any(inner > outer for inner, outer in zip(shape.shape, head.shape, strict=True)):
        return np.zeros((0, 0), bool)
    square = np.ones((3, 3), bool)
    clear_of = binary_dilation(lesion, square, iterations=CLEAR) if lesion.any() else lesion
    inside, hits = (correlate(mask.astype(np.float32), shape.astype(np.float32), "valid") for mask in (head, clear_of))
    return (inside > FOREGROUND * shape.sum() - 0.5) & (hits < 0.5)
