"""Classical fills, which learn nothing: one of each family that a maintained library offers.

The families are the mean of the surroundings (the baseline that all others must beat); diffusion (Telea and Navier-Stokes
with OpenCV, biharmonic with scikit-image, Laplace's equation with SciPy); interpolation (radial basis functions with SciPy);
and copying of the image's own structures (shift map with OpenCV).

`FILLS[name](image, mask)` takes one slice `[H, W]`, float32 in [-1, 1], and a mask `[H, W]` that is true where pixels are
removed. It returns the inpainted image, bit-equal to the slice outside the mask. No fill can see a removed pixel, because
the hole is set to black first. UserError if the mask has another shape, or leaves no known pixel, and for `shift_map` if
OpenCV has no contrib modules. `FULL_RANGE_FILLS` has the same fills for slices in any unit, without rounding to 8 bits.
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
from ipmedgan_jax.core.spelling import suggestion
from ipmedgan_jax.data.holes import context_image

Fill = Callable[[np.ndarray, np.ndarray], np.ndarray]

BLACK = -1.0
"""Value of the hole in the context that a fill receives."""

RING = 3
"""Pixels: width of the ring of known pixels that `surround_mean` averages and `rbf` interpolates from."""

RADIUS = 3
"""Pixels: radius of the neighbourhood that OpenCV's fills use for each removed pixel."""


