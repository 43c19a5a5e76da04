"""The fill of a scan in memory: what `inpaint`, the Python call and the page share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data.holes import context_image
from ipmedgan_jax.imaging import scans
from ipmedgan_jax.imaging.scans import Scan
from ipmedgan_jax.inpainting.filler import Filler

Progress = Callable[[int, int], object]
"""Is called with the number of slices filled so far and the number of all; an exception that it raises ends the fill."""


def ignore(*_: object) -> None:
    """Does nothing with warnings or progress."""


@dataclass(frozen=True, eq=False)
class FilledScan:
    """A scan after filling. Arrays are canonical `[X, Y, Z]`; `Scan.in_file_order` gives the order of the file.

    Attributes:
      scan: the scan as it came.
      mask: bool, true where voxels were filled.
      filled: the volume in its unit; equal to the scan outside the mask.
      deviation: the standard deviation of varied fills, 0 outside the mask; None if it was not asked for.
      slices: number of slices filled, in all planes.
      warnings: what to read before the fill is trusted, one line each.
    """

    scan: Scan
    mask: np.ndarray
    filled: np.ndarray
    deviation: np.ndarray | None
    slices: int
    warnings: list[str]


def fill_scan(
    filler: Filler,
    scan: Scan,
    mask: np.ndarray,
    *,
    planes: Sequence[str] = ("axial",),
    samples: int = 0,
    check: Callable[[list[str]], object] = ignore,
    progress: Progress = ignore,
) -> FilledScan:
    """Fills the masked voxels of a scan. UserError if it cannot be filled.

    Args:
      filler: what fills.
      scan: the scan; its masked voxels may hold any value, also NaN.
      mask: bool, canonical `[X, Y, Z]`, true where voxels are to be filled: at least one, and not all.
      planes: keys of `grids.PLANES`; the fills of several are averaged.
      samples: number of varied fills for the standard deviation; 0 for none.
      check: is called with the warnings before anything is filled; an exception that it raises ends the fill.
      progress: see `Progress`.
    """
    array, known = scan.volume.array, scan.volume.array[~mask]
    scans.check_finite(scan.file.path, known)
    volume = replace(scan.volume, array=context_image(array, mask, float(known.min())))
    fill = filler.open(replace(scan, volume=volume), mask, planes)
    try:
        warnings = fill.warnings()
    except UserError as error:
        raise UserError(f"{scan.file.path}: {error}") from error
    check(warnings)
    filled_slices, total = 0, fill.slice_count * (1 + samples)

    def done(count: int) -> None:
        nonlocal filled_slices
        filled_slices += count
        progress(filled_slices, total)

    filled = fill.filled(done)
    deviation = fill.deviation(samples, done) if samples else None
    return FilledScan(scan, mask, filled, deviation, fill.slice_count, warnings)
