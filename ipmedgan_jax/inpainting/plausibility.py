"""A plausibility figure: how a fill differs from what surrounds it, as one number with its parts.

The scan's own values around the mask are the yardstick; the values that the mask removed play no part. Each part is scaled so
that it is about 1 where a fill is like the scan itself, and the figure is the largest part. Up to `ORDINARY` the fill looks
like its surroundings: of 32 places in real scans, 95 % have no higher figure. `FAR_OFF` is far off. Differences are those of
neighbouring voxels within slices.

- step: the mean difference across the mask's border, as a multiple of the mean difference in the ring round the mask;
- slice: the same for the worst slice alone, divided by 1.5, because the worst of many slices lies above the mean;
- rough: the mean difference inside the mask, as a multiple of that in the ring (noise, weave);
- flat: a tenth of the ring's mean difference, as a multiple of that inside the mask; at most 5 (a constant);
- range: the share of the filled voxels far outside the values of the ring, divided by 0.1: more than a quarter of the range
  of its 1st to 99th percentile below or above that range.

A part is 0 where it cannot be measured, such as the roughness of one voxel. There is no figure if a slice with masked voxels
has no known voxel round these: nothing says how its fill should look. A mean step counts `_PRIOR` more differences of
the ring's mean, so that a mask of few voxels is not far off by chance. docs/filling.md has what it finds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation

from ipmedgan_jax.core.spelling import counted

_RING = 5
"""Width in voxels of the ring round the mask, within slices."""

_PRIOR = 20
"""Number of differences of the ring's mean that are added to each mean step."""

_THICK = 1.5
"""Voxels are thicker than wide, and their slices are across the long side, from this ratio on."""

_SMALLEST = 0.005
"""Smallest mean difference in the ring that counts, as a share of the range of the scan's known values."""

_SLICE_FACTOR, _FLAT_SHARE, _FLAT_LIMIT, _RANGE_SHARE, _MARGIN = 1.5, 0.1, 0.02, 0.1, 0.25

ORDINARY = 1.3
"""Up to this figure a fill looks like its surroundings; the 95th percentile of the scans themselves, see docs/filling.md."""

FAR_OFF = 3.0
"""From this figure on a fill is far off."""

LARGEST = 100.0
"""Largest value of a part."""


@dataclass(frozen=True)
class Plausibility:
    """The parts of the figure; see the module. Each is in 0..`LARGEST`, about 1 where a fill is like the scan itself.

    `unmeasured` says why there is no figure; empty if there is one.
    """

    step: float
    slice: float
    rough: float
    flat: float
    range: float
    unmeasured: str = ""

    def for_json(self) -> dict[str, Any]:
        """Returns the figure, the name of its largest part, all parts, rounded to three decimals, and `ORDINARY`.

        Without a figure it is null, as is the name, there are no parts, and `unmeasured` says why.
        """
        if self.unmeasured:
            nothing: dict[str, Any] = {"figure": None, "worst_part": None, "parts": {}}
            return nothing | {"unmeasured": self.unmeasured, "ordinary_up_to": ORDINARY}
        parts = {name: round(getattr(self, name), 3) for name in ("step", "slice", "rough", "flat", "range")}
        worst = max(parts, key=lambda name: parts[name])
        return {"figure": parts[worst], "worst_part": worst, "parts": parts, "ordinary_up_to": ORDINARY}


