"""Pictures of a filled scan for its report: in each plane the slice with most masked voxels, as three slices side by side.

Four layers lie on each other, so that nothing but the filled voxels can differ between before and after:
before (grey), filled (grey, transparent where nothing was filled), difference (blue where the fill is darker, red where it is
brighter) and outline (one pixel outside the mask).

Slices are upright in radiological display, by the scan's canonical orientation; pixels are square in millimetres. Planes in
which the scan is too thin to show anything are left out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import grids, scans
from ipmedgan_jax.imaging.scans import Volume, Window

LONGEST = 384
"""Longest side of a slice in a picture, in pixels; larger ones are reduced."""

LETTERS = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
"""What lies to the left, to the right, at the top and at the bottom of a plane's slices."""

_AXES = {"axial": 2, "coronal": 1, "sagittal": 0}
"""The canonical axis across a plane's slices; their order is that of the voxels."""

_WINDOW_HU = (-160.0, 240.0)
_PERCENTILES = (0.5, 99.5)
_LEAST_HEAD = 0.2
"""Share of the high percentile of a filled MRI from which on a voxel counts as the head, and not as noise of the air."""

_MOST_MASKED = 0.5
"""The shown intensities are those of the known voxels, unless more than this share of the head is masked."""

_FEWEST, _THINNEST = 4, 0.15
"""A plane is left out if its slices have fewer rows or columns of voxels, or are thinner by this ratio of their sides."""

_BLOCK = 16
"""Slices begin at multiples of this column, so that lossy coding does not mix them."""

_FINER = 2
"""How many pixels of the outline's layer are one of the others', so that it is thin where pictures are enlarged."""

