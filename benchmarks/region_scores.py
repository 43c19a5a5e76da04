"""Scores of segmentations in and around holes.

Segmentations, labels and holes are bool `[n, H, W]`. *Around* a hole is the ring of known pixels within a quarter of
its side.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_dilation

RING = 0.25
"""Width of the ring as a share of the hole's side."""


def rings(holes: np.ndarray, side: int) -> np.ndarray:
    """Returns the pixels round each hole, at most a quarter of `side` away along rows, columns or both."""
    width = max(1, round(RING * side))
    square = np.ones((1, 2 * width + 1, 2 * width + 1), bool)
    return binary_dilation(holes, square) & ~holes


def wrong(found: np.ndarray, label: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Returns the share of a region's pixels whose segmentation is not the label, in %: `[n]`."""
    return _percent((found != label) & region, region)


def false_positives(found: np.ndarray, label: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Returns the share of a region's pixels without the label that are segmented, in %: `[n]`."""
    return _percent(found & ~label & region, ~label & region)


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Sums over pixels, as %; NaN where the whole is empty."""
    total = whole.sum((1, 2))
    return np.where(total, 100 * part.sum((1, 2)) / np.maximum(total, 1), math.nan)


def dice(found: np.ndarray, label: np.ndarray, region: np.ndarray, subjects: Sequence[str]) -> dict[str, float]:
    """Returns each subject's Dice coefficient over the region of all its slices together (Dice, 1945).

    NaN for a subject whose region has no pixel with the label: there only false positives say something.
    """
    overlap, labelled, segmented = ((mask & region).sum((1, 2)) for mask in (found & label, label, found))
    scores = {}
    for subject in sorted(set(subjects)):
        rows = np.array([name == subject for name in subjects])
        true = labelled[rows].sum()
        scores[subject] = float(2 * overlap[rows].sum() / (true + segmented[rows].sum())) if true else math.nan
    return scores


def of_segmentation(
    found: np.ndarray, intact: np.ndarray, label: np.ndarray, holes: np.ndarray, around: np.ndarray, subjects: Sequence[str]
) -> tuple[dict[str, dict[str, float]], dict[str, np.ndarray]]:
    """Returns {score: {subject: value}} and {error: value of each hole `[n]`}.

    For the regions `hole` and `around` the scores are `wrong_REGION`, `changed_REGION` and `false_positive_REGION`, which are
    means over a subject's holes in % of pixels, and `dice_REGION`. There are also `dice_slice` and 1 less that,
    `dice_loss_slice`. The errors are the scores in %.

    Args:
      intact: the segmentation of the intact slices, from which a segmentation has `changed`.
      around: the rings of the holes.
    """
    regions = {"hole": holes, "around": around}
    errors = {}
    for name, region in regions.items():
        errors[f"wrong_{name}"] = wrong(found, label, region)
        errors[f"changed_{name}"] = wrong(found, intact, region)
        errors[f"false_positive_{name}"] = false_positives(found, label, region)
    scores = {name: subject_means(values, subjects) for name, values in errors.items()}
    for name, region in (regions | {"slice": np.ones_like(holes)}).items():
        scores[f"dice_{name}"] = dice(found, label, region, subjects)
    scores["dice_loss_slice"] = {subject: 1 - value for subject, value in scores["dice_slice"].items()}
    return scores, errors


def subject_means(values: np.ndarray, subjects: Sequence[str]) -> dict[str, float]:
    """Returns {subject: mean of its holes' values}, without those that are NaN; NaN if all are."""
    means = {}
    for subject in sorted(set(subjects)):
        mine = values[[name == subject for name in subjects]]
        mine = mine[np.isfinite(mine)]
        means[subject] = float(mine.mean()) if len(mine) else math.nan
    return means
