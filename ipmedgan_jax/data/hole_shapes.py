"""Shapes of training holes, drawn on the host: bool `[size, size]` in a hole's box, true where pixels are removed.

Each function of `KINDS` draws one that fits into the box, at most `size` and, but for thin ones, at least `smallest` pixels
across, in the middle of the array; `draw` then moves it about.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

Shape = np.ndarray
"""bool `[size, size]`."""


@dataclass(frozen=True, eq=False)
class ShapeSettings:
    """Kinds and their shares; sizes in pixels; `lesions`: real ones to draw from, bool `[h, w]` each."""

    kinds: tuple[str, ...]
    shares: tuple[float, ...]
    size: int
    smallest: int
    lesions: Sequence[np.ndarray] = ()


def draw(rng: np.random.Generator, settings: ShapeSettings) -> Shape:
    """One shape of a random kind, anywhere in the box; never empty."""
    shape = KINDS[choose(rng, settings.kinds, settings.shares)](rng, settings)
    if not shape.any():
        return _square(rng, settings)
    return _moved(rng, shape)


def choose(rng: np.random.Generator, kinds: Sequence[str], shares: Sequence[float]) -> str:
    """One of the kinds, each as often as its share of all shares."""
    weights = np.array(shares, float)
    return kinds[int(rng.choice(len(weights), p=weights / weights.sum()))]


def _square(rng: np.random.Generator, settings: ShapeSettings) -> Shape:
    """The whole box: the paper's hole."""
    return np.ones((settings.size, settings.size), bool)


def _smaller_square(rng: np.random.Generator, settings: ShapeSettings) -> Shape:
    side = _length(rng, settings)
    return _box(settings.size, side, side)


def _rectangle(rng: np.random.Generator, settings: ShapeSettings) -> Shape:
    return _box(settings.size, _length(rng, settings), _length(rng, settings))


def _ellipse(rng: np.random.Generator, settings: ShapeSettings) -> Shape:
    """Of any direction."""
    angle = rng.uniform(0, np.pi)
    along, across = (_length(rng, settings) / 2 for _ in range(2))
    y, x = _from_middle(settings.size)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (u / along) ** 2 + (v / across) ** 2 <= 1


def _strokes(rng: np.random.Generator, settings: ShapeSettings) -> Shape:
    """One to four bent strokes of a brush, as free-form inpainting has them (Yu et al., 2019)."""
    canvas = np.zeros((settings.size, settings.size), np.uint8)
    for _ in range(rng.integers(1, 5)):
        width = int(rng.integers(2, max(3, settings.size // 5)))
        place = rng.uniform(width / 2, settings.size - width / 2, 2)
        angle = rng.uniform(0, 2 * np.pi)
        for _ in range(rng.integers(2, 6)):
            angle += rng.normal(0, 0.8)
            step = rng.uniform(0.15, 0.4) * settings.size
            there = np.clip(place + step * np.array([np.cos(angle), np.sin(angle)]), 0, settings.size - 1)
            cv2.line(canvas, _pixel(place), _pixel(there), 1, width)
            cv2.circle(canvas, _pixel(there), width // 2, 1, -1)
            place = there
    return canvas > 0


def _blob(rng: np.random.Generator, settings: ShapeSettings) -> Shape:
    """A star-shaped outline of a few waves: the void round an implant, a filling or a clip."""
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    radius = np.ones_like(angles)
    for waves in range(2, 8):
        radius += rng.normal(0, 0.35 / waves) * np.cos(waves * angles + rng.uniform(0, 2 * np.pi))
    radius = np.maximum(radius, 0.2)
    radius *= _length(rng, settings) / 2 / radius.max()
    middle = (settings.size - 1) / 2
    outline = np.stack([middle + radius * np.cos(angles), middle + radius * np.sin(angles)], axis=1)
    canvas = np.zeros((settings.size, settings.size), np.uint8)
    cv2.fillPoly(canvas, [outline.round().astype(np.int32)], 1)
    return canvas > 0


def _lesion(rng: np.random.Generator, settings: ShapeSettings) -> Shape:
    """A real one, turned, mirrored and scaled by up to a third; what is larger than the box is made to fit."""
    lesion = settings.lesions[int(rng.integers(len(settings.lesions)))].astype(np.float32)
    lesion = np.rot90(lesion, int(rng.integers(4)))
    lesion = lesion[:, ::-1] if rng.random() < 0.5 else lesion
    scale = min(rng.uniform(0.75, 4 / 3), settings.size / max(lesion.shape))
    height, width = (max(1, int(length * scale)) for length in lesion.shape)
    scaled = cv2.resize(np.ascontiguousarray(lesion), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
    shape = np.zeros((settings.size, settings.size), bool)
    top, left = (settings.size - height) // 2, (settings.size - width) // 2
    shape[top : top + height, left : left + width] = scaled
    return shape


KINDS: dict[str, Callable[[np.random.Generator, ShapeSettings], Shape]] = {
    "square": _square,
    "smaller_square": _smaller_square,
    "rectangle": _rectangle,
    "ellipse": _ellipse,
    "strokes": _strokes,
    "blob": _blob,
    "lesion": _lesion,
}


def _length(rng: np.random.Generator, settings: ShapeSettings) -> int:
    return int(rng.integers(settings.smallest, settings.size + 1))


def _box(size: int, height: int, width: int) -> Shape:
    shape = np.zeros((size, size), bool)
    top, left = (size - height) // 2, (size - width) // 2
    shape[top : top + height, left : left + width] = True
    return shape


def _from_middle(size: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return y, x


def _pixel(place: np.ndarray) -> tuple[int, int]:
    return round(float(place[0])), round(float(place[1]))


def _moved(rng: np.random.Generator, shape: Shape) -> Shape:
    """The shape anywhere in its box, uniformly."""
    shifts = []
    for axis in (0, 1):
        used = np.flatnonzero(shape.any(1 - axis))
        shifts.append(int(rng.integers(-used[0], len(shape) - used[-1])))
    return np.roll(shape, shifts, (0, 1))
