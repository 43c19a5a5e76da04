"""Pictures of a comparison's report: one PNG for each slice, with the context, each system's fill and the image side by side.

Slices whose image no run has kept have the fills alone. All runs were scored on the same slices, so the image that one run
has kept serves all of them.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ipmedgan_jax.data.holes import box_mask, context_image
from ipmedgan_jax.evaluation import figures
from ipmedgan_jax.evaluation.evaluated_runs import Run
from ipmedgan_jax.evaluation.print_figure import square_around
from ipmedgan_jax.evaluation.seed_groups import SeedGroup

FOLDER = "report"
"""Folder of the pictures, beside the page."""

A_SUBJECT, ALONE = 6, 2
"""Slices of a subject at most: with their image, and of a subject that has only fills."""

ALL = 600
"""Slices of all subjects at most, but one of each subject."""


@dataclass(frozen=True)
class SlicePicture:
    """A slice's picture: `file` relative to the page, tiles of `size` (height, width) side by side.

    `hole` is [row, column, height, width] in a tile, and `square` (row, column, side) what is enlarged. Without the slice's
    image (`is_complete` is False) the tiles are the fills alone; otherwise the context is the first and the image the last.
    """

    position: int
    file: str
    bytes: int
    size: tuple[int, int]
    hole: tuple[int, int, int, int]
    square: tuple[int, int, int]
    is_complete: bool


def runs_of(groups: Sequence[SeedGroup]) -> list[Run]:
    """Returns the runs of all groups: any of them may have kept a slice's image."""
    return [run for group in groups for run in group.runs]


def example_positions(groups: Sequence[SeedGroup], cases: int) -> list[int]:
    """Returns the positions of the slices of figure.png."""
    return [int(position) for position in groups[0].first.fills.shown[:cases]]


def subject_positions(groups: Sequence[SeedGroup]) -> dict[str, list[int]]:
    """Returns the positions of the slices that are shown of each subject, evenly spread; subjects in order of name.

    They are slices with an image where there are such, and slices with the fills alone where there are none.
    """
    with_image = {int(i) for run in runs_of(groups) for i in (*run.fills.shown, *run.fills.kept)}
    by_subject: dict[str, list[int]] = {}
    for position, score in enumerate(groups[0].first.scores):
        by_subject.setdefault(score.subject, []).append(position)
    limit = max(1, min(A_SUBJECT, ALL // len(by_subject)))
    chosen = {}
    for subject in sorted(by_subject):
        complete = [position for position in by_subject[subject] if position in with_image]
        chosen[subject] = _spread(complete, limit) if complete else _spread(by_subject[subject], min(limit, ALONE))
    return chosen


def _spread(positions: Sequence[int], at_most: int) -> list[int]:
    """Returns at most that many of the positions, evenly spread."""
    count = min(at_most, len(positions))
    return [positions[(2 * i + 1) * len(positions) // (2 * count)] for i in range(count)]


def write_pictures(groups: Sequence[SeedGroup], positions: Iterable[int], output: Path) -> dict[int, SlicePicture]:
    """Writes the pictures of these slices into the report's folder, in place of an earlier report's, and describes them."""
    folder = output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("slice-*.png"):
        path.unlink()
    return {position: _write_picture(groups, position, output) for position in sorted(set(positions))}


def _write_picture(groups: Sequence[SeedGroup], position: int, output: Path) -> SlicePicture:
    """Writes one slice's picture. Only the hole differs between its tiles, so it is little larger than one tile."""
    row, column, height, width = (int(value) for value in groups[0].first.fills.hole[position])
    image = next((found for run in runs_of(groups) if (found := run.fills.image_of(position)) is not None), None)
    fills = [group.first.fills.fill[position] for group in groups]
    if image is None:
        tiles, hole = fills, (0, 0, height, width)
    else:
        hole = (row, column, height, width)
        tiles = [context_image(image, box_mask(np.array(hole), image.shape), -1.0)]
        for fill in fills:
            inpainted = image.copy()
            inpainted[row : row + height, column : column + width] = fill
            tiles.append(inpainted)
        tiles.append(image)
    path = output / FOLDER / f"slice-{position:05d}.png"
    levels = np.concatenate([figures.grey_levels(tile) for tile in tiles], axis=1)
    Image.fromarray(levels).save(path)  # not synced to the disk one by one, as atomic files are: there are hundreds
    size = tiles[0].shape
    return SlicePicture(
        position, f"{FOLDER}/{path.name}", path.stat().st_size, size, hole, square_around(hole, size), image is not None
    )


def all_positions(examples: Sequence[int], subjects: dict[str, list[int]]) -> list[int]:
    """Returns the positions of all slices that the report shows."""
    return [*examples, *itertools.chain(*subjects.values())]
