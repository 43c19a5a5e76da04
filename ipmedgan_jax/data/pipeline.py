"""From prepared slices to batches: Grain over ArrayRecord for training, one fixed pass for validation and test.

A batch is a dict of NumPy arrays: `image` `[B, size, size, 1]`, float32 in [-1, 1], a slice or the window round its hole;
`hole` `[B, 4]`, int32; if holes are not complete boxes, `hole_mask` `[B, h, w]`, uint8, 1 where pixels are removed; in
training on data with masks of `holes.avoid`, `avoid` `[B, size, size]`, uint8, 1 where pixels are never a target; and, for a
generator that takes them, `noise` `[B, size, size]` and `opposite` `[B, size, size, 2]` (`symmetry.opposite`), float32.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import grain
import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import damaged_windows, records, windows
from ipmedgan_jax.data.augmentation import AugmentationSettings, augment, spot_opposite
from ipmedgan_jax.data.batches import NumpyBatch, in_groups
from ipmedgan_jax.data.damage import INTACT, DamageSettings, simulate
from ipmedgan_jax.data.hole_shapes import ShapeSettings, draw
from ipmedgan_jax.data.holes import any_hole, box_mask, context_image, evaluation_rng, random_hole
from ipmedgan_jax.data.slice_source import SliceSource
from ipmedgan_jax.data.symmetry import opposite

_MOST_SLICES = 2**62
"""Bound of the number of slices that a run has taken."""

UNKNOWN_OPPOSITE = 0.1
"""Share of the training slices whose mirrored half is not shown, as in planes in which a head has no other half."""


class Batches:
    """One process's endless training batches. Its state counts the slices of all processes, so their number may change."""

    def __init__(self, iterator: grain.DatasetIterator[NumpyBatch], processes: int):
        self._iterator, self._processes = iterator, processes

    def __iter__(self) -> Iterator[NumpyBatch]:
        return self

    def __next__(self) -> NumpyBatch:
        return next(self._iterator)

    def get_state(self) -> dict[str, int]:
        """The number of slices that all processes together have taken."""
        return {"next_index": self._iterator.get_state()["next_index"] * self._processes}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Continues from a state that `get_state` returned, with any number of processes. UserError for another content."""
        taken = state.get("next_index")
        if type(taken) is not int or not 0 <= taken < _MOST_SLICES:
            raise UserError(f"the checkpoint's place in the input is {str(dict(state))[:80]}; expected next_index, a number")
        self._iterator.set_state({"next_index": taken // self._processes})

    def close(self) -> None:
        """Stops the threads that read ahead."""
        self._iterator.close()


@dataclass(frozen=True)
class HoleSettings:
    """Size, place and shape of holes; or the damage that replaces them."""

    size: int  # pixels; side of the box
    foreground: float  # image value above which a pixel is not air, where records have no head mask
    min_foreground: float  # share of a training hole's area that must be foreground
    evaluation_min_foreground: float  # share of a validation or test hole's area that must be foreground
    evaluation_seed: int
    shapes: ShapeSettings | None = None  # of training holes; None: complete boxes, as always in validation and test
    damage: DamageSettings | None = None  # replaces holes, for a network that finds damage
    avoids: bool = False  # whether records have pixels that holes keep clear of
    window: int = 0  # pixels; side of the window round the hole that a network sees; 0: the whole slice
    noise: bool = False  # whether each slice comes with noise, for a generator that draws texture from it
    opposite: bool = False  # whether each slice comes with itself mirrored, for a generator that sees the head's other half

    @property
    def inputs(self) -> tuple[str, ...]:
        """The arrays that each slice comes with for the generator, beside its image and its hole."""
        return tuple(name for name in ("noise", "opposite") if getattr(self, name))


@dataclass(frozen=True, eq=False)
class EvaluationSlice:
    """One slice of the validation or test split, or the window round its hole, with its hole."""

    record: records.SliceRecord
    image: np.ndarray  # [H, W] float32 in [-1, 1]
    hole: np.ndarray  # in the image
    foreground: float  # share of the hole that is foreground
    noise: np.ndarray | None = None  # [H, W] float32
    opposite: np.ndarray | None = None  # [H, W, 2], of `symmetry.opposite`

    def context(self, fill: float) -> np.ndarray:
        """The image with `fill` in the hole."""
        return context_image(self.image, box_mask(self.hole, self.image.shape), fill)


@dataclass(frozen=True, eq=False)
class DamagedSlice:
    """One slice of the validation or test split with simulated damage, or without if its kind is `damage.INTACT`."""

    record: records.SliceRecord
    image: np.ndarray  # [H, W] float32 in [-1, 1]
    mask: np.ndarray  # bool [H, W]
    kind: str


def training_batches(
    directory: Path | str,
    holes: HoleSettings,
    *,
    batch_size: int,
    seed: int,
    threads: int,
    prefetch: int,
    mirror: bool = False,
    augmentation: AugmentationSettings | None = None,
    process: int = 0,
    processes: int = 1,
) -> Batches:
    """Endless shuffled batches for one process, with a new order and new holes in every epoch.

    The n-th slice and its hole depend on `seed` and n alone. Process i takes every `processes`-th slice, starting with the
    i-th. So a step's slices over all processes are the same for any number of processes, and no slice occurs twice in an
    epoch. Close the batches after use, because threads read ahead.

    Args:
      batch_size: slices per batch of this process.
      threads: number of reading threads.
      prefetch: slices that are read ahead.
      mirror: exchanges left and right in about half of the slices.
      augmentation: how the slices vary; None: they stay as they are.
      process, processes: index of this process, and the number of processes.
    """

    def example(record: records.SliceRecord, rng: np.random.Generator) -> NumpyBatch:
        image, head, avoid = record.image(), record.head, record.avoid
        if mirror and rng.random() < 0.5:
            image = image[:, ::-1].copy()
            head, avoid = (None if mask is None else mask[:, ::-1] for mask in (head, avoid))
        if augmentation is not None:
            smallest, level = holes.window or None, holes.foreground
            image, head, avoid = augment(rng, image, head, avoid, augmentation, smallest=smallest, foreground=level)
        if holes.damage is not None:
            return damaged_windows.example(rng, image, head, holes.damage, holes.window)
        if holes.min_foreground > 0 or avoid is not None:
            bright = image > holes.foreground if head is None else head
            hole, _ = random_hole(rng, bright, holes.size, holes.min_foreground, avoid)
        else:
            hole = any_hole(rng, image.shape, holes.size)
        corner = windows.random_corner(rng, hole, image.shape, holes.window) if holes.window else None
        hole_mask = None if holes.shapes is None else draw(rng, holes.shapes)
        example = _shown(image, hole, hole_mask, corner, holes, head)
        if hole_mask is not None:
            example["hole_mask"] = hole_mask.astype(np.uint8)
        if holes.avoids:
            avoid = np.zeros(image.shape, bool) if avoid is None else avoid
            example["avoid"] = windows.cut(avoid, corner, holes.window).astype(np.uint8)
        if holes.opposite:
            example["opposite"] = _varied(rng, example["opposite"], example["hole"], augmentation)
        if holes.noise:
            example["noise"] = rng.standard_normal(example["image"].shape[:2], np.float32)
        return example

    slices = slices_in_order(directory, seed).random_map(example)[process::processes]
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
    return Batches(iter(slices.to_iter_dataset(options).batch(batch_size, drop_remainder=True)), processes)


def slices_in_order(directory: Path | str, seed: int) -> grain.MapDataset[records.SliceRecord]:
    """The training slices in the endless order in which a run of this seed takes them, from its first step on."""
    return grain.MapDataset.source(SliceSource(directory, "train")).seed(seed).shuffle().repeat()


def _shown(
    image: np.ndarray,
    hole: np.ndarray,
    hole_mask: np.ndarray | None,
    corner: windows.Corner | None,
    holes: HoleSettings,
    head: np.ndarray | None,
) -> NumpyBatch:
    """Returns what a network sees of a slice with a hole: `image`, `hole` and, if asked for, `opposite`.

    Args:
      hole_mask: the shape in the hole's box; None for the complete box.
      corner: of the window to cut out; None for the whole slice.
    """
    shown: NumpyBatch = {"image": windows.cut(image, corner, holes.window)[..., None], "hole": windows.moved(hole, corner)}
    if holes.opposite:
        removed = box_mask(hole, image.shape)
        if hole_mask is not None:
            removed[removed] = hole_mask.ravel()
        shown["opposite"] = windows.cut(opposite(image, removed, holes.foreground, head), corner, holes.window)
    return shown


def _varied(
    rng: np.random.Generator, mirrored: np.ndarray, hole: np.ndarray, augmentation: AugmentationSettings | None
) -> np.ndarray:
    """Returns the mirrored half of a training slice; of some slices it is not known, of others it has a spot."""
    if rng.random() < UNKNOWN_OPPOSITE:
        return np.zeros_like(mirrored)
    if augmentation is not None and rng.random() < augmentation.lesion:
        return spot_opposite(rng, mirrored, hole)
    return mirrored


def abstract_batch(holes: HoleSettings, image_size: int, count: int) -> NumpyBatch:
    """A training batch of `count` slices that are zero, with the shapes and types of real batches."""
    batch: NumpyBatch = {
        "image": np.zeros((count, image_size, image_size, 1), np.float32),
        "hole": np.zeros((count, 4), np.int32),
    }
    if holes.shapes is not None or holes.damage is not None:
        side = image_size if holes.damage is not None else holes.size
        batch["hole_mask"] = np.zeros((count, side, side), np.uint8)
    if holes.avoids and holes.damage is None:
        batch["avoid"] = np.zeros((count, image_size, image_size), np.uint8)
    if holes.noise:
        batch["noise"] = np.zeros((count, image_size, image_size), np.float32)
    if holes.opposite:
        batch["opposite"] = np.zeros((count, image_size, image_size, 2), np.float32)
    return batch


def evaluation_slices(
    directory: Path | str, split: str, holes: HoleSettings, *, at_most: int | None = None
) -> Iterator[EvaluationSlice]:
    """Yields the split's slices in order, each with a hole that depends on its names and the seed alone.

    Slices without a place for a hole with enough foreground, clear of the pixels to avoid, are skipped. `at_most` limits the
    slices to that many, evenly spread.
    """
    source = SliceSource(directory, split)
    count = len(source)
    for index in range(count) if at_most is None else spread(count, at_most):
        record = source[index]
        image = record.image()
        rng = evaluation_rng(holes.evaluation_seed, record.subject, record.volume, record.index)
        head = image > holes.foreground if record.head is None else record.head
        hole, share = random_hole(rng, head, holes.size, holes.evaluation_min_foreground, record.avoid)
        is_clear = record.avoid is None or not record.avoid[box_mask(hole, image.shape)].any()
        if is_clear and share >= holes.evaluation_min_foreground:
            corner = windows.centred_corner(hole, image.shape, holes.window) if holes.window else None
            shown = _shown(image, hole, None, corner, holes, record.head)
            noise = rng.standard_normal(shown["image"].shape[:2], np.float32) if holes.noise else None
            yield EvaluationSlice(record, shown["image"][..., 0], shown["hole"], share, noise, shown.get("opposite"))


def damaged_slices(
    directory: Path | str, split: str, holes: HoleSettings, *, at_most: int | None = None
) -> Iterator[DamagedSlice]:
    """Yields the split's slices in order, each with damage that depends on its names and the seed alone, then without.

    `at_most` limits the slices to that many, evenly spread, with and without damage counted.
    """
    assert holes.damage is not None
    source = SliceSource(directory, split)
    for index in range(len(source)) if at_most is None else spread(len(source), -(-at_most // 2)):
        record = source[index]
        rng = evaluation_rng(holes.evaluation_seed, record.subject, record.volume, record.index)
        image, head = damaged_windows.draw(rng, record.image(), record.head, holes.damage, holes.window)
        yield DamagedSlice(record, *simulate(rng, image, head, replace(holes.damage, intact=0.0)))
        yield DamagedSlice(record, image, np.zeros(image.shape, bool), INTACT)


def spread(count: int, at_most: int) -> Sequence[int]:
    """At most `at_most` indices of `range(count)`, evenly spread and without randomness."""
    if count <= at_most:
        return range(count)
    return np.linspace(0, count - 1, at_most).round().astype(int).tolist()


def in_batches(slices: Iterator[EvaluationSlice], batch_size: int) -> Iterator[tuple[list[EvaluationSlice], NumpyBatch]]:
    """Yields the slices in groups, each with its batch; the last batch repeats its last slice to reach `batch_size`."""
    for group, padded in in_groups(slices, batch_size):
        images = np.stack([item.image for item in padded])[..., None]
        batch = {"image": images, "hole": np.stack([item.hole for item in padded])}
        for name in ("noise", "opposite"):
            if arrays := [array for item in padded if (array := getattr(item, name)) is not None]:
                batch[name] = np.stack(arrays)
        yield group, batch
