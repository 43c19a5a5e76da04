"""The foreground of a volume: the head mask, the intensity of the air around it, and the intensity window.

Two ways are kept apart by `PreparationSettings.foreground`: `head` finds the head as an object, so that noise, ghosts and a
head-rest are air; `threshold` takes every voxel above an intensity, as all preparations before it did.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import label

from ipmedgan_jax.imaging import scans
from ipmedgan_jax.imaging.settings import PreparationSettings

SMALLEST_SHARE = 0.2
"""Share of a volume's voxels that must have the border's value for that value to be its background."""

SAME = 1e-4
"""Largest distance from the background's value, in widths of the intensity window, of a voxel of the background."""

NOISE = 4.0
"""Standard deviations of the air's noise above its mean, beyond which a pixel of a slice is not noise."""

LINK_MM, CLEFT_MM = 6.0, 6.0
"""Largest width of a link between the head and another object that is cut, and of an open cleft that is filled."""

FINEST_MM = 0.8
"""Slices with smaller pixels are averaged over blocks of pixels first, because the head needs no finer outline."""

_FRAME = 4
"""Width in pixels of the frame of a slice in which air is looked for."""

_LEVELS = 255.0


@dataclass(frozen=True, eq=False)
class Foreground:
    """What `find_foreground` finds in a volume.

    Attributes:
      window: intensities that map to -1 and to 1.
      padding: intensity of air, to put beyond the volume's border.
      head: bool `[X, Y, Z]`, true where a voxel is foreground.
      background: the one value of all voxels of air, if it lies inside the window, else None.
    """

    window: scans.Window
    padding: float
    head: np.ndarray
    background: float | None = None

    @property
    def background_level(self) -> float:
        """The place of `background` in the window: 0 at its low end, 1 at its high end."""
        low, high = self.window
        return (self.padding - low) / (high - low)


def find_foreground(
    settings: PreparationSettings,
    array: np.ndarray,
    spacing_mm: tuple[float, float, float],
    *,
    known: np.ndarray | None = None,
) -> Foreground:
    """Finds the head, the padding and the intensity window of a volume. UserError for an MRI without foreground.

    Args:
      array: intensities `[X, Y, Z]`.
      spacing_mm: voxel spacing along X, Y, Z.
      known: bool `[X, Y, Z]`, false where the intensities mean nothing because they will be filled; None: all are known. Such
        voxels belong to the head if they touch or lie in it, because otherwise they might part it.
    """
    values = array if known is None else array[known]
    window = settings.window(values)
    threshold = settings.threshold(window)
    if settings.foreground == "threshold":
        above = array > threshold
        return Foreground(window, scans.background(window, values), above if known is None else above & known)
    background = find_background(array, window)
    if background is None or background <= threshold:
        head = find_head(array, spacing_mm, window=window, threshold=threshold, known=known)
        return Foreground(window, scans.background(window, values), head)
    # Tissue on both sides of the background: of a z-scored brain in zeros, or of a CT in a background of 0.
    tolerance = SAME * (window[1] - window[0])
    window = settings.window(values[np.abs(values - background) > tolerance])
    other = np.abs(array - background) > tolerance
    return Foreground(window, background, find_object(other if known is None else other | ~known, spacing_mm), background)


def find_background(array: np.ndarray, window: scans.Window) -> float | None:
    """Returns the one value of the voxels around the object, or None if they do not share one.

    It is the most frequent value on the volume's left, right, front and back faces. At least `SMALLEST_SHARE` of all voxels
    must have it.
    """
    tolerance = SAME * (window[1] - window[0])
    faces = np.concatenate([array[[0, -1]].ravel(), array[:, [0, -1]].ravel()])
    steps = np.rint(faces / tolerance)
    values, counts = np.unique(steps, return_counts=True)
    background = float(np.median(faces[steps == values[counts.argmax()]]))
    share = np.count_nonzero(np.abs(array - background) <= tolerance) / array.size
    return background if share >= SMALLEST_SHARE else None


