"""Image metrics of fills: SSIM, PSNR, MSE, MAE, two readings of UQI, and the kernel distance of VGG features.

All scores but the last two compare two patches [B, H, W] of grey levels on 0..255, the inpainted and the true one, and
return [B] float32. A patch is a hole or a whole slice. Only `referee_scores`, which repeats the scores of the BraTS
inpainting challenge, takes a mask.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ipmedgan_jax.evaluation import intervals

PEAK = 255.0
"""Grey levels: the largest value; also the data range of SSIM and PSNR."""

PSNR_CAP = 100.0
"""dB: the highest PSNR of a fill, also of a perfect one. Without a cap a mean over slices could be infinite."""

SSIM_RADIUS, SSIM_SIGMA = 5, 1.5
"""Pixels: radius of SSIM's 11x11 Gaussian window, and its standard deviation."""

UQI_WINDOW = 8
"""Pixels: side of UQI's square window."""

MIN_PATCH = 2 * SSIM_RADIUS + 1
"""Pixels: smallest side of a patch for which SSIM is defined."""


def mse(inpainted: jax.Array, image: jax.Array) -> jax.Array:
    """Computes the mean squared error, in squared grey levels."""
    _check_patches(inpainted, image)
    return jnp.mean(jnp.square(inpainted - image), axis=(1, 2))


def mae(inpainted: jax.Array, image: jax.Array) -> jax.Array:
    """Computes the mean absolute error, in grey levels."""
    _check_patches(inpainted, image)
    return jnp.mean(jnp.abs(inpainted - image), axis=(1, 2))


def psnr(inpainted: jax.Array, image: jax.Array) -> jax.Array:
    """Computes the PSNR, 10 log10(255^2 / MSE) in dB, at most `PSNR_CAP`."""
    return psnr_of_mse(mse(inpainted, image))


def psnr_of_mse(squared_error: jax.Array) -> jax.Array:
    """Converts mean squared errors of any shape to PSNR in dB, at most `PSNR_CAP`."""
    floor = PEAK**2 / 10 ** (PSNR_CAP / 10)
    return 10 * jnp.log10(PEAK**2 / jnp.maximum(squared_error, floor))


@jax.jit
def ssim(inpainted: jax.Array, image: jax.Array) -> jax.Array:
    """Computes the mean structural similarity (Wang et al., 2004).

    Gaussian window 11x11, sigma 1.5, K1 .01, K2 .03, L 255, population covariance. The mean is over the windows that lie
    inside the patch. Equals scikit-image's
    `structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)`.
    """
    _check_patches(inpainted, image, at_least=MIN_PATCH)
    return jnp.mean(ssim_map(inpainted, image, PEAK), axis=(1, 2))


@jax.jit
def uqi(inpainted: jax.Array, image: jax.Array) -> jax.Array:
    """Computes the universal quality index (Wang and Bovik, 2002): 8x8 windows, step 1, mean over those inside the patch.

    A window's index is `4 cov mean_a mean_b / ((var_a + var_b) (mean_a^2 + mean_b^2))`. As in the authors' `img_qi.m`, two
    flat windows are compared by the luminance factor `2 mean_a mean_b / (mean_a^2 + mean_b^2)` alone, and two black windows
    score 1.
    """
    _check_patches(inpainted, image, at_least=UQI_WINDOW)
    mean_a, mean_b, variance_a, variance_b, covariance = _moments(inpainted, image, _box_window())
    return jnp.mean(_quality(mean_a, mean_b, variance_a + variance_b, covariance), axis=(1, 2))


@jax.jit
def uqi_sewar(inpainted: jax.Array, image: jax.Array) -> jax.Array:
    """Computes UQI as the PyPI package `sewar` (0.4) does; Table I of the paper fits this reading.

    The authors' formula has sums over the N = 64 pixels of a window. sewar puts means in their places, so that
    `N E[ab] - mean_a mean_b` stands for the covariance, and 63/64 of it is luminance. It also leaves out the last row and
    column of windows. Two black windows score 1. No other window has a vanishing denominator, so no score is NaN.
    """
    _check_patches(inpainted, image, at_least=UQI_WINDOW + 1)
    inside = [moment[:, :-1, :-1] for moment in _moments(inpainted, image, _box_window())]
    mean_a, mean_b, variance_a, variance_b, covariance = inside
    pixels = UQI_WINDOW**2
    spread = pixels * (variance_a + variance_b) + (pixels - 1) * (jnp.square(mean_a) + jnp.square(mean_b))
    product = pixels * covariance + (pixels - 1) * mean_a * mean_b
    return jnp.mean(_quality(mean_a, mean_b, spread, product), axis=(1, 2))


