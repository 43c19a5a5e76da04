"""Scores of filled holes from windows round them: how near a fill is to the truth, and how much it looks like tissue.

Windows are `[n, 128, 128]`, 0..1 of the scan's intensity window; masks are bool, true in the hole. Per hole:

- `psnr` (dB) and `mae` (0..255) over the hole's pixels; `ssim`, the mean of the SSIM map over them;
- `vgg_distance` of the window of 128 pixels round the hole, of 64 for square holes of 32 pixels (`losses.vgg_distance`);
- `detail`: mean absolute vertical difference of neighbouring pixels of the hole, 0..255, and `detail_of_truth`. A subject's
  *sharpness* is the ratio of their sums over its holes;
- `lattice_P` for P in 2, 4 and 8, and `lattice_P_of_truth`: see `lattice_ratios`. A subject's *lattice* is the largest of the
  three means over its holes, in dB;
- the means of VGG-19's conv5_1 over the window, whose kernel distance (`metrics.kernel_inception_distance`) is *KID*, and
  `RandomFeatures` of the hole, whose `frechet_distance` is *referee*.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy.ndimage import distance_transform_edt, find_objects, gaussian_filter

from ipmedgan_jax.data.batches import in_groups
from ipmedgan_jax.evaluation import metrics
from ipmedgan_jax.networks.vgg19 import VGG19
from ipmedgan_jax.pretrained.vgg19_weights import Vgg19Weights
from ipmedgan_jax.systems.losses import vgg_distance

BATCH = 8
"""Windows that go through VGG-19 at once."""

RANDOM_CHANNELS = (32, 64, 128)
"""Channels of the layers of `RandomFeatures`."""

PERIODS = (2, 4, 8)
"""Pixels: periods of a lattice, the strides of a network's layers."""

SPECTRUM, TAPER, SMOOTH, LATTICE_PIXELS = 128, 6, 2.0, 400
"""Pixels of the spectrum, width of the hole's tapered rim, deviation of the high-pass filter, smallest area of a hole."""

FLAT = 1e-9
"""Power of a flat hole's spectrum; a grey level of noise has a million times as much."""


