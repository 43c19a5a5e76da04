"""Measures how well the plausibility figure tells planted bad fills from good ones.

  python -m benchmarks.planted_fills --scans='DIR/**/*_FLAIR.nii.gz' --output=planted.md

Each scan gets two holes by lot inside the head, with wobbly outlines. They are filled by the model `flair` and by classical
fills. From each of these fills bad ones are made. "AUC": how often a bad fill has a higher figure than a good one of the same
filler. "Comes first": how often one bad fill among the good fills of all other holes has the highest figure.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import flags
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter

from benchmarks import outputs
from ipmedgan_jax.core import files, runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.imaging import scans
from ipmedgan_jax.imaging.foreground import find_foreground
from ipmedgan_jax.imaging.input_files import list_input_files
from ipmedgan_jax.imaging.scans import Volume
from ipmedgan_jax.imaging.settings import PreparationSettings
from ipmedgan_jax.inpainting.filled_scan import fill_scan
from ipmedgan_jax.inpainting.load import load_filler
from ipmedgan_jax.inpainting.plausibility import plausibility

FILLERS = ("flair", "laplace", "biharmonic", "telea")
HOLES = 2
DEEPEST_MM, RADII_MM, WOBBLE_MM = 12, (4, 14), 3


def draw_hole(volume: Volume, rng: np.random.Generator) -> np.ndarray:
    """Returns a hole with a wobbly outline, whose middle lies at least `DEEPEST_MM` inside the head."""
    settings = PreparationSettings("mri", image_size=1)
    head = find_foreground(settings, volume.array, volume.spacing_mm, known=np.ones(volume.array.shape, bool)).head
    spacing = np.array(volume.spacing_mm)
    inner = np.argwhere(distance_transform_edt(head, sampling=spacing) > DEEPEST_MM)
    centre, radii = inner[rng.integers(len(inner))], rng.uniform(*RADII_MM, 3)
    position = (np.indices(head.shape).T - centre) * spacing / radii
    wobble = gaussian_filter(rng.normal(size=head.shape).astype(np.float32), WOBBLE_MM / spacing)
    distance = np.sqrt((position**2).sum(-1)).T
    return (distance < 1 + 0.25 * wobble / wobble.std()) & head


def bad_fills(
    good: np.ndarray, scan: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the names of bad fills, and the values that they put into the mask, as volumes."""
    ring = binary_dilation(mask, iterations=4) & ~mask
    mean, deviation = good[ring].mean(), good[ring].std()
    yield "zeros", np.zeros_like(good)
    yield "the mean of the surroundings", np.full_like(good, mean)
    for share in (0.5, 1.0, -1.0, 2.0):
        yield f"the fill, {share:+g} deviations", good + share * deviation
    yield "noise", rng.normal(mean, deviation, good.shape)
    yield "the fill and half of that noise", good + rng.normal(0, deviation / 2, good.shape)
    for name, offset in (("3 slices below", (0, 0, 3)), ("3 slices above", (0, 0, -3)), ("25 voxels beside", (25, 0, 0))):
        yield f"the scan {name}", np.roll(scan, offset, (0, 1, 2))
    largest = int(mask.sum((0, 1)).argmax())
    yield "one slice, +1.5 deviations", np.where(np.arange(mask.shape[2]) == largest, mean + 1.5 * deviation, good)


def measure(paths: list[Path]) -> dict[tuple[str, str], list[float]]:
    """Returns the figures of all fills by filler and kind; the kind of the good ones is empty."""
    fillers = {name: load_filler(None, *((name, None) if name == "flair" else (None, name)), "best") for name in FILLERS}
    figures: dict[tuple[str, str], list[float]] = {}
    for number, path in enumerate(paths):
        scan = scans.read_scan(path)
        for hole in range(HOLES):
            rng = np.random.default_rng((number, hole))
            mask = draw_hole(scan.volume, rng)
            fills = {name: fill_scan(filler, scan, mask).filled for name, filler in fillers.items()}
            fills["the scan itself"] = scan.volume.array
            for name, good in fills.items():
                kinds = [("", good), *(bad_fills(good, scan.volume.array, mask, rng) if name in FILLERS else ())]
                for kind, values in kinds:
                    found = plausibility(np.where(mask, values, good), mask, scan.volume.spacing_mm)
                    figures.setdefault((name, kind), []).append(found.for_json()["figure"])
        print(path.name, flush=True)
    return figures


def table(figures: dict[tuple[str, str], list[float]]) -> str:
    """Returns two tables in Markdown: the figures of good fills, and how bad ones are told from them."""
    lines = ["| fill | median | 95 % | highest |", "|---|---|---|---|"]
    for (name, kind), values in figures.items():
        if not kind:
            lines.append(f"| {name} | {np.median(values):.2f} | {np.quantile(values, 0.95):.2f} | {max(values):.2f} |")
    lines += ["", f"| bad fill | median | {' | '.join(f'AUC, {name}' for name in FILLERS)} | comes first |", "|---" * 7 + "|"]
    for kind in dict.fromkeys(kind for _, kind in figures if kind):
        pairs = [(np.array(figures[name, ""]), np.array(figures[name, kind])) for name in FILLERS]
        aucs = " | ".join(f"{(bad > good[:, None]).mean():.3f}" for good, bad in pairs)
        lines.append(f"| {kind} | {np.median(pairs[0][1]):.2f} | {aucs} | {np.mean([_first(*pair) for pair in pairs]):.0%} |")
    return "\n".join(lines) + "\n"


def _first(good: np.ndarray, bad: np.ndarray) -> float:
    """Returns how often the bad fill of one hole is above the good fills of all other holes."""
    return float(np.mean([value > np.delete(good, i).max() for i, value in enumerate(bad)]))


def main() -> None:
    runtime.set_up()
    output = outputs.file(flags.FLAGS.output)
    files.write_text(output, table(measure(list_input_files(flags.FLAGS.scans))))


def define_flags() -> None:
    flags.DEFINE_string("scans", None, "pattern or comma list of FLAIR scans")
    flags.DEFINE_string("output", None, "Markdown file to write")


if __name__ == "__main__":
    run_command(main, define_flags, required=["scans", "output"])