@jax.jit
def scores(inpainted: jax.Array, image: jax.Array) -> dict[str, jax.Array]:
    """Computes the six scores of patches [B, H, W] of at least 11x11 pixels, each [B], by their names in metrics.json."""
    return {
        "ssim": ssim(inpainted, image),
        "psnr": psnr(inpainted, image),
        "mse": mse(inpainted, image),
        "mae": mae(inpainted, image),
        "uqi": uqi(inpainted, image),
        "uqi_sewar": uqi_sewar(inpainted, image),
    }


@dataclass(frozen=True)
class KernelDistance:
    """KID, and the jackknife's pseudo-value of each subject {subject: value}, whose mean is KID; none for two subjects."""

    value: float
    pseudo_values: dict[str, float]


def kernel_inception_distance(features: np.ndarray, subjects: Sequence[str]) -> KernelDistance | None:
    """Computes the KID (Binkowski et al., 2018) of VGG features `[N, 2, D]` of fills and truths.

    KID is the squared maximum mean discrepancy for the kernel (x . y / D + 1)^3. The features are scaled so that the truths'
    mean x . x / D is 1. A fill and its truth are not independent draws, and neither are slices of one subject, so only pairs
    of different subjects are averaged. The estimate stays unbiased: 0 is expected for equal distributions, and chance can
    make it negative. One subject has no estimate.

    `intervals.mean_interval` of the pseudo-values is KID's interval; the scale is that of the subjects that are left.
    """
    names = sorted(set(subjects))
    if len(names) < 2:
        return None
    count, rows = len(names), [np.array([subject == name for subject in subjects]) for name in names]
    features = np.asarray(features, np.float64)
    energy = np.array([np.square(features[chosen, 1]).sum() for chosen in rows])
    slices = np.array([int(chosen.sum()) for chosen in rows])
    moments, pairs = np.zeros((3, count, count)), np.outer(slices, slices) * (1 - np.eye(count))
    for a, b in itertools.permutations(range(count), 2):
        products = np.einsum("isd,jtd->stij", features[rows[a]], features[rows[b]], optimize=True) / features.shape[2]
        for power, moment in enumerate(moments, 1):
            (same_fills, mixed), (mixed_too, same_truths) = (products**power).sum((2, 3))
            moment[a, b] = same_fills + same_truths - mixed - mixed_too

    def distance(kept: np.ndarray) -> float:
        """Returns KID of some subjects: the kernel is 1 + 3 z + 3 z^2 + z^3 of z = x . y / D over the square of the scale."""
        square = energy[kept].sum() / (slices[kept].sum() * features.shape[2]) or 1.0
        sums = moments[:, kept][:, :, kept].sum((1, 2))
        return float((3 * sums[0] / square + 3 * sums[1] / square**2 + sums[2] / square**3) / pairs[kept][:, kept].sum())

    value = distance(np.arange(count))
    if count < 3:
        return KernelDistance(value, {})
    without = [distance(np.delete(np.arange(count), i)) for i in range(count)]
    return KernelDistance(value, dict(zip(names, intervals.pseudo_values(value, without).tolist(), strict=True)))


