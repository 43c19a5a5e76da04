"""A system's fills, saved beside its scores as `fills.npz`, for figures and for other people's metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ipmedgan_jax.core import archives, files
from ipmedgan_jax.core.errors import UserError, reason
from ipmedgan_jax.evaluation.reports import SliceScore

FILE = "fills.npz"

_FORMS = {
    **dict.fromkeys(("subject", "volume"), (1, "U")),
    **dict.fromkeys(("index", "shown"), (1, "iu")),
    "hole": (2, "iu"),
    **dict.fromkeys(("fill", "image"), (3, "f")),
    "kept": (1, "iu"),
    "kept_grey": (3, "u"),
}
"""Axes of each array, and the kinds of its type."""

_OF_EACH_SLICE = ("subject", "volume", "index", "hole", "fill")

OPTIONAL = ("kept", "kept_grey")
"""Arrays that files of version 0.1.0 and before lack."""

KEEP_EVERY = 8
"""One slice in so many keeps its image, as grey levels, for the report of a comparison."""


@dataclass(frozen=True, eq=False)
class Fills:
    """The fills of N scored slices, and the images of n of them.

    `subject`, `volume` and `index` `[N]` name the slices; `hole` is `[N, 4]`, `fill` `[N, h, w]` in [-1, 1]. `shown` `[n]`
    are the positions of the examples, with their images `[n, H, W]`. `kept` `[m]` are the positions of further slices, whose
    images are kept as grey levels `kept_grey` `[m, H, W]`, 0..255; both are empty in files of version 0.1.0 and before.
    """

    subject: np.ndarray
    volume: np.ndarray
    index: np.ndarray
    hole: np.ndarray
    fill: np.ndarray
    shown: np.ndarray
    image: np.ndarray
    kept: np.ndarray
    kept_grey: np.ndarray

    def __post_init__(self) -> None:
        """Raises ValueError for arrays that do not belong together, or are of other kinds."""
        for name, (rank, kinds) in _FORMS.items():
            if (array := getattr(self, name)).ndim != rank or array.dtype.kind not in kinds:
                raise ValueError(f"{name}: expected {rank} axes, found {array.ndim} of {array.dtype}")
        lengths = {len(array) for array in (self.subject, self.volume, self.index, self.hole, self.fill)}
        if len(lengths) != 1:
            raise ValueError("arrays of different lengths")
        for positions, images in ((self.shown, self.image), (self.kept, self.kept_grey)):
            if len(positions) != len(images) or any((positions < 0) | (positions >= len(self.fill))):
                raise ValueError("arrays of different lengths")
        if self.hole.shape[1:] != (4,) or any((hole[2], hole[3]) != self.fill.shape[1:] for hole in self.hole):
            raise ValueError("holes and fills of different sizes")
        for images in (self.image, self.kept_grey):
            ends = self.hole[:, :2] + self.hole[:, 2:]
            if len(images) and (self.hole.min() < 0 or np.any(ends > images.shape[1:])):
                raise ValueError("holes outside the images")

    def image_of(self, position: int) -> np.ndarray | None:
        """Returns the image `[H, W]` of the slice at `position`, in [-1, 1]; None if it was not kept."""
        if (found := np.flatnonzero(self.shown == position)).size:
            return self.image[found[0]]
        if (found := np.flatnonzero(self.kept == position)).size:
            return self.kept_grey[found[0]].astype(np.float32) / 127.5 - 1
        return None

    def inpainted(self, example: int, fill: np.ndarray | None = None) -> np.ndarray:
        """Returns the inpainted image `[H, W]` of the kept image number `example`, with this system's fill or another's."""
        position = self.shown[example]
        row, column, height, width = self.hole[position]
        inpainted = self.image[example].copy()
        inpainted[row : row + height, column : column + width] = self.fill[position] if fill is None else fill
        return inpainted


def joined(parts: Sequence[Fills]) -> Fills:
    """Returns the fills of several files of one kind as those of one, in order. Of the examples, the first of each lead."""
    starts = np.cumsum([0, *(len(part.fill) for part in parts[:-1])])
    ranks = np.concatenate([np.arange(len(part.shown)) for part in parts])
    order = np.argsort(ranks, kind="stable")
    grey = [part.kept_grey for part in parts if len(part.kept)] or [parts[0].kept_grey]
    return Fills(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _OF_EACH_SLICE},
        shown=np.concatenate([start + part.shown for start, part in zip(starts, parts, strict=True)])[order],
        image=np.concatenate([part.image for part in parts])[order],
        kept=np.concatenate([start + part.kept for start, part in zip(starts, parts, strict=True)]),
        kept_grey=np.concatenate(grey),
    )


class Writer:
    """Collects the fills of slices and writes them to a file."""

    def __init__(self) -> None:
        self._scores: list[SliceScore] = []
        self._fills: list[np.ndarray] = []
        self._shown: list[int] = []
        self._images: list[np.ndarray] = []
        self._kept: list[int] = []
        self._grey: list[np.ndarray] = []

    def add(
        self, score: SliceScore, fill: np.ndarray, *, image: np.ndarray | None = None, grey: np.ndarray | None = None
    ) -> None:
        """Adds a slice's fill `[h, w]`, with its image `[H, W]` if it is an example, or its grey levels if they are kept."""
        if image is not None:
            self._shown.append(len(self._scores))
            self._images.append(image.astype(np.float32))
        elif grey is not None:
            self._kept.append(len(self._scores))
            self._grey.append(grey)
        self._scores.append(score)
        self._fills.append(fill.astype(np.float32))

    def write(self, path: Path) -> None:
        """Writes the file atomically."""
        with files.atomic_file(path) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(
                file,
                subject=np.array([score.subject for score in self._scores]),
                volume=np.array([score.volume for score in self._scores]),
                index=np.array([score.index for score in self._scores]),
                hole=np.array([score.hole for score in self._scores]),
                fill=np.stack(self._fills),
                shown=np.array(self._shown, int),
                image=np.stack(self._images),
                kept=np.array(self._kept, int),
                kept_grey=np.array(self._grey, np.uint8).reshape(-1, *self._images[0].shape),
            )


_EMPTY = {"kept": np.zeros(0, int), "kept_grey": np.zeros((0, 0, 0), np.uint8)}


def read(path: Path) -> Fills:
    """Reads `fills.npz`. Raises UserError if it is missing or damaged."""
    try:
        with archives.Arrays(path) as arrays:
            arrays.check_memory()
            found = {
                name: arrays[name] for name in Fills.__dataclass_fields__ if name not in OPTIONAL or name in arrays.shapes
            }
            return Fills(**_EMPTY | found)
    except FileNotFoundError as error:
        raise UserError(f"{path}: not found; evaluate the run again") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({reason(error)}); evaluate the run again") from error
