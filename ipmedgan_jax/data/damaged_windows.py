"""What a finder sees of a slice: all of it, or a window of it, with simulated damage."""

import numpy as np

from ipmedgan_jax.data import grey_air, windows
from ipmedgan_jax.data.batches import NumpyBatch
from ipmedgan_jax.data.damage import DamageSettings, simulate
from ipmedgan_jax.data.holes import box, random_hole


def example(
    rng: np.random.Generator, image: np.ndarray, head: np.ndarray | None, settings: DamageSettings, side: int
) -> NumpyBatch:
    """A damaged slice, or window of one. Its hole is the complete image, and `hole_mask` marks the damaged pixels."""
    shown, head = draw(rng, image, head, settings, side)
    damaged, mask, _ = simulate(rng, shown, head, settings)
    return {"image": damaged[..., None], "hole": box(0, 0, len(shown)), "hole_mask": mask.astype(np.uint8)}


def draw(
    rng: np.random.Generator, image: np.ndarray, head: np.ndarray | None, settings: DamageSettings, side: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Draws a window of `side` pixels with as much foreground as there may be, up to half of it; 0 takes the whole slice.

    Returns the image and the head in it. The head is None where air is dark: then it is found from the image, as that of
    scans without a known head.
    """
    if grey_air.level(image, head, settings.foreground) == grey_air.AIR:
        head = None
    if not side:
        return image, head
    row, column, _, _ = random_hole(rng, image > settings.foreground if head is None else head, side, 0.5)[0]
    corner = int(row), int(column)
    return windows.cut(image, corner, side), None if head is None else windows.cut(head, corner, side)
