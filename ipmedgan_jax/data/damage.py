"""Simulated damage, for training a network that finds it: signal voids (MRI), metal with streaks (CT), cut-off heads.

Images: `[H, W]` float32 in [-1, 1]; damage is made after the intensity window. A mask is bool `[H, W]`, true where the image
no longer shows what was there.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import binary_fill_holes, gaussian_filter
from skimage.filters import apply_hysteresis_threshold

from ipmedgan_jax.data import hole_shapes

VISIBLE = 0.1
"""Of [-1, 1]: a change so large is damage."""

BLUR = 1.5
"""Pixels: standard deviation over which changes are averaged for that."""

INTACT = "intact"
"""What stands for a kind where there is no damage."""

PROJECTED = 128
"""Pixels: metal is projected, and its streaks are made, at this size."""

ANGLES = np.arange(0.0, 180.0, 1.5)
"""Degrees: directions of the projections."""


@dataclass(frozen=True)
class DamageSettings:
    """Kinds and their shares; `intact`: the share of slices left as they are.

    `size` and `smallest` are of voids, in pixels; `foreground` is the image value above which a pixel is not air.
    """

    kinds: tuple[str, ...]
    shares: tuple[float, ...]
    intact: float
    size: int
    smallest: int
    foreground: float


def simulate(rng: np.random.Generator, image: np.ndarray, settings: DamageSettings) -> tuple[np.ndarray, np.ndarray, str]:
    """The image with a random kind of damage, its mask, and the kind; as it is where it shows nothing but air."""
    kind = hole_shapes.choose(rng, settings.kinds, settings.shares)
    head = find_head(image, settings.foreground)
    if rng.random() < settings.intact or not head.any():
        return image, np.zeros(image.shape, bool), INTACT
    damaged, lost = KINDS[kind](rng, image, head, settings)
    # Not single streaks or grains: where, all round a pixel, the image has changed visibly.
    changed = gaussian_filter(np.abs(damaged - image), BLUR) > VISIBLE
    mask = binary_fill_holes(lost | (changed & head))
    return damaged.astype(np.float32), mask, kind if mask.any() else INTACT


def _void(
    rng: np.random.Generator, image: np.ndarray, head: np.ndarray, settings: DamageSettings
) -> tuple[np.ndarray, np.ndarray]:
    """No signal round metal, and a rim that is bright in two directions: a dipole's field moves signal there."""
    outline = _placed(rng, head, settings, metal=False)
    core = gaussian_filter(outline.astype(np.float32), rng.uniform(0.6, 1.5))
    rim = np.clip(gaussian_filter(core, rng.uniform(1.5, 3.5)) - core, 0, None)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    angle = np.arctan2(y - (y * core).sum() / core.sum(), x - (x * core).sum() / core.sum())
    rim *= 1 + np.cos(2 * angle + rng.uniform(0, 2 * np.pi))
    signal = (image + 1) * (1 - core)
    signal += rng.uniform(1.0, 5.0) * rim * (signal[head].mean() + 0.3)
    return np.clip(signal - 1, -1, 1), (core > 0.5) & head


def _metal(
    rng: np.random.Generator, image: np.ndarray, head: np.ndarray, settings: DamageSettings
) -> tuple[np.ndarray, np.ndarray]:
    """One to three pieces as bright as the window has it, and what beam hardening and lost photons in them do to the rest."""
    pieces = [_placed(rng, head, settings, metal=True) for _ in range(rng.integers(1, 4))]
    metal = np.any(pieces, axis=0)
    streaks = _streaks(rng, metal)
    strongest = max(float(np.percentile(np.abs(streaks[~metal]), 99.5)), 1e-9)
    thickness = min(1.0, float(np.sqrt(metal.sum())) / (settings.size / 4))
    strength = rng.uniform(0.2, 1.0) * thickness / strongest
    damaged = np.clip(image + strength * streaks, -1, 1)
    return np.where(metal, np.float32(1), damaged), metal


def _cut(
    rng: np.random.Generator, image: np.ndarray, head: np.ndarray, settings: DamageSettings
) -> tuple[np.ndarray, np.ndarray]:
    """A field of view that ends before the head does, at one side."""
    turns = int(rng.integers(4))
    damaged, head = np.rot90(image, turns).copy(), np.rot90(head, turns)
    rows = np.flatnonzero(head.any(1))
    depth = max(1, round(rng.uniform(0.05, 0.35) * len(rows)))
    end = rows[0] + depth
    damaged[:end] = -1
    lost = head.copy()
    lost[end:] = False
    return np.rot90(damaged, -turns), np.rot90(lost, -turns)


KINDS: dict[str, Callable[[np.random.Generator, np.ndarray, np.ndarray, DamageSettings], tuple[np.ndarray, np.ndarray]]] = {
    "void": _void,
    "metal": _metal,
    "cut": _cut,
}
"""(rng, image, head, settings) -> the damaged image, and where what was there is gone whatever the image shows."""

