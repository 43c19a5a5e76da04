"""A simple classifier of filled and true patches: ridge regression on fixed features, trained on other subjects."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter

from benchmarks.fill_scores import RandomFeatures
from ipmedgan_jax.core.errors import UserError

RING = 12
"""Pixels: width of the ring of known pixels round the hole, with which the hole is compared."""

BANDS = 8
"""Bands of spatial frequency, from 0 to half a cycle per pixel."""

Score = Callable[[np.ndarray], np.ndarray]
"""Features `[n, D]` -> scores `[n]`, above 0 for fills."""

PENALTIES = tuple(10.0**power for power in range(-1, 5))
"""Ridge penalties to choose from, per standardised feature, by leaving one training subject out in turn."""


def patch_features(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Features of holes and their surroundings: windows and masks `[n, H, W]` -> `[n, D]`.

    In the hole, and in the hole less those of the ring round it: logarithms of `RandomFeatures`, of the power in bands of
    frequency, and of the mean absolute differences of neighbouring pixels along both axes. Also the mean absolute step
    across the hole's rim.
    """
    rings = np.stack([binary_dilation(mask, iterations=RING) & ~mask for mask in masks])
    random_features = RandomFeatures()
    inside, outside = (
        np.concatenate([np.log(random_features.of(images, where) + 0.01), _texture(images, where)], axis=1)
        for where in (masks, rings)
    )
    rim = np.stack([_rim_step(image, mask) for image, mask in zip(images, masks, strict=True)])
    return np.concatenate([inside, inside - outside, rim[:, None]], axis=1)


def _texture(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Logarithms of band powers and mean absolute differences inside the masks, `[n, BANDS + 2]`."""
    frequencies = np.hypot(*np.meshgrid(*(np.fft.fftfreq(length) for length in images.shape[1:]), indexing="ij"))
    bands = np.minimum((frequencies * 2 * BANDS).astype(int), BANDS)
    features = []
    for image, mask in zip(images.astype(np.float64), masks, strict=True):
        depth = distance_transform_edt(mask)
        weights = np.minimum(depth / 4, 1.0)
        inside = mask.astype(float)
        blurred = gaussian_filter(image * inside, 3) / np.maximum(gaussian_filter(inside, 3), 1e-6)
        power = np.abs(np.fft.fft2((image - blurred) * weights)) ** 2 / np.square(weights).sum()
        sums = np.bincount(bands.ravel(), power.ravel(), BANDS + 1)[:BANDS] / np.bincount(bands.ravel())[:BANDS]
        differences = []
        for axis in (0, 1):
            pairs = np.logical_and(*_neighbours(mask, axis))
            differences.append(np.abs(np.subtract(*_neighbours(image, axis)))[pairs].mean() if pairs.any() else 0.0)
        features.append(np.log(np.append(sums, np.square(differences)) + 1e-6))
    return np.stack(features)


def _rim_step(image: np.ndarray, mask: np.ndarray) -> float:
    """Logarithm of the mean absolute difference of neighbours of which one is removed."""
    steps = []
    for axis in (0, 1):
        rim = np.logical_xor(*_neighbours(mask, axis))
        steps.append(np.abs(np.subtract(*_neighbours(image.astype(np.float64), axis)))[rim])
    return float(np.log(np.concatenate(steps).mean() + 1e-3))


def _neighbours(array: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    moved = np.moveaxis(array, axis, 0)
    return moved[1:], moved[:-1]


def accuracies(fills: np.ndarray, truths: np.ndarray, subjects: Sequence[str]) -> list[float]:
    """Returns each subject's accuracy in %, by a classifier trained on the half of the subjects without that subject.

    Args:
      fills, truths: features `[n, D]` of the same holes.
      subjects: the subject of each hole; at least four, or UserError.
    """
    names = sorted(set(subjects))
    if len(names) < 4:
        raise UserError(f"the classifier expects holes of at least four subjects, got {len(names)}")
    group = np.array([names.index(subject) for subject in subjects])
    features, labels = np.concatenate([fills, truths]), np.repeat([1.0, -1.0], len(fills))
    group = np.concatenate([group, group])
    found = {}
    for half in (0, 1):
        train, test = group % 2 == half, group % 2 != half
        scores = _train(features[train], labels[train], group[train])(features[test])
        right = np.where(scores == 0, 0.5, np.sign(scores) == labels[test])
        found |= {int(name): 100 * float(right[group[test] == name].mean()) for name in np.unique(group[test])}
    return [found[name] for name in sorted(found)]


def _train(features: np.ndarray, labels: np.ndarray, group: np.ndarray) -> Score:
    """Fits a ridge classifier whose penalty has the best accuracy on left-out subjects; returns its score of features."""
    names = np.unique(group)
    right = np.zeros(len(PENALTIES))
    for name in names if len(names) > 1 else []:
        left_out = group == name
        fits = _fit(features[~left_out], labels[~left_out])
        right += [np.sum(np.sign(fit(features[left_out])) == labels[left_out]) for fit in fits]
    best = np.flatnonzero(right == right.max())[-1]  # the largest penalty of those that do equally well
    return _fit(features, labels)[best]


def _fit(features: np.ndarray, labels: np.ndarray) -> list[Score]:
    """Returns the scores of a ridge regression on standardised features, a function for each penalty."""
    mean, deviation = features.mean(0), np.maximum(features.std(0), 1e-6)
    x = (features - mean) / deviation
    products, offset = x @ x.T, labels.mean()
    fits = []
    for penalty in PENALTIES:
        system = products + penalty * x.shape[1] / 100 * np.eye(len(x))
        weights = x.T @ cho_solve(cho_factor(system), labels - offset)
        fits.append(lambda new, weights=weights: (new - mean) / deviation @ weights + offset)
    return fits
