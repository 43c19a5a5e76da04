"""Fills scored on slices with known contents, the same way for every system; used by validation and by `evaluate`.

Scores are of patches on 0..255 (`metrics`): over the hole's box, and over the whole inpainted image.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ipmedgan_jax.data.batches import Inpaint, NumpyBatch
from ipmedgan_jax.data.pipeline import EvaluationSlice, in_batches
from ipmedgan_jax.evaluation import metrics
from ipmedgan_jax.evaluation.reports import SliceScore
from ipmedgan_jax.networks.vgg19 import VGG19
from ipmedgan_jax.pretrained.vgg19_weights import FeatureNetwork
from ipmedgan_jax.systems import masking
from ipmedgan_jax.systems.classical import Fill
from ipmedgan_jax.systems.interface import Tree
from ipmedgan_jax.systems.losses import vgg_distance


@dataclass(frozen=True, eq=False)
class Scored:
    """One slice, its fill, and the fill's scores."""

    slice: EvaluationSlice
    inpainted: np.ndarray
    score: SliceScore
    seconds: float
    features: np.ndarray  # [2, 512]: VGG-19's conv5_1 round the hole, mean over pixels, of the fill and of the truth

    @property
    def fill(self) -> np.ndarray:
        """What the hole was filled with, `[h, w]`."""
        row, column, height, width = self.score.hole
        return self.inpainted[row : row + height, column : column + width]


def classical_inpaint(fill: Fill) -> Inpaint:
    """A classical fill, slice by slice, as an `Inpaint`."""

    def inpaint(batch: NumpyBatch) -> np.ndarray:
        _, height, width, _ = batch["image"].shape
        hole_masks = np.asarray(masking.hole_masks(jnp.asarray(batch["hole"]), height, width)) > 0
        filled = [fill(image[..., 0], mask[..., 0]) for image, mask in zip(batch["image"], hole_masks, strict=True)]
        return np.stack(filled)[..., None]

    return inpaint


def score_slices(
    inpaint: Inpaint,
    slices: Iterable[EvaluationSlice],
    features: FeatureNetwork,
    *,
    hole_size: int,
    modality: str,
    batch_size: int,
) -> Iterator[Scored]:
    """Fills and scores the slices, in their order. `mae_hu` is added for CT."""
    for group, batch in in_batches(iter(slices), batch_size):
        start = time.perf_counter()
        inpainted = inpaint(batch)
        seconds = (time.perf_counter() - start) / batch_size
        hole, image, deepest = jax.device_get(
            batch_scores(features.net, hole_size, features.params, inpainted, batch["image"], batch["hole"])
        )
        for i, each in enumerate(group):
            regions = [{name: float(values[i]) for name, values in region.items()} for region in (hole, image)]
            if modality == "ct":
                low, high = each.record.window
                for region in regions:
                    region["mae_hu"] = region["mae"] / metrics.PEAK * (high - low)
            record = each.record
            box = (int(each.hole[0]), int(each.hole[1]), int(each.hole[2]), int(each.hole[3]))
            score = SliceScore(record.subject, record.volume, record.index, box, each.foreground, *regions)
            yield Scored(each, inpainted[i, ..., 0], score, seconds, deepest[i])


@partial(jax.jit, static_argnums=(0, 1))
def batch_scores(
    net: VGG19, hole_size: int, params: Tree, inpainted: jax.Array, image: jax.Array, hole: jax.Array
) -> tuple[dict[str, jax.Array], dict[str, jax.Array], jax.Array]:
    """Scores of the holes and of the whole images `[B, H, W, 1]` in [-1, 1]: two dicts of `[B]`; and features `[B, 2, 512]`.

    `vgg_distance` of the hole is that of the window of twice its side round it (shifted to stay inside the image), so
    that it sees how the fill meets its surroundings; the distance of the whole image is not taken.
    """
    filled, known = (grey_levels(x) for x in (inpainted, image))
    net = net.clone(dtype=jnp.float32)  # whatever type the run computes in: scores must compare
    corners = hole[:, :2]
    of_hole = metrics.scores(*(masking.crop(x, corners, hole_size)[..., 0] for x in (filled, known)))
    of_image = metrics.scores(filled[..., 0], known[..., 0])
    maps: list[Any] = [net.apply({"params": params}, masking.crop_window(x, hole, hole_size)) for x in (inpainted, image)]
    deepest = jnp.stack([each[-1].mean((1, 2)) for each in maps], axis=1)
    return of_hole | {"vgg_distance": vgg_distance(*maps)}, of_image, deepest


def grey_levels(image: jax.Array) -> jax.Array:
    """[-1, 1] -> [0, 255], not rounded."""
    return (image + 1.0) * (metrics.PEAK / 2)