KINDS_BY_MODALITY = {"mri": ("void", "cut"), "ct": ("metal", "cut")}
"""The kinds that each modality has."""


def find_head(image: np.ndarray, foreground: float) -> np.ndarray:
    """The largest connected thing that is no air, with the air in it; bool `[H, W]`, empty where there is none.

    Noise and ghosts round a head may be brighter than `foreground`, so the level is at least half of Otsu's way from air (-1)
    to tissue, on an image that is a little blurred. Thin things (a head-rest, wires) are parted from it, and dark clefts
    (the skull's base) closed.
    """
    smooth = cv2.GaussianBlur(image, (0, 0), 1.0)
    otsu, _ = cv2.threshold(((smooth + 1) * 127.5).astype(np.uint8), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    tissue = (smooth > max(foreground, otsu / 2 / 127.5 - 1)).astype(np.uint8)
    solid = cv2.morphologyEx(tissue, cv2.MORPH_OPEN, _disc(len(image) // 40))
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(solid)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    if not len(areas):
        return np.zeros(image.shape, bool)
    cleft = len(image) // 12
    largest = np.pad(parts == 1 + int(np.argmax(areas)), cleft).astype(np.uint8)
    closed = cv2.morphologyEx(largest, cv2.MORPH_CLOSE, _disc(cleft))
    return binary_fill_holes(closed[cleft:-cleft, cleft:-cleft])


def _disc(diameter: int) -> np.ndarray:
    """A structuring element of an odd number of pixels."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter | 1, diameter | 1))


def _placed(rng: np.random.Generator, head: np.ndarray, settings: DamageSettings, *, metal: bool) -> np.ndarray:
    """An outline round a random pixel of the head; one of metal is a quarter as large."""
    size, smallest = (max(3, length // 4) if metal else length for length in (settings.size, settings.smallest))
    kinds = hole_shapes.ShapeSettings(("blob", "ellipse"), (2.0, 1.0), size, min(smallest, size))
    inside = np.argwhere(head)
    row, column = inside[int(rng.integers(len(inside)))] + size - size // 2
    padded = np.pad(np.zeros(head.shape, bool), size)
    padded[row : row + size, column : column + size] = hole_shapes.draw(rng, kinds)
    placed = padded[size:-size, size:-size]
    placed[tuple(inside[0])] |= not placed.any()
    return placed


# ------------------------------------------------------------------ streaks


def _streaks(rng: np.random.Generator, metal: np.ndarray) -> np.ndarray:
    """The change that metal's too weak and too noisy projections make, `[H, W]`, of no particular scale.

    A ray through more metal than its low energies survive is measured as if there were less: what is missing grows with the
    square of its way. Where hardly a photon is left, noise grows with it. Back-projected, that is dark and bright streaks.
    """
    small = cv2.resize(metal.astype(np.float32), (PROJECTED, PROJECTED), interpolation=cv2.INTER_AREA)
    way = project(small)
    missing = way**2 * (1 + gaussian_filter(rng.normal(0, 0.3, way.shape), 1))
    streaks = back_project(-gaussian_filter(missing, (0, 0.7)).astype(np.float32))
    return cv2.resize(streaks, metal.shape[::-1], interpolation=cv2.INTER_LINEAR)


def project(image: np.ndarray) -> np.ndarray:
    """Parallel-beam projections of a square image at `ANGLES`: `[angles, side]`, sums over pixels."""
    return np.stack([_turned(image, angle).sum(0) for angle in ANGLES])


def back_project(projections: np.ndarray) -> np.ndarray:
    """Filtered back-projection with a ramp filter (Kak and Slaney, 1988, ch. 3): `[angles, side]` -> `[side, side]`."""
    side = projections.shape[1]
    frequencies = np.fft.rfft(projections, 2 * side, axis=1) * np.fft.rfftfreq(2 * side)
    filtered = np.fft.irfft(frequencies, axis=1)[:, :side].astype(np.float32)
    smeared = [_turned(np.tile(row, (side, 1)), -angle) for row, angle in zip(filtered, ANGLES, strict=True)]
    return np.sum(smeared, axis=0) * np.float32(np.pi / len(ANGLES))


def _turned(image: np.ndarray, degrees: float) -> np.ndarray:
    """Turned about its middle."""
    middle = (image.shape[0] - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), degrees, 1.0)
    return cv2.warpAffine(image, matrix, image.shape[::-1], flags=cv2.INTER_LINEAR)


LOW_THRESHOLD = 0.5
"""From where on a pixel is taken for damaged, in a part that is somewhere `HIGH_THRESHOLD`."""


HIGH_THRESHOLD = 0.95
"""What a part must reach: most of what is found in intact slices does not. (Chosen on validation subjects.)"""


def damaged_pixels(likelihood: np.ndarray) -> np.ndarray:
    """What is taken for damaged of one slice's `[H, W]` likelihood, bool."""
    return apply_hysteresis_threshold(likelihood, LOW_THRESHOLD, HIGH_THRESHOLD)
