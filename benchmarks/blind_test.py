"""Blind test of fills: pages of true and filled patches side by side, and a classifier that tries to tell them apart.

  python -m benchmarks.blind_test fills/squares64.npz fills/lesions.npz --page=flair --output=blind

The arguments are files of `benchmarks.lesion_holes --save_fills`. For each file NAME.npz it writes

- `OUTPUT/NAME.png`: pairs of the same place, one true and one filled by the fill `--page`, left or right by lot; orange ticks
  beside a patch show where the hole's box lies. `OUTPUT/NAME_key.txt` says which side is filled;
- `OUTPUT/classifier.md`: the accuracy of `benchmarks.fill_classifier` for each fill in %, where 50 is perfect, with the 95 %
  interval over subjects. It is trained on half of the subjects and tested on the other half, both ways.
"""

from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image, ImageDraw
from scipy.ndimage import find_objects

from benchmarks import outputs
from benchmarks.fill_classifier import accuracies, patch_features
from benchmarks.fill_scores import inner_window
from benchmarks.hole_fills import FilledHoles
from ipmedgan_jax.core import runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.files import write_text
from ipmedgan_jax.evaluation import figures, reports
from ipmedgan_jax.evaluation.intervals import mean_interval

TILE, TICK = 256, 6
"""Pixels of the page: side of a patch, and length of the ticks that show the hole's box."""

ABOUT = """\
Accuracy in % of a ridge classifier that tells fills from the scans' own pixels at the same places, with the 95 %
interval over subjects; 50 is perfect. It sees random-convolution features, spectra and differences of the patch, in the hole
and round it (`benchmarks/fill_classifier.py`). It is trained on half of the subjects and tested on the other half, both ways.
"""


def main(arguments: list[str]) -> None:
    runtime.set_up()
    given = flags.FLAGS
    output = outputs.folder(given.output)
    holes = {Path(argument).stem: FilledHoles.load(Path(argument).expanduser()) for argument in arguments}
    for name, filled in holes.items():
        if given.page not in filled.fills:
            raise UserError(f"--page={given.page}: not among the fills of {name}.npz: {', '.join(filled.fills)}")
        page, key = draw_page(filled, given.page, count=given.pairs, seed=given.seed)
        page.save(output / f"{name}.png")
        write_text(output / f"{name}_key.txt", key)
    text = f"{ABOUT}\n{classify(holes)}\n"
    write_text(output / "classifier.md", text)
    print(text)


def classify(holes: dict[str, FilledHoles]) -> str:
    """Returns the Markdown table of accuracies: a row for each fill, a column for each kind of holes."""
    names = list(dict.fromkeys(name for filled in holes.values() for name in filled.fills))
    cells: dict[str, list[str]] = {name: [] for name in names}
    for filled in holes.values():
        truth = patch_features(filled.truth, filled.masks)
        for name in names:
            if name not in filled.fills:
                cells[name].append("-")
                continue
            of_subjects = accuracies(patch_features(filled.fills[name], filled.masks), truth, filled.subjects)
            estimate = {"mean": float(np.mean(of_subjects)), "ci95": mean_interval(of_subjects)}
            cells[name].append(reports.cell(estimate, 0))
    headings = [f"{kind} ({len(filled.subjects)} holes)" for kind, filled in holes.items()]
    return reports.markdown_table([["fill", *headings], *([name, *row] for name, row in cells.items())])


def draw_page(filled: FilledHoles, name: str, *, count: int, seed: int) -> tuple[Image.Image, str]:
    """Draws pairs of true and filled patches of different subjects' holes; returns the page and the text of its key."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(filled.subjects))[:count]
    gap, columns = 12, 3
    across, down = 2 * TILE + 4 * gap, TILE + 3 * gap
    page = Image.new("RGB", (columns * across + gap, -(-len(chosen) // columns) * down + gap), figures.BACKGROUND)
    draw, key = ImageDraw.Draw(page), [f"Which patch of each pair is filled by {name}:"]
    for number, i in enumerate(chosen):
        is_left = bool(rng.random() < 0.5)
        pair = [filled.fills[name][i], filled.truth[i]][:: 1 if is_left else -1]
        corner = (gap + number % columns * across, gap + number // columns * down)
        draw.text(corner, str(number + 1), figures.INK, figures.font(14))
        for side, window in enumerate(pair):
            at = (corner[0] + 2 * gap + side * (TILE + gap), corner[1] + gap)
            _draw_patch(page, window, filled.masks[i], at)
        key.append(f"{number + 1}: {'left' if is_left else 'right'} ({filled.subjects[i]}, hole {i})")
    return page, "\n".join(key) + "\n"


def _draw_patch(page: Image.Image, window: np.ndarray, mask: np.ndarray, at: tuple[int, int]) -> None:
    """Draws the square of 64 or 128 pixels round a hole, with ticks beside it where the hole's box begins and ends."""
    box = find_objects(mask.astype(np.int8))[0]
    side = 64 if max(part.stop - part.start for part in box) <= 40 else 128
    rows, columns = inner_window(mask, min(side, len(mask)))
    patch = figures.draw_tile(2 * window[rows, columns] - 1, (TILE, TILE), None)
    page.paste(patch, at)
    draw, scale = ImageDraw.Draw(page), TILE / (rows.stop - rows.start)
    for edge in (box[1].start, box[1].stop):
        x = at[0] + (edge - columns.start) * scale
        draw.line((x, at[1] - TICK, x, at[1] - 1), figures.OUTLINE)
    for edge in (box[0].start, box[0].stop):
        y = at[1] + (edge - rows.start) * scale
        draw.line((at[0] - TICK, y, at[0] - 1, y), figures.OUTLINE)


def define_flags() -> None:
    flags.DEFINE_string("page", None, "fill whose patches are drawn")
    flags.DEFINE_integer("pairs", 24, "pairs on a page", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "seed of the lot")
    flags.DEFINE_string("output", None, "folder to write to")


if __name__ == "__main__":
    run_command(main, define_flags, required=["page", "output"], arguments="a file of fills")