def _surround_mean(context: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mean of the 3-pixel ring around the removed pixels: the baseline that every other fill must beat."""
    ring = binary_dilation(mask, structure=np.ones((3, 3), bool), iterations=RING) & ~mask
    return np.full_like(context, context[ring].mean(dtype=np.float64))


def _telea(context: np.ndarray, mask: np.ndarray, kind: type = np.uint8) -> np.ndarray:
    """Fast marching (Telea, 2004). OpenCV 5.0 fills a 64-pixel hole in a flat image up to 7 grey levels too bright."""
    return _opencv(context, mask, cv2.INPAINT_TELEA, kind)


def _navier_stokes(context: np.ndarray, mask: np.ndarray, kind: type = np.uint8) -> np.ndarray:
    """Isophotes continued into the hole by the Navier-Stokes equations of a fluid (Bertalmio et al., 2001)."""
    return _opencv(context, mask, cv2.INPAINT_NS, kind)


def _biharmonic(context: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The surface whose bilaplacian vanishes (Damelin and Hoang, 2018), clipped to the range of the known pixels.

    The equation uses pixels up to 2 pixels from the hole. So `split_into_regions`, which solves each hole with a margin of 2
    pixels, gives the result of the complete image. It runs in float64 because the bilaplacian of a large hole is
    ill-conditioned.
    """
    return inpaint_biharmonic(context.astype(np.float64), mask, split_into_regions=True)


def _laplace(context: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Laplace's equation (steady-state heat): every removed pixel is the mean of its neighbours, in float64.

    For each removed pixel: (number of neighbours) * value - (sum of removed neighbours) = (sum of known neighbours).
    """
    count = int(mask.sum())
    index = np.full(mask.shape, -1)  # of each removed pixel; -1 for known ones
    index[mask] = np.arange(count)
    neighbours, known_sum = np.zeros(count), np.zeros(count)
    pairs = []
    for axis, direction in ((0, 1), (0, -1), (1, 1), (1, -1)):
        pixel, neighbour, value = (np.moveaxis(array, axis, 0)[::direction] for array in (index, index, context))
        pixel, neighbour, value = pixel[1:], neighbour[:-1], value[:-1]
        removed, next_to_known = pixel >= 0, neighbour < 0
        neighbours += np.bincount(pixel[removed], minlength=count)
        known_sum += np.bincount(pixel[removed & next_to_known], value[removed & next_to_known], minlength=count)
        pairs.append(np.stack([pixel[removed & ~next_to_known], neighbour[removed & ~next_to_known]]))
    entries = np.concatenate(pairs, axis=1)
    adjacency = sparse.csr_array((np.ones(entries.shape[1]), tuple(entries)), shape=(count, count))
    filled = context.astype(np.float64)
    filled[mask] = spsolve((sparse.diags_array(neighbours) - adjacency).tocsc(), known_sum)
    return filled


def _rbf(context: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Thin-plate spline through the known pixels of a 3-pixel ring, for each hole separately, clipped to their range.

    UserError if the known pixels around a hole lie on one line, through which no such surface is determined.
    """
    filled = context.astype(np.float64)
    labels, count = label(mask, structure=np.ones((3, 3)))
    for hole in range(1, count + 1):
        inside = labels == hole
        ring = binary_dilation(inside, structure=np.ones((3, 3), bool), iterations=RING) & ~mask
        places = np.argwhere(ring)
        if np.linalg.matrix_rank(places - places[0]) < 2:
            raise UserError("rbf needs known pixels around each hole that are not all on one line; choose another fill")
        spline = RBFInterpolator(places, filled[ring], kernel="thin_plate_spline", smoothing=1e-3)
        filled[inside] = np.clip(spline(np.argwhere(inside)), filled[ring].min(), filled[ring].max())
    return filled


def _shift_map(context: np.ndarray, mask: np.ndarray, kind: type = np.uint8) -> np.ndarray:
    """Pixels copied by a few dominant offsets between similar patches of the image (He and Sun, 2012).

    In a slice of a head surrounded by black air, many of these offsets come from the air: a third of the pixels that it
    copies into FLAIR are black.
    """
    if not hasattr(cv2, "xphoto"):
        raise UserError(
            "the fill shift_map needs OpenCV's contrib modules, found plain OpenCV: install opencv-contrib-python-headless "
            "in its place"
        )
    grey = _grey_levels(context, kind)
    filled = np.zeros_like(grey)
    cv2.setRNGSeed(0)
    cv2.xphoto.inpaint(grey, np.where(mask, 0, 255).astype(np.uint8), filled, cv2.xphoto.INPAINT_SHIFTMAP)
    return filled / 127.5 - 1


def _grey_levels(context: np.ndarray, kind: type) -> np.ndarray:
    """Maps [-1, 1] to all levels of an unsigned type; to 0..255 for float32, without rounding."""
    if kind is np.float32:
        return ((np.clip(context, -1, 1) + 1) * 127.5).astype(np.float32)
    return np.rint((np.clip(context, -1, 1) + 1) * (np.iinfo(kind).max / 2)).astype(kind)


def _opencv(context: np.ndarray, mask: np.ndarray, method: int, kind: type) -> np.ndarray:
    """OpenCV's fill of the context, rounded to an unsigned type because the float32 path of OpenCV 5.0 returns garbage."""
    return cv2.inpaint(_grey_levels(context, kind), mask.astype(np.uint8), RADIUS, method) / (np.iinfo(kind).max / 2) - 1


def _in_any_unit(fill: Callable[[np.ndarray, np.ndarray, type], np.ndarray], kind: type) -> Fill:
    """Wraps an OpenCV fill for contexts in any unit: it gets their known pixels as grey levels of the type `kind`."""

    def inpaint(context: np.ndarray, mask: np.ndarray) -> np.ndarray:
        low, high = float(context[~mask].min()), float(context[~mask].max())
        if low == high:
            return np.full_like(context, low)
        scaled = (context.astype(np.float64) - low) * (2 / (high - low)) - 1
        return (fill(context_image(scaled, mask, BLACK), mask, kind) + 1) * ((high - low) / 2) + low

    inpaint.__name__, inpaint.__doc__ = fill.__name__, fill.__doc__
    return inpaint


def _restrict_to_hole(fill: Fill) -> Fill:
    """Wraps `fill` so that it sees only the context, and changes only the hole."""

    def inpaint(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        mask = np.asarray(mask, bool)
        if mask.shape != image.shape or image.ndim != 2:
            raise UserError(f"mask: expected the image's shape {image.shape}, two-dimensional, got {mask.shape}")
        if mask.all():
            raise UserError("mask: expected at least one known pixel, but it removes the whole slice")
        if not mask.any():
            return image.copy()
        context = context_image(image, mask, BLACK)
        return np.where(mask, fill(context, mask).astype(image.dtype), image)

    inpaint.__name__, inpaint.__doc__ = fill.__name__.removeprefix("_"), fill.__doc__
    return inpaint


FILLS: dict[str, Fill] = {
    "surround_mean": _restrict_to_hole(_surround_mean),
    "telea": _restrict_to_hole(_telea),
    "navier_stokes": _restrict_to_hole(_navier_stokes),
    "biharmonic": _restrict_to_hole(_biharmonic),
    "laplace": _restrict_to_hole(_laplace),
    "rbf": _restrict_to_hole(_rbf),
    "shift_map": _restrict_to_hole(_shift_map),
}
"""All classical fills, by the names that `evaluate --system` takes."""

FULL_RANGE_FILLS: dict[str, Fill] = FILLS | {
    "telea": _restrict_to_hole(_in_any_unit(_telea, np.uint16)),
    "navier_stokes": _restrict_to_hole(_in_any_unit(_navier_stokes, np.uint16)),
    "shift_map": _restrict_to_hole(_in_any_unit(_shift_map, np.float32)),
}
"""The same fills for slices in any unit, such as HU. Nothing is clipped.

Telea's and the Navier-Stokes fill round to 1/65,535 of the range of the slice's known pixels; all others have the precision
of floats. With 8 bits, one level of a CT slice with metal would be 16 HU, and Telea's errors add up to several levels.
"""


def check_name(name: str) -> None:
    """UserError, with the nearest name, unless `name` is a classical fill."""
    if name not in FILLS:
        nearest = suggestion(name, FILLS, "--system=") or "; for a trained system, give its --workdir alone"
        raise UserError(f"--system={name}: expected one of {', '.join(FILLS)}{nearest}")