def pixel_scores(fills: np.ndarray, truth: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
    """Computes the scores that need no features, each `[n]`; those of the lattice are NaN for small holes."""
    counts = masks.sum((1, 2))
    errors = np.where(masks, 255 * (fills - truth), 0)
    similarity = _ssim_maps(fills, truth)
    scores = {
        "psnr": np.asarray(metrics.psnr_of_mse(np.square(errors).sum((1, 2)) / counts)),
        "mae": np.abs(errors).sum((1, 2)) / counts,
        "ssim": np.where(masks, similarity, 0).sum((1, 2)) / counts,
    }
    for suffix, images in (("", fills), ("_of_truth", truth)):
        scores["detail" + suffix] = detail(images, masks)
        ratios = np.stack([lattice_ratios(image, mask) for image, mask in zip(images, masks, strict=True)])
        scores |= {f"lattice_{period}{suffix}": ratios[:, i] for i, period in enumerate(PERIODS)}
    return scores


def _ssim_maps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """SSIM round every pixel, `[n, H, W]`; the windows are reflected at their borders."""
    radius = metrics.SSIM_RADIUS
    border = ((0, 0), (radius, radius), (radius, radius))
    padded = [np.pad(255 * images.astype(np.float32), border, mode="reflect") for images in (a, b)]
    return np.asarray(jax.jit(metrics.ssim_map, static_argnums=2)(*padded, 255.0))


def detail(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Mean absolute vertical difference of neighbouring pixels in the hole, on 0..255: `[n]`."""
    pairs = masks[:, 1:] & masks[:, :-1]
    differences = np.where(pairs, np.abs(np.diff(255 * images, axis=1)), 0)
    return differences.sum((1, 2)) / np.maximum(pairs.sum((1, 2)), 1)


def lattice_ratios(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """How much a hole's content repeats with the periods 2, 4 and 8: power over that of neighbouring frequencies, `[3]`.

    The content, less its own Gaussian blur and tapered to 0 at the hole's rim, has power P(u, v) at u, v cycles per 128
    pixels. A lattice of period p has peaks at the multiples of 128/p in u and v. The ratio is the mean, over the peaks that
    no smaller period has, of P divided by that of the neighbours, the eight points 8 away along u, v or both: their
    geometric mean, which follows a spectrum that falls as a power of frequency, times exp(0.577), the ratio of the mean of a
    random field's power to its geometric mean. So it is near 1 for content without a lattice, and 1 for a flat hole. NaN for
    a hole of fewer than 400 pixels, which cannot tell such frequencies apart.
    """
    if mask.sum() < LATTICE_PIXELS:
        return np.full(len(PERIODS), np.nan)
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    weights = np.sin(np.pi / 2 * np.minimum(depth / TAPER, 1)) ** 2
    inside = mask.astype(np.float64)
    blurred = gaussian_filter(image * inside, SMOOTH) / np.maximum(gaussian_filter(inside, SMOOTH), 1e-6)
    residual = np.where(mask, image - blurred, 0)
    residual -= (residual * weights).sum() / weights.sum()
    power = np.abs(np.fft.fft2(residual * weights, (SPECTRUM, SPECTRUM))) ** 2 + FLAT
    ratio = power / np.exp(_mean_of_neighbours(np.log(power)) + np.euler_gamma)
    return np.array([float(np.mean(ratio[peaks])) for peaks in _peaks()]) if power.max() > 2 * FLAT else np.ones(len(PERIODS))


def _mean_of_neighbours(log_power: np.ndarray) -> np.ndarray:
    step = SPECTRUM // PERIODS[-1] // 2
    shifts = [(u, v) for u in (-step, 0, step) for v in (-step, 0, step) if (u, v) != (0, 0)]
    return sum(np.roll(log_power, shift, (0, 1)) for shift in shifts) / len(shifts)  # type: ignore[return-value]


def _peaks() -> list[np.ndarray]:
    """The frequencies of each period, bool `[128, 128]`, without those of smaller periods."""
    found, taken = [], np.zeros((SPECTRUM, SPECTRUM), bool)
    taken[0, 0] = True
    for period in PERIODS:
        peaks = np.zeros_like(taken)
        peaks[:: SPECTRUM // period, :: SPECTRUM // period] = True
        found.append(peaks & ~taken)
        taken |= peaks
    return found


@dataclass(frozen=True, eq=False)
class VggScores:
    """VGG-19 in float32: distances and conv5_1 features of windows."""

    weights: Vgg19Weights

    def score(self, fills: dict[str, np.ndarray], truth: np.ndarray, masks: np.ndarray, side: int) -> dict[str, Any]:
        """Returns {name of the fill: (distances `[n]`, conv5_1 features `[n, 2, 512]` of fills and truths)}.

        `side` is that of the windows that are compared, cut out round the holes.
        """
        params = jax.tree.map(jnp.asarray, self.weights.params)
        parts: dict[str, list[Any]] = {name: [] for name in fills}
        for group, padded in in_groups(range(len(truth)), BATCH):
            boxes = [inner_window(masks[i], side) for i in padded]
            known, *filled = (
                jnp.stack([2 * images[i][box] - 1 for i, box in zip(padded, boxes, strict=True)])[..., None]
                for images in (truth, *fills.values())
            )
            maps = _features(self.weights.preprocessing, params, known)
            for name, images in zip(fills, filled, strict=True):
                distances, features = _compare(self.weights.preprocessing, params, images, maps)
                parts[name].append((distances[: len(group)], features[: len(group)]))
        return {name: tuple(np.concatenate(values) for values in zip(*found, strict=True)) for name, found in parts.items()}


@partial(jax.jit, static_argnums=0)
def _features(preprocessing: str, params: Any, images: jax.Array) -> tuple[jax.Array, ...]:
    return VGG19(preprocessing).apply({"params": params}, images.astype(jnp.float32))  # type: ignore[return-value]


@partial(jax.jit, static_argnums=0)
def _compare(preprocessing: str, params: Any, images: jax.Array, known: Any) -> tuple[jax.Array, jax.Array]:
    maps = _features(preprocessing, params, images)
    return vgg_distance(maps, known), jnp.stack([found[-1].mean((1, 2)) for found in (maps, known)], axis=1)


def inner_window(mask: np.ndarray, side: int) -> tuple[slice, slice]:
    """The square of `side` pixels round the hole, moved to stay inside its window."""
    box = find_objects(mask.astype(np.int8))[0]
    starts = [
        int(np.clip((part.start + part.stop) // 2 - side // 2, 0, length - side))
        for part, length in zip(box, mask.shape, strict=True)
    ]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


@dataclass(frozen=True)
class RandomFeatures:
    """Features of no loss: three 3x3 convolutions with random normal kernels from a fixed seed.

    Kernels have mean 0 over each input channel's nine taps in the first layer, so that brightness alone gives nothing. After
    each ReLU the map's mean over the hole is taken, then 2x2 pixels are averaged.
    """

    seed: int = 0

    def of(self, images: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Features of the holes: `[n, H, W]` and bool masks `[n, H, W]` -> `[n, 224]`."""
        rng = np.random.default_rng(self.seed)
        kernels = []
        for channels, width in zip((1, *RANDOM_CHANNELS), RANDOM_CHANNELS, strict=False):
            kernel = rng.standard_normal((3, 3, channels, width), np.float32) * np.float32(np.sqrt(2 / (9 * channels)))
            kernels.append(kernel - kernel.mean((0, 1)) if channels == 1 else kernel)
        found = [
            _random_features(kernels, jnp.asarray(images[i : i + BATCH]), jnp.asarray(masks[i : i + BATCH]))
            for i in range(0, len(images), BATCH)
        ]
        return np.concatenate(found)


@jax.jit
def _random_features(kernels: list[jax.Array], images: jax.Array, masks: jax.Array) -> jax.Array:
    x, weights, means = images.astype(jnp.float32)[..., None], masks.astype(jnp.float32)[..., None], []
    for kernel in kernels:
        x = jax.nn.relu(lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))
        means.append((x * weights).sum((1, 2)) / weights.sum((1, 2)))
        x, weights = (_average_2x2(maps) for maps in (x, weights))
    return jnp.concatenate(means, axis=1)


def _average_2x2(maps: jax.Array) -> jax.Array:
    batch, height, width, channels = maps.shape
    return maps.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def standardised(features: np.ndarray) -> np.ndarray:
    """Logarithms of random features `[n, 2, 224]` of fills and truths, in standard deviations from the truths' mean.

    Each layer is divided by the root of its truths' mean square first. A small constant and a smallest deviation keep
    channels that are nearly always 0 from dominating.
    """
    layers = np.split(features, np.cumsum(RANDOM_CHANNELS)[:-1], axis=2)
    scaled = [layer / (np.sqrt(np.square(layer[:, 1]).mean()) or 1.0) for layer in layers]
    logs = np.log(np.concatenate(scaled, axis=2) + 0.05)
    deviations = logs[:, 1].std(0)
    return (logs - logs[:, 1].mean(0)) / np.maximum(deviations, 0.1 * np.median(deviations))


def frechet_distance(features: np.ndarray) -> float:
    """Fréchet distance (Heusel et al., 2017) of `standardised` features `[n, 2, D]`, covariances taken as diagonal, over D.

    The mean over features of (difference of means)^2 + (difference of standard deviations)^2.
    """
    shift = features[:, 0].mean(0) - features[:, 1].mean(0)
    spread = features[:, 0].std(0) - features[:, 1].std(0)
    return float(np.mean(np.square(shift) + np.square(spread)))