def plausibility(filled: np.ndarray, mask: np.ndarray, spacing_mm: Sequence[float]) -> Plausibility:
    """Returns the plausibility of a fill.

    Args:
      filled: the volume after filling, `[X, Y, Z]`, finite.
      mask: bool, of the same shape, true where voxels were filled; at least one, and not all.
      spacing_mm: the voxel's edges along X, Y and Z.
    """
    volume, masks = (np.moveaxis(array, _through(spacing_mm), 0) for array in (filled, mask))
    slices = [_measure(volume[i], masks[i]) for i in np.flatnonzero(masks.any((1, 2)))]
    across, within, around = (np.array([getattr(measured, name) for measured in slices]) for name in _DIFFERENCES)
    least = _SMALLEST * _known_range(volume, masks) or 1e-30
    scale, inner = max(_mean(around), least), _mean(within)
    blind = sum(not measured.ring.size for measured in slices)
    return Plausibility(
        step=min(float(_mean_steps(across.sum(0), scale)) / scale if across[:, 1].any() else 0.0, LARGEST),
        slice=min(_worst_slice(across, around, scale, least) / _SLICE_FACTOR, LARGEST),
        rough=min(inner / scale, LARGEST),
        flat=_FLAT_SHARE / max(inner / scale, _FLAT_LIMIT) if within[:, 1].sum() >= _PRIOR and scale > least else 0.0,
        range=_outside_share(*(np.concatenate([getattr(one, name) for one in slices]) for name in ("inside", "ring")))
        / _RANGE_SHARE,
        unmeasured=f"{counted(blind, 'slice')} without a known voxel around the mask" if blind else "",
    )


def _through(spacing_mm: Sequence[float]) -> int:
    """Returns the axis across the slices: the longest one of thick voxels, else Z."""
    edges = np.asarray(spacing_mm, float)
    return int(edges.argmax()) if edges.max() > _THICK * edges.min() else 2


@dataclass(frozen=True)
class _Slice:
    """Sum and number of the differences of neighbours in one slice, and the values inside the mask and in the ring."""

    across: tuple[float, int]
    within: tuple[float, int]
    around: tuple[float, int]
    inside: np.ndarray
    ring: np.ndarray


_DIFFERENCES = ("across", "within", "around")


def _measure(image: np.ndarray, mask: np.ndarray) -> _Slice:
    """Measures one slice `[rows, columns]` with its mask."""
    box = tuple(slice(max(0, where.min() - _RING), where.max() + _RING + 1) for where in np.nonzero(mask))
    values, inside = image[box].astype(np.float64), mask[box]
    ring = binary_dilation(inside, iterations=_RING) & ~inside
    sums = {name: [0.0, 0] for name in _DIFFERENCES}
    for turned, masked, ringed in ((values, inside, ring), (values.T, inside.T, ring.T)):
        steps = np.abs(np.diff(turned, axis=0))
        first, second = masked[:-1], masked[1:]
        for name, pairs in zip(_DIFFERENCES, (first != second, first & second, ringed[:-1] & ringed[1:]), strict=True):
            sums[name][0] += float(steps[pairs].sum())
            sums[name][1] += int(pairs.sum())
    across, within, around = ((total, int(count)) for total, count in sums.values())
    return _Slice(across, within, around, values[inside], values[ring])


def _known_range(volume: np.ndarray, masks: np.ndarray) -> float:
    """Returns the distance of the 1st and the 99th percentile of the known values, of at most about 100,000 of them."""
    stride = max(1, round((volume.size / 100_000) ** (1 / 3)))
    part = (slice(None, None, stride),) * 3
    known = volume[part][~masks[part]]
    return float(np.subtract(*np.percentile(known, (99, 1)))) if known.size else 0.0


def _mean(sums: np.ndarray) -> float:
    """Returns the mean of the differences of all slices; `sums` is `[slices, 2]`."""
    total, count = sums.sum(0)
    return float(total / max(count, 1))


def _mean_steps(sums: np.ndarray, expected: float) -> np.ndarray:
    """Returns the mean of differences and of `_PRIOR` more, of the expected size; `sums` is `[..., 2]`."""
    return (sums[..., 0] + _PRIOR * expected) / (sums[..., 1] + _PRIOR)


def _worst_slice(across: np.ndarray, around: np.ndarray, scale: float, least: float) -> float:
    """Returns the largest of the slices' mean steps, as a multiple of the mean difference in the ring of that slice."""
    ratios = _mean_steps(across, scale) / np.maximum(_mean_steps(around, scale), least)
    return float(np.max(ratios, where=across[:, 1] > 0, initial=0.0))


def _outside_share(inside: np.ndarray, ring: np.ndarray) -> float:
    """Returns the share of values far outside the range of the ring; 0 without a ring."""
    if not ring.size:
        return 0.0
    low, high = np.percentile(ring, (1, 99))
    margin = _MARGIN * (high - low)
    return float(((inside < low - margin) | (inside > high + margin)).mean())
