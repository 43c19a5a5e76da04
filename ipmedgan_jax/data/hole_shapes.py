"""Shapes of training holes, drawn on the host: bool `[size, size]` in a hole's box, true where pixels are removed.

Each function of `KINDS` draws one shape in the middle of the box. Its extent is at most `size` pixels and, except for thin
shapes, at least `smallest` pixels. `draw` then moves the shape to a random place in the box.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

Shape = np.ndarray
"""bool `[size, size]`."""


@dataclass(frozen=True, eq=False)
class ShapeSettings:
    """Kinds of shapes and how often each is drawn.

    Attributes:
      kinds, shares: kinds and their relative frequencies.
      size: side of the box, in pixels.
      smallest: smallest extent of a shape, in pixels.
      lesions: masks of real lesions to draw from, each bool `[h, w]`.
    """

    kinds: tuple[str, ...]
    shares: tuple[float, ...]
    size: int
    smallest: int
    lesions: Sequence[np.ndarray] = ()


def draw(rng: np.random.Generator, settings: ShapeSettings) -> Shape:
    """Draws one shape of a random kind at a random place in the box; never an empty one."""
    shape = KINDS[choose(rng, settings.kinds, settings.shares)](rng, settings)
    if not shape.any():
        return _square(rng, settings)
    return _move_randomly(rng, shape)


def choose(rng: np.random.Generator, kinds: Sequence[str], shares: Sequence[float]) -> str:
    """Draws one of the kinds; the shares are relative frequencies and need not sum to 1."""
    weights = np.array(shares, float)
    return kinds[int(rng.choice(len(weights), p=weights / weights.sum()))]


def _square(rng: np.random.Generator, settings: ShapeSettings) -> Shape:
    """The complete box, which is the paper's hole."""
    return np.ones((settings.size, settings.size), bool)


def _smaller_square(rng: np.random.Generator, settings: ShapeSettings) -> Shape:
    side = _draw_length(rng, settings)
    return _box(settings.size, side, side)


def _rectangle(rng: np.random.Generator, settings: ShapeSettings) -> Shape:
    return _box(settings.size, _draw_length(rng, settings), _draw_length(rng, settings))


def _ellipse(rng: np.random.Generator, settings: ShapeSettings) -> Shape:
    """An ellipse of random axes and orientation."""
    angle = rng.uniform(0, np.pi)
    semi_axes = [_draw_length(rng, settings) / 2 for _ in range(2)]
    y, x = _centred_coordinates(settings.size)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (u / semi_axes[0]) ** 2 + (v / semi_axes[1]) ** 2 <= 1


def _strokes(rng: np.random.Generator, settings: ShapeSettings) -> Shape:
    """One to four bent brush strokes, as in free-form inpainting (Yu et al., 2019)."""
    canvas = np.zeros((settings.size, settings.size), np.uint8)
    for _ in range(rng.integers(1, 5)):
        width = int(rng.integers(2, max(3, settings.size // 5)))
        start = rng.uniform(width / 2, settings.size - width / 2, 2)
        angle = rng.uniform(0, 2 * np.pi)
        for _ in range(rng.integers(2, 6)):
            angle += rng.normal(0, 0.8)
            step = rng.uniform(0.15, 0.4) * settings.size
            end = np.clip(start + step * np.array([np.cos(angle), np.sin(angle)]), 0, settings.size - 1)
            cv2.line(canvas, _round_to_pixel(start), _round_to_pixel(end), 1, width)
            cv2.circle(canvas, _round_to_pixel(end), width // 2, 1, -1)
            start = end
    return canvas > 0


def _blob(rng: np.random.Generator, settings: ShapeSettings) -> Shape:
    """A star-shaped outline of a few waves, like the signal void around an implant, a filling or a clip."""
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    radius = np.ones_like(angles)
    for waves in range(2, 8):
        radius += rng.normal(0, 0.35 / waves) * np.cos(waves * angles + rng.uniform(0, 2 * np.pi))
    radius = np.maximum(radius, 0.2)
    radius *= _draw_length(rng, settings) / 2 / radius.max()
    middle = (settings.size - 1) / 2
    outline = np.stack([middle + radius * np.cos(angles), middle + radius * np.sin(angles)], axis=1)
    canvas = np.zeros((settings.size, settings.size), np.uint8)
    cv2.fillPoly(canvas, [outline.round().astype(np.int32)], 1)
    return canvas > 0


def _lesion(rng: np.random.Generator, settings: ShapeSettings) -> Shape:
    """A real lesion, rotated, mirrored and scaled by up to a third; one that is larger than the box is shrunk to fit."""
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


def _draw_length(rng: np.random.Generator, settings: ShapeSettings) -> int:
    return int(rng.integers(settings.smallest, settings.size + 1))


def _box(size: int, height: int, width: int) -> Shape:
    shape = np.zeros((size, size), bool)
    top, left = (size - height) // 2, (size - width) // 2
    shape[top : top + height, left : left + width] = True
    return shape


def _centred_coordinates(size: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return y, x


def _round_to_pixel(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _move_randomly(rng: np.random.Generator, shape: Shape) -> Shape:
    """Moves the shape to a place in its box, uniform over all places where it fits."""
    shifts = []
    for axis in (0, 1):
        used = np.flatnonzero(shape.any(1 - axis))
        shifts.append(int(rng.integers(-used[0], len(shape) - used[-1])))
    return np.roll(shape, shifts, (0, 1))
