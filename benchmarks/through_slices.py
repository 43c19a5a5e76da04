"""Fills a hole through many slices; measures jumps between neighbouring slices, and deviation against error.

  python -m benchmarks.through_slices runs/any --scans='DIR/**/*_FLAIR.nii.gz' --output=results/through_slices.md

The hole of each scan is a column: an ellipse at one place in the head, through all slices in which it is inside. It is filled
slice by slice, and as the mean of three planes.

Jumps are the mean absolute differences between neighbouring slices inside the column, in 0..255 of the intensity window, of
the fill and of the scan itself. Deviation is that of `inpaint --samples`. Each voxel's deviation is compared with its
absolute error by Spearman's rank correlation. The table has means over scans with 95 % intervals over subjects.
"""

from pathlib import Path

import numpy as np
from absl import flags

from ipmedgan_jax.core import runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError

THREE = ("axial", "coronal", "sagittal")


def main(folders: list[str]) -> None:
    runtime.set_up()
    from scipy.stats import spearmanr
    from tqdm import tqdm

    from benchmarks import outputs
    from ipmedgan_jax.data.subjects import subject_of
    from ipmedgan_jax.evaluation import reports
    from ipmedgan_jax.evaluation.intervals import mean_interval
    from ipmedgan_jax.imaging import scans
    from ipmedgan_jax.imaging.input_files import list_input_files
    from ipmedgan_jax.inpainting import load_run
    from ipmedgan_jax.inpainting.fill import deviation, inpaint_volume
    from ipmedgan_jax.inpainting.masked_volume import MaskedVolume

    given = flags.FLAGS
    if len(folders) != 1:
        raise UserError(f"expected one run, found {len(folders)}")
    output = outputs.file(given.output)
    run = load_run.load(Path(folders[0]).expanduser(), "best")
    settings = run.trained.preparation
    measured: dict[str, dict[str, list[float]]] = {}
    for path in tqdm(list_input_files(given.scans), unit="scan", disable=None):
        subject = subject_of(path)
        if given.subjects and subject not in given.subjects:
            continue
        volume = scans.read_volume(path)
        hole = _make_column(volume, settings.foreground_level)
        if hole is None:
            continue
        axial_planes, all_planes = (MaskedVolume(run.trained, volume, hole, planes) for planes in (THREE[:1], THREE))
        low, high = axial_planes.window
        grey = 255 / (high - low)
        axial, three = (inpaint_volume(run.inpaint, masked) for masked in (axial_planes, all_planes))
        spread = deviation(run.inpaint, axial_planes, samples=given.samples)
        truth = np.clip(volume.array, low, high)
        row = {
            "scan's own jumps": _mean_jump(truth, hole) * grey,
            "jumps, slice by slice": _mean_jump(axial, hole) * grey,
            "jumps, three planes": _mean_jump(three, hole) * grey,
            "MAE, slice by slice": float(np.abs(axial - truth)[hole].mean()) * grey,
            "MAE, three planes": float(np.abs(three - truth)[hole].mean()) * grey,
            "deviation": float(spread[hole].mean()) * grey,
            "rank correlation of deviation and error": float(spearmanr(spread[hole], np.abs(axial - truth)[hole]).statistic),
        }
        for name, value in row.items():
            measured.setdefault(name, {}).setdefault(subject, []).append(value)
    if not measured:
        raise UserError("no scan has room for the column")
    rows = [["measure", "mean", "95 % interval"]]
    for name, by_subject in measured.items():
        values = [float(np.mean(scan_values)) for scan_values in by_subject.values()]
        ends = mean_interval(values)
        rows.append([name, f"{np.mean(values):.3g}", f"{ends[0]:.3g} to {ends[1]:.3g}" if ends else ""])
    subjects = len(next(iter(measured.values())))
    text = f"{run.name}, step {run.step}; {subjects} subjects, {given.samples} samples.\n\n{reports.markdown_table(rows)}\n"
    output.write_text(text)
    print(text)


def _make_column(volume, foreground_level: float) -> np.ndarray | None:
    """Makes an ellipse of 24 x 18 mm beside the head's centre in slices where it is 95 % head; None for fewer than 4."""
    bright = np.percentile(volume.array, 99)
    head = volume.array > volume.array.min() + 2 * foreground_level * (bright - volume.array.min())
    middle = np.argwhere(head).mean(0)
    x, y = np.meshgrid(*(np.arange(length) for length in volume.array.shape[:2]), indexing="ij")
    across = (x - middle[0]) * volume.spacing_mm[0] - 25
    along = (y - middle[1]) * volume.spacing_mm[1]
    ellipse = (across / 12) ** 2 + (along / 9) ** 2 <= 1
    which = head[ellipse].mean(0) >= 0.95
    if which.sum() < 4:
        return None
    return ellipse[:, :, None] & which[None, None]


def _mean_jump(array: np.ndarray, hole: np.ndarray) -> float:
    both = hole[:, :, 1:] & hole[:, :, :-1]
    return float(np.abs(np.diff(array, axis=2))[both].mean())


def define_flags() -> None:
    flags.DEFINE_string("scans", None, "pattern of NIfTI scans")
    flags.DEFINE_list("subjects", [], "subjects to use, by default all; none of them may be from the run's training data")
    flags.DEFINE_integer("samples", 6, "number of varied fills", lower_bound=2)
    flags.DEFINE_string("output", None, "Markdown file to write")


if __name__ == "__main__":
    run_command(main, define_flags, required=["scans", "output"], arguments="a run")
