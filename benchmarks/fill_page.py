"""A page of fills drawn by lot, before and after, with the hole enlarged: PNG files and the Markdown page that shows them.

  python -m benchmarks.fill_page models/flair --scans='DIR/**/*_FLAIR.nii.gz' --masks='LGG/**/*_mask.nii.gz' \
      --output=docs/fills.md --credit='Scans: Lesjak et al., Neuroinformatics 2016, CC BY.'

The argument is a run, an exported model or a classical fill. All fills that are drawn are shown, good or bad. Holes are those
of `benchmarks.lesion_holes`, a third of each kind; without --masks, squares alone. They lie in axial slices at most
`--below_vertex_mm` below the top of the head, which are above the orbits, so that no face is shown. A scan whose top slices
are not those of a vertex is left out. docs/fills.md gets fills_1.png, fills_2.png, ... beside it. Look at
every picture before you publish it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image, ImageDraw
from scipy.ndimage import find_objects

from benchmarks import hole_fills, hole_places, outputs
from benchmarks.hole_places import HealthyScan, Hole
from ipmedgan_jax.core import runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.files import write_text
from ipmedgan_jax.data.holes import evaluation_rng
from ipmedgan_jax.evaluation import figures
from ipmedgan_jax.imaging import geometry
from ipmedgan_jax.imaging.grids import PLANES
from ipmedgan_jax.imaging.input_files import list_input_files

TILE, GAP, ROWS = 240, 8, 6
"""Pixels of a tile and of a gap; rows of a PNG."""

TITLES = ("before", "after", "hole, before", "hole, after")

SIDES = (48, 60, 80, 96, 120)
"""Pixels: sides of the enlarged squares, which divide that of a tile."""

VERTEX_SHARE, SMALLEST_SHARE = 0.6, 0.5
"""Area of the head as a share of its largest slice's: at most in the highest slice, if the scan reaches the vertex, and at
least in a slice that is shown.
"""


def main(arguments: list[str]) -> None:
    runtime.set_up()
    given = flags.FLAGS
    if len(arguments) != 1:
        raise UserError(f"expected one run, model or classical fill, got {len(arguments)}")
    output = outputs.file(given.output)
    mask_paths = list_input_files(given.masks) if given.masks else []
    healthy = hole_places.read_scans(list_input_files(given.scans), mask_paths, given.subjects, "mri")
    holes = choose_holes(healthy, hole_places.read_outlines(mask_paths), given.count, given.below_vertex_mm, given.seed)
    filler = hole_fills.make_filler(arguments[0])
    rows = [draw_row(hole, filler(hole.scan, [hole])[0]) for hole in holes]
    names = []
    for start in range(0, len(rows), ROWS):
        names.append(f"{output.stem}_{start // ROWS + 1}.png")
        stack_rows(rows[start : start + ROWS]).save(output.with_name(names[-1]), optimize=True)
    write_text(output, _page_text(given.title or Path(arguments[0]).name, given.credit, holes, names))


def above_orbits(scan: HealthyScan, below_vertex_mm: float) -> set[int]:
    """Returns the axial slices at most this far below the head's top that are not too small; none without its top."""
    areas = PLANES["axial"](scan.foreground.head).sum((1, 2))
    highest = int(np.flatnonzero(areas)[-1])
    if areas[highest] > VERTEX_SHARE * areas.max():
        return set()
    slices = int(below_vertex_mm / scan.volume.spacing_mm[2])
    large = np.flatnonzero(areas >= SMALLEST_SHARE * areas.max())
    return {int(index) for index in large if index >= highest - slices}


def choose_holes(
    healthy: Sequence[HealthyScan], outlines: hole_places.Outlines, count: int, below_vertex_mm: float, seed: int
) -> list[Hole]:
    """Draws holes by lot, equally many of each kind and spread over subjects. UserError if there are fewer than `count`."""
    kinds = [kind for kind in hole_places.KINDS if outlines or kind != "lesions"]
    allowed = {scan.name: above_orbits(scan, below_vertex_mm) for scan in healthy}
    chosen: list[Hole] = []
    for number, kind in enumerate(kinds):
        every = hole_places.place_holes(healthy, kind, outlines, at_most=10**6, seed=seed)
        every = [hole for hole in every if hole.index in allowed[hole.scan.name]]
        evaluation_rng(seed, "page", kind, 0).shuffle(every)  # type: ignore[arg-type]
        share = (count - len(chosen)) // (len(kinds) - number)
        chosen += _in_turns(every)[:share]
    if len(chosen) < count:
        raise UserError(f"--count={count}: only {len(chosen)} holes lie above the orbits; name more scans")
    return chosen


