"""Scores of fills on slices whose contents are known, alike for every system. Validation and `evaluate` use them.

Scores compare patches on 0..255 (see `metrics`): the hole's box, and the whole inpainted image.
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
class ScoredSlice:
    """One slice, its inpainted image `[H, W]`, the scores of the fill, and the seconds that filling took.

    `features` `[2, 512]` are VGG-19's conv5_1 features round the hole, means over pixels, of the fill and of the truth.
    """

    slice: EvaluationSlice
    inpainted: np.ndarray
    score: SliceScore
    seconds: float
    features: np.ndarray

    @property
    def fill(self) -> np.ndarray:
        """The inpainted image in the hole's box, `[h, w]`."""
        row, column, height, width = self.score.hole
        return self.inpainted[row : row + height, column : column + width]


def classical_inpaint(fill: Fill) -> Inpaint:
    """Returns an `Inpaint` that applies a classical fill to each slice of a batch."""

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
) -> Iterator[ScoredSlice]:
    """Fills the slices in batches and yields their scores in order; for CT `mae_hu` is one of them."""
    for group, batch in in_batches(iter(slices), batch_size):
        start = time.perf_counter()
        inpainted = inpaint(batch)
        seconds = (time.perf_counter() - start) / batch_size
        hole_scores, image_scores, deepest = jax.device_get(
            batch_scores(features.net, hole_size, features.params, inpainted, batch["image"], batch["hole"])
        )
        for i, evaluation_slice in enumerate(group):
            regions = [{name: float(values[i]) for name, values in scores.items()} for scores in (hole_scores, image_scores)]
            score = _slice_score(evaluation_slice, regions, modality)
            yield ScoredSlice(evaluation_slice, inpainted[i, ..., 0], score, seconds, deepest[i])


def _slice_score(evaluation_slice: EvaluationSlice, regions: list[dict[str, float]], modality: str) -> SliceScore:
    """Returns the scores of one slice from those of its hole and its image; for CT adds the MAE in HU, `mae_hu`."""
    record, hole = evaluation_slice.record, evaluation_slice.hole
    if modality == "ct":
        low, high = record.window
        for scores in regions:
            scores["mae_hu"] = scores["mae"] / metrics.PEAK * (high - low)
    box = (int(hole[0]), int(hole[1]), int(hole[2]), int(hole[3]))
    return SliceScore(record.subject, record.volume, record.index, box, evaluation_slice.foreground, *regions)


@partial(jax.jit, static_argnums=(0, 1))
def batch_scores(
    net: VGG19, hole_size: int, params: Tree, inpainted: jax.Array, image: jax.Array, hole: jax.Array
) -> tuple[dict[str, jax.Array], dict[str, jax.Array], jax.Array]:
    """Scores the holes and the whole images `[B, H, W, 1]` in [-1, 1].

    `vgg_distance` is taken on the window of twice the hole's side round the hole, shifted to stay inside the image, so that
    it sees how the fill meets its surroundings. The whole image has no `vgg_distance`.

    Returns:
      Scores of the holes and scores of the images, two dicts of `[B]`; VGG-19 features of fills and truths `[B, 2, 512]`.
    """
    filled, known = (grey_levels(x) for x in (inpainted, image))
    net = net.clone(dtype=jnp.float32)  # also where the run computes in bfloat16: scores of all runs must compare
    corners = hole[:, :2]
    hole_scores = metrics.scores(*(masking.crop(x, corners, hole_size)[..., 0] for x in (filled, known)))
    image_scores = metrics.scores(filled[..., 0], known[..., 0])
    maps: list[Any] = [net.apply({"params": params}, masking.crop_window(x, hole, hole_size)) for x in (inpainted, image)]
    deepest = jnp.stack([feature_maps[-1].mean((1, 2)) for feature_maps in maps], axis=1)
    return hole_scores | {"vgg_distance": vgg_distance(*maps)}, image_scores, deepest


def grey_levels(image: jax.Array) -> jax.Array:
    """[-1, 1] -> [0, 255], not rounded."""
    return (image + 1.0) * (metrics.PEAK / 2)
