"""Augmentation of training slices, so that a network trained on few scanners works on others.

Images are `[H, W]`, float32 in [-1, 1], where -1 is air; masks are bool `[H, W]`. Every part is off at 0. Noise, contrast and
the intensity window act on the signal, which is 0 in air and 1 at the window's high end.
"""

import math
from dataclasses import astuple, dataclass

import cv2
import numpy as np

from ipmedgan_jax.data import grey_air

ON_OWN_GRID = 0.25
"""Share of the slices that are neither scaled nor rotated: interpolation takes texture, and these keep all of theirs."""

BIAS_DEGREE = 3
"""Degree of the bias field's polynomial along each axis."""

DEEPEST_CUT = 0.3
"""Share of the head's extent that a limited field of view cuts off at most."""

SHARPENING = 1.0
"""Weight of the details that sharpening adds, in proportion to those that the same blur would take."""


SPOT = (3.0, 24.0)
"""Shortest and longest semi-axis, in pixels, of a spot opposite a hole."""

BRIGHT = 0.7
"""Share of these spots that are brighter than half of the intensity window, as lesions in FLAIR; the others are darker."""

CUBIC_REACH = 2
"""Pixels from the nearest one to the furthest that cubic interpolation uses."""

AIR = 0.01
"""Largest signal of masked air, which has no noise."""


@dataclass(frozen=True)
class AugmentationSettings:
    """How far each property of a slice varies; 0: not at all. Each slice draws its own values within these limits."""

    scale: float = 0.0  # factor of the pixel size, either way; 0 or 1: off
    rotation: float = 0.0  # degrees, either way
    blur: float = 0.0  # pixels: standard deviation of a Gaussian that blurs or, as often, sharpens
    gamma: float = 0.0  # factor of the exponent of the signal, either way; 0 or 1: off
    bias: float = 0.0  # amplitude of a smooth factor, as of a coil's uneven sensitivity
    window: float = 0.0  # share of the signal's range by which the window's high end moves either way, its low end half of it
    noise: float = 0.0  # standard deviation of Rician noise, as a share of the signal's range
    crop: float = 0.0  # share of the slices of which a straight line cuts a part of the head off
    lesion: float = 0.0  # share of the slices whose mirrored half has a spot where the hole is

    @property
    def is_on(self) -> bool:
        """Whether any part changes slices."""
        return any(astuple(self))


Slice = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]
"""An image, the mask of its head and the mask of the pixels that holes keep clear of."""


def augment(
    rng: np.random.Generator,
    image: np.ndarray,
    head: np.ndarray | None,
    avoid: np.ndarray | None,
    settings: AugmentationSettings,
    *,
    smallest: int | None = None,
    grow: bool = True,
    foreground: float = 1.0,
) -> Slice:
    """Returns the slice as another scanner might have shown it: image, head and avoid.

    Args:
      smallest: pixels; the slice's shape follows its scale, but no side becomes shorter. None: the shape stays, and an
        enlarged head that would not fit is enlarged less.
      grow: whether `avoid` grows to every pixel that interpolation, blur or sharpening gives a part of an avoided one.
        Otherwise it moves with the image alone, as a label does.
      foreground: value above which a pixel is not air; tells slices whose air is grey (`grey_air`).
    """
    air = grey_air.level(image, head, foreground)
    if (settings.scale > 1 or settings.rotation) and rng.random() >= ON_OWN_GRID:
        image, head, avoid = _move(rng, image, head, avoid, settings, smallest, grow, air)
    if any((settings.blur, settings.gamma > 1, settings.bias, settings.window, settings.noise)):
        image, grown = _with_other_intensities(rng, image, avoid, settings)
        avoid = grown if grow else avoid
    if settings.crop and rng.random() < settings.crop:
        lost = _cut_off(rng, image.shape, _box(image.shape, head))
        if air != grey_air.AIR:
            air = grey_air.level(image, head, grey_air.AIR)  # its contrast may have changed
        image = np.where(lost, np.float32(air), image)
        head = None if head is None else head & ~lost
    return image, head, avoid