def find_head(
    array: np.ndarray,
    spacing_mm: tuple[float, float, float],
    *,
    window: scans.Window,
    threshold: float,
    known: np.ndarray | None = None,
) -> np.ndarray:
    """Finds the head in air that is darker than it: bool `[X, Y, Z]`.

    The air of a slice may be brighter than `threshold`, by noise or ghosts. So the threshold of each slice is at least
    `NOISE` standard deviations above the mean of the air on its frame, but at most halfway from the window's low end to
    Otsu's threshold of the volume. Air on the frame is what lies below the latter.
    """
    low, high = window
    levels = np.clip((array - low) * (_LEVELS / (high - low)), 0, _LEVELS).astype(np.uint8)
    if known is not None:
        levels[~known] = 0
    sharp = np.stack(list(_coarse_slices(levels, spacing_mm)))
    slices = np.stack([cv2.GaussianBlur(part, (0, 0), 1.0) for part in sharp])
    otsu, _ = cv2.threshold(slices.reshape(-1, 1), 0, _LEVELS, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    lowest = (threshold - low) * (_LEVELS / (high - low))
    highest = max(lowest, otsu / 2)
    above = np.stack([part > np.clip(_noise_level(part, highest), lowest, highest) for part in slices])
    above &= sharp > lowest  # because the blur moves the outline of a bright head in black air outwards
    if known is not None:
        above |= _coarse_mask(~known, spacing_mm)
    return _object_of_slices(above, array.shape, spacing_mm)


def _noise_level(levels: np.ndarray, highest: float) -> float:
    """The upper end of the noise of the air on a slice's frame; 0 if there is no air."""
    strips = levels[:_FRAME], levels[-_FRAME:], levels[:, :_FRAME], levels[:, -_FRAME:]
    counts = np.bincount(np.concatenate([strip.ravel() for strip in strips]), minlength=256)[: int(highest) + 1]
    if not counts.sum():
        return 0.0
    values = np.arange(len(counts))
    mean = float(np.average(values, weights=counts))
    return mean + NOISE * float(np.sqrt(np.average((values - mean) ** 2, weights=counts)))


def find_object(other: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Finds the head among the voxels that are not background: bool `[X, Y, Z]` -> bool `[X, Y, Z]`."""
    return _object_of_slices(_coarse_mask(other, spacing_mm), other.shape, spacing_mm)


def _coarse_mask(mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """The axial slices `[Z, x, y]` of a mask, true where most of a block is."""
    return np.stack(list(_coarse_slices(mask.astype(np.uint8) * np.uint8(_LEVELS), spacing_mm))) > _LEVELS / 2


def _blocks(spacing_mm: tuple[float, float, float]) -> tuple[int, int]:
    """Voxels along X and along Y that are averaged to one pixel."""
    x, y, _ = (max(1, int(FINEST_MM / spacing)) for spacing in spacing_mm)
    return x, y


def _coarse_slices(levels: np.ndarray, spacing_mm: tuple[float, float, float]):
    """Yields the axial slices `[x, y]`, uint8 and contiguous, with blocks of small voxels averaged."""
    x, y = _blocks(spacing_mm)
    shape = -(-levels.shape[1] // y), -(-levels.shape[0] // x)
    for part in np.ascontiguousarray(levels.transpose(2, 0, 1)):
        yield part if (x, y) == (1, 1) else cv2.resize(part, shape, interpolation=cv2.INTER_AREA)


def _object_of_slices(above: np.ndarray, shape: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """The largest object of coarse slices, bool `[Z, x, y]`, with the cavities of each slice filled, as bool `[X, Y, Z]`."""
    blocks = _blocks(spacing_mm)
    pixels_mm = [block * spacing for block, spacing in zip(blocks, spacing_mm, strict=False)]
    link, cleft = (_ellipse([mm / 2 / pixel for pixel in pixels_mm]) for mm in (LINK_MM, CLEFT_MM))
    above = above.astype(np.uint8)
    solid = np.stack([cv2.morphologyEx(part, cv2.MORPH_OPEN, link) for part in above])
    core = largest_component(solid if solid.any() else above)
    head = np.empty(shape[2:] + shape[:2], bool)
    for z, (part, kept) in enumerate(zip(above, core, strict=True)):
        outline = _fill_cavities(_close(kept | (cv2.dilate(kept, link) & part), cleft))
        head[z] = outline if blocks == (1, 1) else cv2.resize(outline, shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return head.transpose(1, 2, 0)


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest component of a mask, whose voxels touch by their faces; uint8, empty for an empty mask."""
    labels, count = label(mask)
    if count <= 1:
        return mask.astype(np.uint8)
    return (labels == 1 + np.argmax(np.bincount(labels[labels > 0])[1:])).astype(np.uint8)


def _ellipse(radii: list[float]) -> np.ndarray:
    """A structuring element for slices `[x, y]` with these radii in pixels."""
    x, y = (max(0, round(radius)) for radius in radii)
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * y + 1, 2 * x + 1))


def _close(mask: np.ndarray, element: np.ndarray) -> np.ndarray:
    """Closes clefts; the mask is padded, because otherwise the image's border would count as head."""
    rows, columns = element.shape
    padded = cv2.copyMakeBorder(mask, rows, rows, columns, columns, cv2.BORDER_CONSTANT, value=0)
    return cv2.morphologyEx(padded, cv2.MORPH_CLOSE, element)[rows:-rows, columns:-columns]


def _fill_cavities(mask: np.ndarray) -> np.ndarray:
    """Adds what the mask `[x, y]` encloses."""
    outside = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.floodFill(outside, None, (0, 0), 2)
    return (outside[1:-1, 1:-1] != 2).astype(np.uint8)