@jax.jit
def referee_scores(inpainted: jax.Array, image: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
    """Computes the BraTS inpainting challenge's in-mask `ssim`, `mse` and `psnr` of a stack of slices [S, H, W] -> scalars.

    `mask` is boolean and true where pixels were removed. Intensities may have any unit in which air is 0 and no value is
    negative (CT: HU + 1024). The steps are those of PyPI `inpainting` 0.0.12:

    - both images are set to 0 outside the mask, clipped to the 0.5 and 99.5 percentiles of the context, in which holes are
      0, and scaled to [0, 1];
    - `ssim` is the mean over the mask of the slices' SSIM maps; slices are reflected at their borders, and the data range is
      that of the whole stack;
    - `mse` is the mean over the mask, and `psnr` is for a range of 1, at most `PSNR_CAP`.
    """
    low, high = jnp.percentile(jnp.where(mask, 0.0, image), jnp.array([0.5, 99.5]))
    low = jnp.maximum(low, 0.0)

    def voided_unit(images: jax.Array) -> jax.Array:
        return (jnp.clip(jnp.where(mask, images, 0.0), low, high) - low) / (high - low)

    a, b = voided_unit(inpainted), voided_unit(image)
    border = ((0, 0), (SSIM_RADIUS, SSIM_RADIUS), (SSIM_RADIUS, SSIM_RADIUS))
    similarity = ssim_map(
        jnp.pad(a, border, mode="reflect"), jnp.pad(b, border, mode="reflect"), jnp.maximum(jnp.ptp(a), jnp.ptp(b))
    )
    squared_error = jnp.mean(jnp.square(a - b), where=mask)
    return {
        "ssim": jnp.mean(similarity, where=mask),
        "mse": squared_error,
        "psnr": psnr_of_mse(PEAK**2 * squared_error),
    }


def ssim_map(a: jax.Array, b: jax.Array, data_range: float | jax.Array) -> jax.Array:
    """Computes SSIM of every 11x11 window of [B, H, W] -> [B, H - 10, W - 10] (Wang et al., 2004, Eq. 13)."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_a, mean_b, variance_a, variance_b, covariance = _moments(a, b, _gaussian_window())
    luminance = (2 * mean_a * mean_b + c1) / (jnp.square(mean_a) + jnp.square(mean_b) + c1)
    return luminance * (2 * covariance + c2) / (variance_a + variance_b + c2)


def _quality(mean_a: jax.Array, mean_b: jax.Array, spread: jax.Array, product: jax.Array) -> jax.Array:
    """Computes UQI's map: (2 product / spread) times the luminance factor; a factor is 1 where its denominator is 0."""
    squares = jnp.square(mean_a) + jnp.square(mean_b)
    structure = jnp.where(spread == 0, 1.0, 2 * product / jnp.where(spread == 0, 1.0, spread))
    luminance = jnp.where(squares == 0, 1.0, 2 * mean_a * mean_b / jnp.where(squares == 0, 1.0, squares))
    return structure * luminance


def _moments(a: jax.Array, b: jax.Array, window: np.ndarray) -> tuple[jax.Array, ...]:
    """Computes means, variances and covariance of every window of a and b [B, H, W], weighted by `window` [k, k] of sum 1.

    Pixels are taken relative to the pixel in the middle of their window: float32 then loses nothing to cancellation, and a
    flat window's variance is exactly 0. Shifted images are added up instead of convolved, because a GPU may run a
    convolution in TF32.

    Returns:
      mean_a, mean_b, variance_a, variance_b, covariance, each [B, H - k + 1, W - k + 1].
    """
    size = window.shape[0]
    rows, columns = a.shape[1] - size + 1, a.shape[2] - size + 1

    def shifted(images: jax.Array, row: jax.Array | int, column: jax.Array | int) -> jax.Array:
        return jax.lax.dynamic_slice(images, (0, row, column), (images.shape[0], rows, columns))

    centre_a, centre_b = (shifted(images, size // 2, size // 2) for images in (a, b))
    weights = jnp.asarray(window.ravel(), a.dtype)

    def add_tap(tap: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        row, column = tap // size, tap % size
        x, y = shifted(a, row, column) - centre_a, shifted(b, row, column) - centre_b
        return tuple(total + weights[tap] * term for total, term in zip(sums, (x, y, x * x, y * y, x * y), strict=True))

    x, y, xx, yy, xy = jax.lax.fori_loop(0, size**2, add_tap, (jnp.zeros_like(centre_a),) * 5)
    return centre_a + x, centre_b + y, xx - x * x, yy - y * y, xy - x * y


def _gaussian_window() -> np.ndarray:
    """Returns SSIM's window [11, 11], of sum 1."""
    profile = np.exp(-0.5 * (np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1) / SSIM_SIGMA) ** 2)
    window = np.outer(profile, profile)
    return window / window.sum()


def _box_window() -> np.ndarray:
    """Returns UQI's window [8, 8], of sum 1."""
    return np.full((UQI_WINDOW, UQI_WINDOW), 1 / UQI_WINDOW**2)


def _check_patches(inpainted: jax.Array, image: jax.Array, *, at_least: int = 1) -> None:
    """Raises ValueError unless both are [B, H, W] of one shape with sides of `at_least` pixels."""
    if inpainted.shape != image.shape or image.ndim != 3:
        raise ValueError(f"expected two patches [B, H, W] of one shape, got {inpainted.shape} and {image.shape}")
    if min(image.shape[1:]) < at_least:
        raise ValueError(f"expected patches of at least {at_least}x{at_least} pixels (holes.size), got {image.shape}")
