"""Scores fills of holes with the outlines of other patients' lesions, in healthy tissue of scans that no run has seen.

  python -m benchmarks.lesion_holes runs/any runs/square --scans='DIR/**/*_FLAIR.nii.gz' --masks='DIR/**/*_mask.nii.gz' \
      --subjects=sub-084,sub-086 --output=results/lesion_holes.md

Each slice of a scan gets one hole: the outline of a lesion of another subject, at a random place in the head that is clear of
the scan's own lesion. The runs and the classical fills fill the same volumes; the runs fill in the way of `inpaint`.

Errors are over the masked voxels, in 0..255 of the scan's intensity window, on the scan's own grid. On this grid the fill of
a network with fewer pixels is blurred by their number alone. With --trained_grid, all scans are first converted to the runs'
pixels, for all fills. Differences from the first run are paired by subject; intervals are bootstrapped over subjects.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import flags
from scipy.ndimage import binary_dilation, find_objects, label

from ipmedgan_jax.core import runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError

CLASSICAL = ("surround_mean", "telea", "biharmonic")

CLEAR = 4
"""Smallest distance in pixels between a hole and the scan's own lesion."""

FOREGROUND = 0.95
"""Smallest share of a hole that must be head."""

SMALLEST = 60
"""Smallest area of an outline, in pixels."""

RESAMPLES = 2000

Filler = Callable[[np.ndarray], np.ndarray]
"""Takes a mask, bool [X, Y, Z], and returns the volume with these voxels filled."""


def main(folders: list[str]) -> None:
    runtime.set_up()
    from tqdm import tqdm

    from ipmedgan_jax.imaging import mask_files, scans
    from ipmedgan_jax.imaging.foreground import find_foreground
    from ipmedgan_jax.imaging.input_files import list_input_files
    from ipmedgan_jax.inpainting import load_run

    given = flags.FLAGS
    subjects = set(given.subjects)
    runs = {Path(folder).name: load_run.load(Path(folder).expanduser(), "best") for folder in folders}
    first = next(iter(runs.values())).trained
    scan_paths = _by_subject(list_input_files(given.scans), subjects)
    masks = _by_subject(list_input_files(given.masks), subjects)
    if missing := scan_paths.keys() ^ masks.keys():
        raise UserError(f"{', '.join(sorted(missing))}: expected a scan and a mask of each subject")
    loaded = {subject: scans.read_scan(path) for subject, path in scan_paths.items()}
    lesions = {subject: mask_files.read_mask(path, loaded[subject])[0] for subject, path in masks.items()}
    if given.trained_grid:
        converted = {subject: _to_trained_grid(scan.volume, lesions[subject], first) for subject, scan in loaded.items()}
        volumes = {subject: volume for subject, (volume, _) in converted.items()}
        lesions = {subject: lesion for subject, (_, lesion) in converted.items()}
    else:
        volumes = {subject: scan.volume for subject, scan in loaded.items()}
    outlines = {subject: _find_outlines(lesion) for subject, lesion in lesions.items()}
    errors: dict[str, dict[str, list[float]]] = {}
    holes = 0
    for subject, volume in tqdm(volumes.items(), unit="scan", disable=None):
        found = find_foreground(first.preparation, volume.array, volume.spacing_mm, known=~lesions[subject])
        low, high = window = found.window
        head = found.head
        others = [outline for other, found in outlines.items() if other != subject for outline in found]
        hole = _place_outlines(np.random.default_rng(given.seed), head, lesions[subject], others)
        holes += int(hole.any((0, 1)).sum())
        fillers = {name: _make_learned(run, volume) for name, run in runs.items()}
        fillers |= {name: _make_classical(name, volume.array, window) for name in CLASSICAL}
        for name, fill in fillers.items():
            difference = np.clip((fill(hole)[hole] - low) / (high - low), 0, 1)
            difference -= np.clip((volume.array[hole] - low) / (high - low), 0, 1)
            slices = np.nonzero(hole)[2]
            squares = [float(np.mean(np.square(255 * difference[slices == z]))) for z in np.unique(slices)]
            scores = errors.setdefault(name, {"psnr": [], "mse": [], "mae": []})
            scores["psnr"].append(float(np.mean([10 * np.log10(255**2 / max(square, 1e-3)) for square in squares])))
            scores["mse"].append(float(np.mean(squares)))
            scores["mae"].append(float(np.mean(np.abs(255 * difference))))
    text = _format_report(errors, holes, len(loaded))
    Path(given.output).expanduser().write_text(text)
    print(text)


def _to_trained_grid(volume, lesion: np.ndarray, trained):
    """Converts a volume and its lesion's mask to slices of the network's pixels."""
    from ipmedgan_jax.imaging import scans
    from ipmedgan_jax.imaging.grids import PLANES, SliceGrid

    slices, masks = PLANES["axial"](volume.array), PLANES["axial"](lesion)
    grid = SliceGrid.of(trained.preparation, "axial", slices, volume.spacing_mm)
    pixels, masked = grid.to_pixels(slices), grid.to_pixels(masks.astype(np.float32)) > 0.5
    row_mm, column_mm = grid.pixel_spacing_mm
    array, mask = (np.empty(pixels.shape[::-1], stretched.dtype) for stretched in (pixels, masked))
    PLANES["axial"](array)[...], PLANES["axial"](mask)[...] = pixels, masked
    return scans.Volume(volume.path, array, (column_mm, row_mm, volume.spacing_mm[2]), "RAS", False), mask