def spot_opposite(rng: np.random.Generator, mirrored: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Draws a spot like a lesion into what lies opposite a hole: a network must not copy illness into healthy tissue.

    Args:
      mirrored: float32 `[H, W, 2]`, of `symmetry.opposite`.
      hole: the box `[row, column, height, width]`.
    """
    height, width = mirrored.shape[:2]
    row, column = (start + length * rng.random() for start, length in zip(hole[:2], hole[2:], strict=True))
    semi_axes, angle = rng.uniform(*SPOT, 2), rng.uniform(0, np.pi)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = y - row, x - column
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    distance = np.sqrt((u / semi_axes[0]) ** 2 + (v / semi_axes[1]) ** 2)
    share = rng.uniform(0.4, 1) / (1 + np.exp((distance - 1) * rng.uniform(4, 20)))
    level = rng.uniform(0, 1) if rng.random() < BRIGHT else rng.uniform(-1, 0)
    spotted = mirrored.copy()
    spotted[..., 0] += (share * (level - mirrored[..., 0]) * mirrored[..., 1]).astype(np.float32)
    return spotted


def _factor(rng: np.random.Generator, largest: float) -> float:
    """A factor of 1/`largest` to `largest`, as often above 1 as below."""
    return float(np.exp(rng.uniform(-1, 1) * math.log(largest)))


def _box(shape: tuple[int, ...], head: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last pixel `[row, column]` of the head, or of the complete slice where there is no head."""
    if head is None or not head.any():
        return np.zeros(2), np.array(shape) - 1.0
    sides = [np.flatnonzero(head.any(axis=axis)) for axis in (1, 0)]
    return np.array([side[0] for side in sides], float), np.array([side[-1] for side in sides], float)


def _move(
    rng: np.random.Generator,
    image: np.ndarray,
    head: np.ndarray | None,
    avoid: np.ndarray | None,
    settings: AugmentationSettings,
    smallest: int | None,
    grow: bool,
    air: float,
) -> Slice:
    """The slice scaled and rotated, by one interpolation. The head stays inside, as far as it was inside."""
    factor = _factor(rng, max(settings.scale, 1.0))
    angle = math.radians(rng.uniform(-settings.rotation, settings.rotation))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])  # of (row, column)
    middle = (np.array(image.shape) - 1) / 2
    first, last = _box(image.shape, head)
    corners = np.array([(row, column) for row in (first[0], last[0]) for column in (first[1], last[1])]) - middle
    corners = corners @ turn.T
    low, high = corners.min(axis=0), corners.max(axis=0)  # from the slice's middle, in pixels of the slice
    if smallest is None:
        shape = np.array(image.shape)
        factor = min(factor, max(1.0, float(((shape - 1) / np.maximum(high - low, 1)).min())))
        low, high = factor * low, factor * high
    else:
        low, high = factor * low, factor * high
        wanted = np.maximum(factor * np.array(image.shape), high - low + 1)
        shape = np.maximum(np.ceil(wanted - 1e-6).astype(int), smallest)
    # Half of the last pixel on either side of the middle, moved no further than the head needs.
    start = -(shape - 1) / 2
    start = np.where(high - low > shape - 1, (low + high - shape + 1) / 2, np.clip(start, high - shape + 1, low))
    matrix = factor * turn
    offset = -matrix @ middle - start
    # OpenCV's points are (x, y): columns first.
    affine = np.column_stack([matrix[::-1, ::-1], offset[::-1]])
    size = (int(shape[1]), int(shape[0]))
    moved = cv2.warpAffine(image, affine, size, flags=cv2.INTER_CUBIC, borderValue=air)
    avoid = _grown(avoid, CUBIC_REACH) if grow else avoid
    return np.clip(moved, -1, 1, out=moved), *_moved_masks(head, avoid, affine, size)


