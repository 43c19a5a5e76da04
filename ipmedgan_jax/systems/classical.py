"""Fills that learn nothing, one of each family that a kept library has, on one slice.

The mean of the surroundings (the floor); diffusion (Telea, Navier-Stokes: OpenCV; biharmonic: scikit-image; Laplace's
equation: SciPy); interpolation (radial basis functions: SciPy); copying of the image's own structures (shift map: OpenCV).

`FILLS[name](image, mask)` takes an image [H, W] float32 in [-1, 1] and a mask [H, W] that is true where pixels are
removed, and returns the inpainted image, bit-equal outside the mask. No fill can see a removed pixel: the hole is
black before it is called. UserError where the mask has another shape or leaves no pixel to go by.
"""

from collections.abc import Callable

import cv2
import numpy as np
from scipy import sparse
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import binary_dilation, label
from scipy.sparse.linalg import spsolve
from skimage.restoration import inpaint_biharmonic

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data.holes import context_image

Fill = Callable[[np.ndarray, np.ndarray], np.ndarray]

BLACK = -1.0
"""What stands in the hole while a fill is computed."""

RING = 3
"""Pixels: the width of the ring whose mean `surround_mean` takes."""

RADIUS = 3
"""Pixels: the neighbourhood that OpenCV's fills look at round each removed pixel."""


def _surround_mean(context: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mean of a 3-px ring round the removed pixels: the floor every other fill has to clear."""
    ring = binary_dilation(mask, structure=np.ones((3, 3), bool), iterations=RING) & ~mask
    return np.full_like(context, context[ring].mean(dtype=np.float64))


def _telea(context: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fast marching (Telea, 2004); OpenCV 5.0 fills a flat 64 px hole up to 7 grey levels too bright."""
    return _opencv(context, mask, cv2.INPAINT_TELEA)


def _navier_stokes(context: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Isophotes carried on as by a fluid (Bertalmio et al., 2001)."""
    return _opencv(context, mask, cv2.INPAINT_NS)


def _biharmonic(context: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The surface whose bilaplacian vanishes (Damelin and Hoang, 2018), clipped to the range of the known pixels.

    The equation reaches 2 px beyond the hole, so `split_into_regions`, which solves it on each hole with a margin of
    2 px, gives what the whole image would; in float64, because the bilaplacian of a large hole is ill-conditioned.
    """
    return inpaint_biharmonic(context.astype(np.float64), mask, split_into_regions=True)


def _laplace(context: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Where heat comes to rest: every removed pixel is the mean of its neighbours (Laplace's equation), in float64."""
    count = int(mask.sum())
    number = np.full(mask.shape, -1)
    number[mask] = np.arange(count)
    neighbours, known = np.zeros(count), np.zeros(count)
    pairs = []
    for axis, shift in ((0, 1), (0, -1), (1, 1), (1, -1)):
        here, there, values = (np.moveaxis(each, axis, 0)[::shift] for each in (number, number, context))
        here, there, values = here[1:], there[:-1], values[:-1]
        inside, beyond = here >= 0, there < 0
        neighbours += np.bincount(here[inside], minlength=count)
        known += np.bincount(here[inside & beyond], values[inside & beyond], minlength=count)
        pairs.append(np.stack([here[inside & ~beyond], there[inside & ~beyond]]))
    places = np.concatenate(pairs, axis=1)
    linked = sparse.csr_array((np.ones(places.shape[1]), tuple(places)), shape=(count, count))
    filled = context.astype(np.float64)
    filled[mask] = spsolve((sparse.diags_array(neighbours) - linked).tocsc(), known)
    return filled


def _rbf(context: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Thin-plate spline through the known pixels of a 3-px ring, each hole by its own, clipped to their range."""
    filled = context.astype(np.float64)
    labels, count = label(mask, structure=np.ones((3, 3)))
    for hole in range(1, count + 1):
        inside = labels == hole
        ring = binary_dilation(inside, structure=np.ones((3, 3), bool), iterations=RING) & ~mask
        spline = RBFInterpolator(np.argwhere(ring), filled[ring], kernel="thin_plate_spline", smoothing=1e-3)
        filled[inside] = np.clip(spline(np.argwhere(inside)), filled[ring].min(), filled[ring].max())
    return filled


def _shift_map(context: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Pixels copied from elsewhere by a few dominant offsets between alike patches (He and Sun, 2012), 8 bit.

    On a head before black air many of those offsets are the air's: a third of the pixels it copies into FLAIR are black.
    """
    grey, filled = _eight_bit(context), np.zeros(context.shape, np.uint8)
    cv2.setRNGSeed(0)
    cv2.xphoto.inpaint(grey, np.where(mask, 0, 255).astype(np.uint8), filled, cv2.xphoto.INPAINT_SHIFTMAP)
    return filled / 127.5 - 1


def _eight_bit(context: np.ndarray) -> np.ndarray:
    return np.rint((np.clip(context, -1, 1) + 1) * 127.5).astype(np.uint8)


def _opencv(context: np.ndarray, mask: np.ndarray, method: int) -> np.ndarray:
    """OpenCV's fill of the context rounded to 8 bit: its float32 path returns garbage in OpenCV 5.0."""
    return cv2.inpaint(_eight_bit(context), mask.astype(np.uint8), RADIUS, method) / 127.5 - 1


def _safely(fill: Fill) -> Fill:
    """`fill`, shown the context alone, and its values taken in the hole alone."""

    def inpaint(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        mask = np.asarray(mask, bool)
        if mask.shape != image.shape or image.ndim != 2:
            raise UserError(f"mask: the image's shape {image.shape}, two-dimensional, wanted, got {mask.shape}")
        if mask.all():
            raise UserError("mask: at least one known pixel wanted, but it removes the whole slice")
        if not mask.any():
            return image.copy()
        context = context_image(image, mask, BLACK)
        return np.where(mask, fill(context, mask).astype(image.dtype), image)

    inpaint.__name__, inpaint.__doc__ = fill.__name__.removeprefix("_"), fill.__doc__
    return inpaint


FILLS: dict[str, Fill] = {
    "surround_mean": _safely(_surround_mean),
    "telea": _safely(_telea),
    "navier_stokes": _safely(_navier_stokes),
    "biharmonic": _safely(_biharmonic),
    "laplace": _safely(_laplace),
    "rbf": _safely(_rbf),
    "shift_map": _safely(_shift_map),
}
"""Every classical fill by the name `evaluate --system` takes."""