def _in_turns(holes: Sequence[Hole]) -> list[Hole]:
    """Orders holes so that each subject has one before any has a second."""
    turns: dict[str, int] = {}
    numbered = []
    for hole in holes:
        turns[hole.scan.subject] = turns.get(hole.scan.subject, 0) + 1
        numbered.append((turns[hole.scan.subject], len(numbered), hole))
    return [hole for _, _, hole in sorted(numbered, key=lambda item: item[:2])]


def draw_row(hole: Hole, filled: np.ndarray) -> Image.Image:
    """Draws the slice before and after, and the square round the hole before and after, enlarged."""
    before = hole.scan.slice(hole.index)
    images = (before, np.where(hole.mask, filled, before), hole.mask)
    corner, side = _head_square(hole.scan)
    slices = [geometry.crop_or_pad(image[None], side, corner, 0)[0] for image in images]
    closest = next((side for side in SIDES if side >= 1.4 * max(hole.shape.shape)), SIDES[-1])
    closer = [hole.window(image, closest) for image in images]
    row = Image.new("RGB", (4 * (TILE + GAP) - GAP, TILE), figures.BACKGROUND)
    for i, (image, mask) in enumerate([(pair[k], pair[2]) for pair in (slices, closer) for k in (0, 1)]):
        rows, columns = find_objects(mask.astype(np.int8))[0]
        box = (rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start) if i % 2 == 0 else None
        row.paste(figures.draw_tile(2 * image - 1, (TILE, TILE), box), (i * (TILE + GAP), 0))
    return row


def _head_square(scan: HealthyScan) -> tuple[tuple[int, int], int]:
    """The corner and side of the square of the axial slices that holds the head in all of them."""
    rows, columns = find_objects(PLANES["axial"](scan.foreground.head).any(0).astype(np.int8))[0]
    side = max(rows.stop - rows.start, columns.stop - columns.start) + 8
    return ((rows.start + rows.stop - side) // 2, (columns.start + columns.stop - side) // 2), side


def stack_rows(rows: Sequence[Image.Image]) -> Image.Image:
    """Puts rows below each other, with the titles of the columns above."""
    top = 28
    page = Image.new("RGB", (rows[0].width, top + len(rows) * (TILE + GAP) - GAP), figures.BACKGROUND)
    draw = ImageDraw.Draw(page)
    for column, title in enumerate(TITLES):
        draw.text((column * (TILE + GAP) + TILE / 2, top - 9), title, figures.INK, figures.font(15), anchor="ms")
    for i, row in enumerate(rows):
        page.paste(row, (0, top + i * (TILE + GAP)))
    return page


def _page_text(title: str, credit: str, holes: Sequence[Hole], names: Sequence[str]) -> str:
    lines = [
        f"# {len(holes)} fills by {title}",
        "",
        "Drawn by lot and shown good or bad (`benchmarks/fill_page.py`): holes with the outlines of other patients' lesions,",
        "and squares of 64 and 32 pixels, on the scans' own grid. Boxes in the pictures before filling show where they are.",
        "What is filled in is invented.",
        *(["", credit] if credit else []),
    ]
    for number, name in enumerate(names):
        group = holes[number * ROWS : (number + 1) * ROWS]
        rows = [f"{hole.scan.name.split('.')[0]}, slice {hole.index}, {hole.shape.sum()} pixels" for hole in group]
        lines += ["", f"![fills {number * ROWS + 1} to {number * ROWS + len(group)}]({name})", "", "; ".join(rows) + "."]
    return "\n".join(lines) + "\n"


def define_flags() -> None:
    flags.DEFINE_string("scans", None, "NIfTI scans: a pattern, folder or list")
    flags.DEFINE_string("masks", None, "masks of lesions: the outlines to draw from, and where the scans' own lesions are")
    flags.DEFINE_list("subjects", [], "subjects to use, by default all; none of them may be from the run's training data")
    flags.DEFINE_integer("count", 24, "number of fills", lower_bound=1)
    flags.DEFINE_float("below_vertex_mm", 50.0, "lowest slice, below the top of the head")
    flags.DEFINE_integer("seed", 0, "seed of the lot")
    flags.DEFINE_string("title", "", "what filled the holes, by default the name of the folder")
    flags.DEFINE_string("credit", "", "source and licence of the scans")
    flags.DEFINE_string("output", None, "Markdown file to write")


if __name__ == "__main__":
    run_command(main, define_flags, required=["scans", "output"], arguments="a run, a model or a classical fill")