_OUTLINE, _DARKER, _BRIGHTER = (255, 212, 0), (70, 150, 255), (255, 90, 50)
FULL_COLOUR = 0.5
"""Difference, as a share of the shown range of intensities, from which the colour is full."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """The layers by name, `size` but for the finer outline, where each plane lies in them, and the planes left out."""

    layers: dict[str, Image.Image]
    size: tuple[int, int]
    planes: list[dict[str, Any]]
    left_out: list[str]


@dataclass(frozen=True, eq=False)
class _View:
    """One slice: grey values in 0..1 before and after, and the mask in 0..1, all `[rows, columns]` of square pixels.

    `at` is the canonical voxel of the mask in this slice that is next to the middle of the mask there.
    """

    plane: str
    at: tuple[int, ...]
    count: int
    before: np.ndarray
    after: np.ndarray
    mask: np.ndarray


def draw(volume: Volume, mask: np.ndarray, filled: np.ndarray) -> Pictures:
    """Draws a filled scan.

    Args:
      volume: the scan before; its masked voxels may be NaN.
      mask: bool, canonical `[X, Y, Z]`, true where voxels were filled.
      filled: the array after filling.
    """
    window = _shown_window(volume, mask, filled)
    shown = _shown_planes(volume)
    views = [_view(plane, volume, mask, filled, window) for plane in shown]
    widths = [-(-view.before.shape[1] // _BLOCK) * _BLOCK for view in views]
    size = (sum(widths), max(view.before.shape[0] for view in views))
    starts = [sum(widths[:i]) for i in range(len(views))]
    layers = {"before": Image.new("L", size)} | {name: Image.new("RGBA", size) for name in ("filled", "difference")}
    layers["outline"] = Image.new("RGBA", (_FINER * size[0], _FINER * size[1]))
    for view, start in zip(views, starts, strict=True):
        for name, picture in _layers(view).items():
            layers[name].paste(picture, (_FINER * start if name == "outline" else start, 0))
    places = [_place(view, start) for view, start in zip(views, starts, strict=True)]
    return Pictures(layers, size, places, [plane for plane in grids.PLANES if plane not in shown])


def _shown_planes(volume: Volume) -> list[str]:
    """Returns the planes in which the scan is thick enough to be shown; at least one."""
    ratios = {}
    for plane, view in grids.PLANES.items():
        voxels = view(volume.array).shape[1:]
        sides = np.multiply(voxels, grids.in_plane(plane, volume.spacing_mm))
        ratios[plane] = sides.min() / sides.max() if min(voxels) >= _FEWEST else 0.0
    return [plane for plane, ratio in ratios.items() if ratio >= _THINNEST] or [max(ratios, key=lambda plane: ratios[plane])]


def _shown_window(volume: Volume, mask: np.ndarray, filled: np.ndarray) -> Window:
    """Returns the intensities that are drawn black and white; soft tissue for CT.

    Those of the known voxels, so that a bad fill does not darken the head; of the fill too where little of the head is known.
    """
    if scans.likely_modality(volume) == "ct":
        return _WINDOW_HU
    stride = max(1, round((mask.size / 1e6) ** (1 / 3)))
    part = (slice(None, None, stride),) * 3
    values, masked = filled[part], mask[part]
    head = values > _LEAST_HEAD * np.percentile(values, _PERCENTILES[1])
    little_known = np.count_nonzero(masked & head) > _MOST_MASKED * np.count_nonzero(head)
    shown = values.ravel() if little_known else values[~masked]
    try:
        return scans.intensity_window(shown, "mri", window_hu=_WINDOW_HU, percentiles=_PERCENTILES, foreground_level=0.05)
    except (UserError, IndexError, ValueError):  # nearly every known voxel has one value, or none of this part is known
        low, high = float(np.nanmin(volume.array)), float(np.nanmax(volume.array))
        return low, high if high > low else low + 1


def _view(plane: str, volume: Volume, mask: np.ndarray, filled: np.ndarray, window: Window) -> _View:
    masks = grids.PLANES[plane](mask)
    index = int(masks.sum((1, 2)).argmax())
    rows, columns = grids.in_plane(plane, volume.spacing_mm)
    axis = _AXES[plane]
    here = np.argwhere(mask.take(index, axis))
    nearest = here[((here - here.mean(0)) ** 2).sum(1).argmin()] if len(here) else np.array(masks.shape[1:]) // 2
    height, width = masks.shape[1] * rows, masks.shape[2] * columns
    scale = min(1 / min(rows, columns), LONGEST / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    low, high = window
    before, after = (
        _resized((np.nan_to_num(grids.PLANES[plane](array)[index], nan=low) - low) / (high - low), size)
        for array in (volume.array, filled)
    )
    return _View(
        plane, tuple(np.insert(nearest, axis, index).tolist()), len(masks), before, after, _resized(masks[index], size)
    )


def _resized(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes by linear interpolation, or by averaging where it reduces."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(array, np.float32)).resize(size, Image.Resampling.BILINEAR))


def _layers(view: _View) -> dict[str, Image.Image]:
    touched, difference = view.mask > 0, view.after - view.before
    strength = np.clip(np.abs(difference) / FULL_COLOUR, 0, 1) * touched
    colour = np.where(difference[..., None] > 0, np.array(_BRIGHTER, np.uint8), np.array(_DARKER, np.uint8))
    grey = _bytes(view.after)[..., None].repeat(3, -1)
    inside = _inside(_resized(view.mask, (_FINER * touched.shape[1], _FINER * touched.shape[0])))
    outline = np.broadcast_to(np.array(_OUTLINE, np.uint8), (*inside.shape, 3))
    return {
        "before": Image.fromarray(_bytes(view.before)),
        "filled": _with_alpha(grey, touched),
        "difference": _with_alpha(colour, strength),
        "outline": _with_alpha(outline, binary_dilation(inside) & ~inside),
    }


def _inside(mask: np.ndarray) -> np.ndarray:
    """Returns the pixels inside a resized mask; all that it touches if it is too thin for any."""
    return mask >= 0.5 if (mask >= 0.5).any() else mask > 0


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _with_alpha(colour: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([np.where((alpha > 0)[..., None], colour, 0), _bytes(alpha)]).astype(np.uint8))


def _place(view: _View, start: int) -> dict[str, Any]:
    """Returns what a page needs to show a slice: where it is in the pictures, and the box of its mask, in pixels."""
    rows, columns = (np.flatnonzero((view.mask > 0).any(axis)) for axis in (1, 0))
    height, width = view.before.shape
    box = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1] if rows.size else [0, 0, width, height]
    return {
        "plane": view.plane,
        "letters": LETTERS[view.plane],
        "at": view.at,
        "slices": view.count,
        "left": start,
        "width": width,
        "height": height,
        "box": box,
    }