def _by_subject(paths: list[Path], subjects: set[str]) -> dict[str, Path]:
    from ipmedgan_jax.data.subjects import subject_of

    found = {subject_of(path): path for path in paths}
    return {subject: path for subject, path in sorted(found.items()) if subject in subjects or not subjects}


def _find_outlines(lesion: np.ndarray) -> list[np.ndarray]:
    """Returns the connected components of a mask's slices, bool `[x, y]`, in the scan's pixels."""
    found = []
    for z in np.flatnonzero(lesion.any((0, 1))):
        labels, _ = label(lesion[:, :, z])
        parts = [labels[box] == i for i, box in enumerate(find_objects(labels), start=1)]
        found += [part for part in parts if part.sum() >= SMALLEST]
    return found


def _place_outlines(rng: np.random.Generator, head: np.ndarray, lesion: np.ndarray, outlines: list[np.ndarray]) -> np.ndarray:
    """Places one outline in each slice that has room for it; returns the mask, bool `[X, Y, Z]`."""
    holes = np.zeros(head.shape, bool)
    for z in range(head.shape[2]):
        kept_clear = binary_dilation(lesion[:, :, z], iterations=CLEAR)
        outline = outlines[int(rng.integers(len(outlines)))]
        inside = np.argwhere(head[:, :, z])
        for _ in range(200 if len(inside) else 0):
            x, y = inside[int(rng.integers(len(inside)))] - np.array(outline.shape) // 2
            box = (slice(x, x + outline.shape[0]), slice(y, y + outline.shape[1]), z)
            if x < 0 or y < 0 or holes[box].shape != outline.shape or kept_clear[box[:2]][outline].any():
                continue
            if head[box][outline].mean() >= FOREGROUND:
                holes[box] = outline
                break
    return holes


def _make_learned(run, volume) -> Filler:
    from ipmedgan_jax.inpainting.fill import inpaint_volume
    from ipmedgan_jax.inpainting.masked_volume import MaskedVolume

    return lambda hole: inpaint_volume(run.inpaint, MaskedVolume(run.trained, volume, hole))


def _make_classical(name: str, array: np.ndarray, window: tuple[float, float]) -> Filler:
    from ipmedgan_jax.imaging.scans import from_unit, to_unit
    from ipmedgan_jax.systems.classical import FILLS

    def fill(hole: np.ndarray) -> np.ndarray:
        filled = to_unit(array, window)
        for z in np.flatnonzero(hole.any((0, 1))):
            filled[:, :, z] = FILLS[name](np.ascontiguousarray(filled[:, :, z]), np.ascontiguousarray(hole[:, :, z]))
        return from_unit(filled, window)

    return fill


def _format_report(errors: dict[str, dict[str, list[float]]], holes: int, subjects: int) -> str:
    from ipmedgan_jax.evaluation import reports

    first = next(iter(errors))
    rows = [["fill", "PSNR (dB)", "MSE", "MAE", f"PSNR less {first}'s", f"MAE less {first}'s"]]
    for name, scores in errors.items():
        cells = [_format_interval(np.array(scores[key]), digits) for key, digits in (("psnr", 2), ("mse", 1), ("mae", 2))]
        differences = [np.subtract(scores[key], errors[first][key]) for key in ("psnr", "mae")]
        paired = ["", ""] if name == first else [_format_interval(difference, 2) for difference in differences]
        rows.append([name, *cells, *paired])
    title = f"{holes} holes with outlines of other patients' lesions, {subjects} scans; means, 95 % intervals over subjects."
    return f"{title}\n\n{reports.markdown_table(rows)}\n"


def _format_interval(values: np.ndarray, digits: int) -> str:
    from ipmedgan_jax.evaluation import reports

    ends = reports.bootstrap_interval(values.tolist(), resamples=RESAMPLES)
    interval = f" [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]" if ends else ""
    return f"{values.mean():.{digits}f}{interval}"


def define_flags() -> None:
    flags.DEFINE_string("scans", None, "pattern of NIfTI scans")
    flags.DEFINE_string("masks", None, "pattern of the masks of their lesions")
    flags.DEFINE_list("subjects", [], "subjects to use, by default all; none of them may be from a run's training data")
    flags.DEFINE_boolean("trained_grid", False, "compare on the pixels of the runs")
    flags.DEFINE_integer("seed", 0, "seed of the holes' places")
    flags.DEFINE_string("output", None, "Markdown file to write")


if __name__ == "__main__":
    run_command(main, define_flags, required=["scans", "masks", "output"], arguments="folders of runs")