def _moved_masks(
    head: np.ndarray | None, avoid: np.ndarray | None, affine: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Both masks, moved by one call: the bits of one image."""
    masks = [mask for mask in (head, avoid) if mask is not None]
    if not masks:
        return None, None
    bits = np.zeros(masks[0].shape, np.uint8)
    for i, mask in enumerate(masks):
        bits |= mask.astype(np.uint8) << i
    turned = np.asarray(cv2.warpAffine(bits, affine, size, flags=cv2.INTER_NEAREST, borderValue=0), np.uint8)
    moved = iter([(turned >> i & 1).astype(bool) for i in range(len(masks))])
    return None if head is None else next(moved), None if avoid is None else next(moved)


def _grown(avoid: np.ndarray | None, reach: int) -> np.ndarray | None:
    """The mask and all pixels within `reach` rows and columns of it."""
    if avoid is None or not avoid.any():
        return avoid
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return cv2.dilate(avoid.astype(np.uint8), square).astype(bool)


def _with_other_intensities(
    rng: np.random.Generator, image: np.ndarray, avoid: np.ndarray | None, settings: AugmentationSettings
) -> tuple[np.ndarray, np.ndarray | None]:
    """The image with other sharpness, contrast, coil, intensity window and noise; in this order, as they arise in a scan."""
    signal = (image + 1) / 2
    if settings.blur:
        sigma = rng.uniform(-settings.blur, settings.blur)
        signal, avoid = _blur_or_sharpen(signal, sigma), _grown(avoid, _reach_of_blur(sigma))
    if settings.gamma > 1:
        np.maximum(signal, 1e-30, out=signal)  # not 0: its power takes five times as long
        signal = np.minimum(cv2.pow(signal, _factor(rng, settings.gamma)), 1)
    if settings.bias:
        signal *= bias_field(rng, signal.shape, rng.uniform(0, settings.bias))
    if settings.window:
        high = 1 + rng.uniform(-settings.window, settings.window)
        low = rng.uniform(0, settings.window / 2)  # never below air, which would become grey
        signal -= low
        signal /= high - low
    if settings.noise:
        signal = _with_noise(rng, np.clip(signal, 0, 1, out=signal), rng.uniform(0, settings.noise))
    signal *= 2
    signal -= 1
    return np.clip(signal, -1, 1, out=signal), avoid


def _blur_or_sharpen(signal: np.ndarray, sigma: float) -> np.ndarray:
    """The signal blurred by a Gaussian of `sigma` pixels or, where that is negative, sharpened by as much."""
    side = 2 * _reach_of_blur(sigma) + 1
    blurred = cv2.GaussianBlur(signal, (side, side), max(abs(sigma), 1e-3), borderType=cv2.BORDER_REPLICATE)
    return blurred if sigma >= 0 else signal + SHARPENING * (signal - blurred)


def _reach_of_blur(sigma: float) -> int:
    """How many pixels away a blur or sharpening by `sigma` reaches."""
    return math.ceil(3 * abs(sigma))


def bias_field(rng: np.random.Generator, shape: tuple[int, ...], amplitude: float) -> np.ndarray:
    """A smooth factor `[H, W]`, float32, of at most 1.

    It is 1 plus a random polynomial whose largest size is `amplitude`, over 1 + `amplitude`. Nothing becomes brighter: tissue
    beyond the window's high end would lose its texture.
    """
    weights = rng.standard_normal((BIAS_DEGREE + 1, BIAS_DEGREE + 1))
    weights[0, 0] = 0
    rows, columns = (np.polynomial.legendre.legvander(np.linspace(-1, 1, side), BIAS_DEGREE) for side in shape)
    # NumPy would share this small product among threads, which busy cores keep waiting.
    field = cv2.gemm(rows @ weights, columns, 1.0, np.empty(0), 0.0, flags=cv2.GEMM_2_T).astype(np.float32)
    field *= np.float32(amplitude / cv2.norm(field, cv2.NORM_INF))
    field += 1
    field /= 1 + amplitude
    return field


def _with_noise(rng: np.random.Generator, signal: np.ndarray, sigma: float) -> np.ndarray:
    """The magnitude of the signal with Gaussian noise in both channels (Gudbjartsson and Patz 1995).

    In half of the slices, air stays without noise, as where the scanner has masked it.
    """
    # OpenCV's generator is this thread's own, and four times as fast as NumPy's.
    cv2.setRNGSeed(int(rng.integers(2**31)))
    real, imaginary = np.empty_like(signal), np.empty_like(signal)
    for channel in (real, imaginary):
        cv2.randn(channel, np.zeros(1), np.full(1, sigma))
    real += signal
    # OpenCV's own magnitude rounds otherwise at other places of memory.
    real *= real
    imaginary *= imaginary
    real += imaginary
    noisy = np.sqrt(real, out=real)
    if rng.random() < 0.5:
        noisy *= signal > AIR
    return noisy


def _cut_off(rng: np.random.Generator, shape: tuple[int, ...], box: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The pixels, bool `[H, W]`, beyond a straight line that is within 15 degrees of a side of the head's box."""
    angle = math.radians(90 * rng.integers(4) + rng.uniform(-15, 15))
    direction = np.array([math.cos(angle), math.sin(angle)])
    first, last = box
    half = np.abs(direction) @ (last - first) / 2
    limit = direction @ (first + last) / 2 + half * (1 - 2 * rng.uniform(0, DEEPEST_CUT))
    return direction[0] * np.arange(shape[0])[:, None] + direction[1] * np.arange(shape[1]) > limit
