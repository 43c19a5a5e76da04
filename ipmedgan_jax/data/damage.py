"""Simulated damage, to train a network that finds it: signal voids (MRI), metal with streaks (CT), cut-off heads.

Images are `[H, W]`, float32 in [-1, 1]; damage is simulated after the intensity window. A mask is bool `[H, W]`, true where
the image no longer shows the anatomy.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import binary_fill_holes, gaussian_filter
from skimage.filters import apply_hysteresis_threshold

from ipmedgan_jax.data import grey_air, hole_shapes

VISIBLE = 0.1
"""Smallest change, in units of [-1, 1], that counts as damage."""

BLUR = 1.5
"""Pixels: standard deviation of the Gaussian that averages changes before they are compared with `VISIBLE`."""

INTACT = "intact"
"""The kind of a slice without damage."""

PROJECTION_SIZE = 128
"""Pixels: side of the image in which metal is projected and its streaks are computed."""

ANGLES = np.arange(0.0, 180.0, 1.5)
"""Degrees: angles of the projections."""


@dataclass(frozen=True)
class DamageSettings:
    """Kinds of damage and how often each is drawn.

    Attributes:
      kinds, shares: kinds and their relative frequencies.
      intact: share of slices that stay without damage.
      size, smallest: largest and smallest size of voids, in pixels.
      foreground: image value above which a pixel is not air.
    """

    kinds: tuple[str, ...]
    shares: tuple[float, ...]
    intact: float
    size: int
    smallest: int
    foreground: float


def simulate(
    rng: np.random.Generator, image: np.ndarray, head: np.ndarray | None, settings: DamageSettings
) -> tuple[np.ndarray, np.ndarray, str]:
    """Returns the image with damage of a random kind, the mask of the damage, and the kind.

    `head` is bool `[H, W]`; None: it is found as what is brighter than air (`find_head`).

    The image is returned unchanged, with an empty mask and the kind `INTACT`, for the share `settings.intact` of the calls,
    and if it shows only air.
    """
    kind = hole_shapes.choose(rng, settings.kinds, settings.shares)
    head = find_head(image, settings.foreground) if head is None else head
    if rng.random() < settings.intact or not head.any():
        return image, np.zeros(image.shape, bool), INTACT
    damaged, lost = KINDS[kind](rng, image, head, settings)
    # The blur excludes single streaks and grains: the image must have changed visibly all around a pixel.
    changed = gaussian_filter(np.abs(damaged - image), BLUR) > VISIBLE
    mask = binary_fill_holes(lost | (changed & head))
    return damaged.astype(np.float32), mask, kind if mask.any() else INTACT


def _void(
    rng: np.random.Generator, image: np.ndarray, head: np.ndarray, settings: DamageSettings
) -> tuple[np.ndarray, np.ndarray]:
    """A signal void around metal, with a rim that is bright in two directions, where a dipole's field moves the signal."""
    outline = _draw_outline(rng, head, settings, metal=False)
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
    """One to three pieces at the window's upper end, and streaks from their beam hardening and photon starvation."""
    pieces = [_draw_outline(rng, head, settings, metal=True) for _ in range(rng.integers(1, 4))]
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
    """A field of view that cuts the head off on one side."""
    turns = int(rng.integers(4))
    damaged, head = np.rot90(image, turns).copy(), np.rot90(head, turns)
    rows = np.flatnonzero(head.any(1))
    depth = max(1, round(rng.uniform(0.05, 0.35) * len(rows)))
    end = rows[0] + depth
    damaged[:end] = grey_air.level(damaged, head, settings.foreground)
    lost = head.copy()
    lost[end:] = False
    return np.rot90(damaged, -turns), np.rot90(lost, -turns)


KINDS: dict[str, Callable[[np.random.Generator, np.ndarray, np.ndarray, DamageSettings], tuple[np.ndarray, np.ndarray]]] = {
    "void": _void,
    "metal": _metal,
    "cut": _cut,
}
"""(rng, image, head, settings) -> the damaged image, and a mask of pixels that are damaged even if they changed little."""

KINDS_BY_MODALITY = {"mri": ("void", "cut"), "ct": ("metal", "cut")}
"""The kinds of damage of each modality."""


