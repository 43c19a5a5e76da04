"""Draws the picture of a filled scan in docs/filling.md: image, hole, fill and difference of three slices.

  python -m benchmarks.fill_picture flair --scan=scan.nii.gz --output=docs/fill.png

The argument is a run, or a model as `inpaint --model` names it. Each hole is an irregular ball in the head, filled
in the way of `inpaint`.
"""

from pathlib import Path

import numpy as np
from absl import flags
from scipy.ndimage import gaussian_filter

from benchmarks import hole_fills, outputs
from ipmedgan_jax.core import runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError

PLACES = ((0.24, 0.44, 0.55), (0.72, 0.36, 0.62), (0.70, 0.70, 0.72))
"""Centres of the holes, as shares of the head's extent along x, y and z (left to right, back to front, upwards)."""

RADIUS_MM = 11.0


def main(folders: list[str]) -> None:
    runtime.set_up()
    from ipmedgan_jax.data.holes import context_image
    from ipmedgan_jax.evaluation import figures
    from ipmedgan_jax.imaging import scans
    from ipmedgan_jax.imaging.grids import PLANES
    from ipmedgan_jax.imaging.scans import to_unit
    from ipmedgan_jax.inpainting.fill import inpaint_volume
    from ipmedgan_jax.inpainting.masked_volume import MaskedVolume

    given = flags.FLAGS
    if len(folders) != 1:
        raise UserError(f"expected one run or model, found {len(folders)}")
    output = outputs.file(given.output)
    run = hole_fills.load_generator(folders[0])
    volume = scans.read_volume(Path(given.scan).expanduser())
    head = _find_head(volume.array)
    mask, middles = _draw_holes(head, volume.spacing_mm)
    filled = inpaint_volume(run.inpaint, MaskedVolume(run.trained, volume, mask))
    window = run.trained.preparation.window(volume.array)
    box = tuple(slice(low, high + 1) for low, high in _find_extent(head))
    before, masks, after = (PLANES["axial"](array[box]) for array in (volume.array, mask, filled))
    rows = []
    for z in middles:
        image, inpainted = (to_unit(array[z], window) for array in (before, after))
        rows.append(
            figures.example_row(
                (f"slice {z} of {len(before)}", f"{int(masks[z].sum())} pixels masked"),
                image=image,
                context=context_image(image, masks[z], -1.0),
                inpainted=inpainted,
            )
        )
    figures.example_grid(rows, output, title=given.title)


def _find_head(array: np.ndarray) -> np.ndarray:
    return gaussian_filter(array, 2) > np.percentile(array, 75)


def _find_extent(head: np.ndarray) -> list[tuple[int, int]]:
    """Returns the first and last index of the head along each axis."""
    indices_by_axis = [np.flatnonzero(head.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return [(int(indices[0]), int(indices[-1])) for indices in indices_by_axis]


def _draw_holes(head: np.ndarray, spacing_mm: tuple[float, float, float]) -> tuple[np.ndarray, list[int]]:
    """Makes the mask, bool `[X, Y, Z]`; returns it with each hole's middle slice, counted from the head's first."""
    noise = gaussian_filter(np.random.default_rng(0).standard_normal(head.shape), [5 / mm for mm in spacing_mm])
    noise *= 3 / noise.std()
    grids = np.meshgrid(*(np.arange(length) for length in head.shape), indexing="ij", sparse=True)
    mask, middles = np.zeros(head.shape, bool), []
    for place in PLACES:
        middle = [low + share * (high - low) for share, (low, high) in zip(place, _find_extent(head), strict=True)]
        offsets = [(grid - at) * mm for grid, at, mm in zip(grids, middle, spacing_mm, strict=True)]
        mask |= np.sqrt(sum(np.square(offset) for offset in offsets)) + noise < RADIUS_MM
        middles.append(round(middle[2]) - _find_extent(head)[2][0])
    return mask, middles


def define_flags() -> None:
    flags.DEFINE_string("scan", None, "NIfTI file of the scan")
    flags.DEFINE_string("output", None, "PNG file to write")
    flags.DEFINE_string("title", "", "title of the picture")


if __name__ == "__main__":
    run_command(main, define_flags, required=["scan", "output"], arguments="a run or a model")
