"""Fills of placed holes by runs, exported models and classical fills, as windows round the holes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from benchmarks.hole_places import HealthyScan, Hole
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.imaging.grids import PLANES
from ipmedgan_jax.inpainting.model import Generator
from ipmedgan_jax.systems.classical import FILLS

Filler = Callable[[HealthyScan, Sequence[Hole]], list[np.ndarray]]
"""Fills holes of one scan, each in a slice of its own; returns the filled slices `[H, W]`, 0..1 of the scan's window."""


@dataclass(frozen=True, eq=False)
class FilledHoles:
    """Windows round `n` holes of one kind: 0..1 of the scan's intensity window, `[n, 128, 128]`.

    Attributes:
      subjects: the subject of each hole.
      masks: bool, true where pixels were removed.
      truth: the scan's own pixels.
      fills: the filled windows by the fill's name; equal to `truth` outside the masks.
    """

    subjects: list[str]
    masks: np.ndarray
    truth: np.ndarray
    fills: dict[str, np.ndarray]

    def save(self, path: Path) -> None:
        """Writes an .npz file; makes its folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fills = {f"fill {name}": windows for name, windows in self.fills.items()}
        np.savez(path, subjects=np.array(self.subjects), masks=self.masks, truth=self.truth, **fills)

    @classmethod
    def load(cls, path: Path) -> "FilledHoles":
        """Reads a file of `save`; UserError if it is none."""
        try:
            with np.load(path, allow_pickle=False) as file:
                fills = {name.removeprefix("fill "): file[name] for name in file.files if name.startswith("fill ")}
                return cls(file["subjects"].tolist(), file["masks"], file["truth"], fills)
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"{path}: expected a file of benchmarks.lesion_holes --save_fills ({error})") from error


def fill_holes(holes: Sequence[Hole], fillers: dict[str, Filler], done: Callable[[int], object]) -> FilledHoles:
    """Fills the holes, those of one scan after the other; `done` is called with the number of fills made."""
    masks, truth = (np.stack([hole.window(image) for hole, image in zip(holes, images, strict=True)]) for images in (
        [hole.mask for hole in holes], [hole.scan.slice(hole.index) for hole in holes]))  # fmt: skip
    fills: dict[str, list[np.ndarray]] = {name: [] for name in fillers}
    for scan, group in groupby(holes, key=lambda hole: hole.scan):
        of_scan = list(group)
        for name, fill in fillers.items():
            fills[name] += [hole.window(image) for hole, image in zip(of_scan, fill(scan, of_scan), strict=True)]
            done(len(of_scan))
    filled = {name: np.where(masks, np.stack(windows), truth) for name, windows in fills.items()}
    return FilledHoles([hole.scan.subject for hole in holes], masks, truth, filled)


def make_fillers(arguments: Sequence[str], classical: Sequence[str] = ()) -> dict[str, Filler]:
    """Returns the fillers by name: those of `arguments` (folders of runs or models, classical fills), then `classical`.

    A folder has its last name, or its path if two have the same. UserError if a folder or name is unknown.
    """
    lasts = [user_path(argument).name for argument in arguments]
    fillers = {}
    for argument, last in zip(arguments, lasts, strict=True):
        fillers[last if lasts.count(last) == 1 else argument] = make_filler(argument)
    return fillers | {name: make_filler(name) for name in classical if name not in fillers}


def make_filler(name: str) -> Filler:
    """Returns the filler of a run's folder, a model (as `inpaint --model`) or a classical fill. UserError if it is none."""
    if name in FILLS:
        return _make_classical(name)
    try:
        return _make_learned(load_generator(name))
    except UserError as error:
        if user_path(name).is_dir():
            raise
        raise UserError(f"{name}: expected a run's folder, a model, or one of {', '.join(FILLS)} ({error})") from error


def load_generator(name: str) -> Generator:
    """Loads the generator of a run's folder, or of a model as `inpaint --model` names it."""
    from ipmedgan_jax.inpainting import load

    is_run = (user_path(name) / "config.json").exists()
    return load.load(name, None, "best") if is_run else load.load(None, name, "best")


def _make_learned(generator: Generator) -> Filler:
    from ipmedgan_jax.inpainting.fill import inpaint_volume
    from ipmedgan_jax.inpainting.masked_volume import MaskedVolume

    def fill(scan: HealthyScan, holes: Sequence[Hole]) -> list[np.ndarray]:
        mask = np.zeros(scan.volume.array.shape, bool)
        for hole in holes:
            PLANES["axial"](mask)[hole.index] = hole.mask
        filled = inpaint_volume(generator.inpaint, MaskedVolume(generator.trained, scan.volume, mask))
        return [scan.slice(hole.index, filled) for hole in holes]

    return fill


def _make_classical(name: str) -> Filler:
    def fill(scan: HealthyScan, holes: Sequence[Hole]) -> list[np.ndarray]:
        images = [np.ascontiguousarray(2 * scan.slice(hole.index) - 1) for hole in holes]
        return [(FILLS[name](image, hole.mask) + 1) / 2 for image, hole in zip(images, holes, strict=True)]

    return fill