def find_head(image: np.ndarray, foreground: float) -> np.ndarray:
    """The mask of the head: the largest connected object that is not air, with the air inside it.

    Noise and ghosts around a head may be brighter than `foreground`. So the threshold is at least halfway from air (-1) to
    Otsu's threshold, on a slightly blurred image. Opening removes thin objects (a head-rest, wires); closing fills dark
    clefts (the skull's base).

    Returns:
      bool `[H, W]`, empty if the image shows only air.
    """
    smooth = cv2.GaussianBlur(image, (0, 0), 1.0)
    otsu, _ = cv2.threshold(((smooth + 1) * 127.5).astype(np.uint8), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    tissue = (smooth > max(foreground, otsu / 2 / 127.5 - 1)).astype(np.uint8)
    solid = cv2.morphologyEx(tissue, cv2.MORPH_OPEN, _disc(len(image) // 40))
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(solid)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    if not len(areas):
        return np.zeros(image.shape, bool)
    cleft = len(image) // 12
    largest = np.pad(labels == 1 + int(np.argmax(areas)), cleft).astype(np.uint8)
    closed = cv2.morphologyEx(largest, cv2.MORPH_CLOSE, _disc(cleft))
    return binary_fill_holes(closed[cleft:-cleft, cleft:-cleft])


def _disc(diameter: int) -> np.ndarray:
    """A round structuring element; an even diameter is increased by one pixel."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter | 1, diameter | 1))


def _draw_outline(rng: np.random.Generator, head: np.ndarray, settings: DamageSettings, *, metal: bool) -> np.ndarray:
    """Mask of a random outline around a random pixel of the head, `[H, W]`; a piece of metal has a quarter of the size."""
    size, smallest = (max(3, length // 4) if metal else length for length in (settings.size, settings.smallest))
    kinds = hole_shapes.ShapeSettings(("blob", "ellipse"), (2.0, 1.0), size, min(smallest, size))
    inside = np.argwhere(head)
    row, column = inside[int(rng.integers(len(inside)))] + size - size // 2
    padded = np.pad(np.zeros(head.shape, bool), size)
    padded[row : row + size, column : column + size] = hole_shapes.draw(rng, kinds)
    outline = padded[size:-size, size:-size]
    outline[tuple(inside[0])] |= not outline.any()  # never empty, because `_void` divides by its sum
    return outline


# ------------------------------------------------------------------ streaks


def _streaks(rng: np.random.Generator, metal: np.ndarray) -> np.ndarray:
    """The change that metal makes in the image by errors of its projections, `[H, W]`, in arbitrary units.

    Beam hardening: metal absorbs a ray's low energies, so the ray is measured as if it had passed less metal; the deficit
    grows with the square of the path length. Photon starvation: where hardly a photon is left, noise grows with the deficit.
    Back-projection turns both into dark and bright streaks.
    """
    small = cv2.resize(metal.astype(np.float32), (PROJECTION_SIZE, PROJECTION_SIZE), interpolation=cv2.INTER_AREA)
    path_length = project(small)
    deficit = path_length**2 * (1 + gaussian_filter(rng.normal(0, 0.3, path_length.shape), 1))
    streaks = back_project(-gaussian_filter(deficit, (0, 0.7)).astype(np.float32))
    return cv2.resize(streaks, metal.shape[::-1], interpolation=cv2.INTER_LINEAR)


def project(image: np.ndarray) -> np.ndarray:
    """Parallel-beam projections (sums over pixels) of a square image at `ANGLES`: `[side, side] -> [angles, side]`."""
    return np.stack([_rotate(image, angle).sum(0) for angle in ANGLES])


def back_project(projections: np.ndarray) -> np.ndarray:
    """Filtered back-projection with a ramp filter (Kak and Slaney, 1988, ch. 3): `[angles, side] -> [side, side]`."""
    side = projections.shape[1]
    frequencies = np.fft.rfft(projections, 2 * side, axis=1) * np.fft.rfftfreq(2 * side)
    filtered = np.fft.irfft(frequencies, axis=1)[:, :side].astype(np.float32)
    smeared = [_rotate(np.tile(row, (side, 1)), -angle) for row, angle in zip(filtered, ANGLES, strict=True)]
    return np.sum(smeared, axis=0) * np.float32(np.pi / len(ANGLES))


def _rotate(image: np.ndarray, degrees: float) -> np.ndarray:
    """Rotates a square image about its centre."""
    middle = (image.shape[0] - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), degrees, 1.0)
    return cv2.warpAffine(image, matrix, image.shape[::-1], flags=cv2.INTER_LINEAR)


LOW_THRESHOLD = 0.5
"""Likelihood above which a pixel counts as damaged, if its component exceeds `HIGH_THRESHOLD` somewhere."""


HIGH_THRESHOLD = 0.95
"""Likelihood that a component must reach; most of those in intact slices do not. Chosen on validation subjects."""


def damaged_pixels(likelihood: np.ndarray) -> np.ndarray:
    """The mask of damaged pixels from the likelihoods of one slice, by hysteresis thresholding: `[H, W]` -> bool `[H, W]`."""
    return apply_hysteresis_threshold(likelihood, LOW_THRESHOLD, HIGH_THRESHOLD)
