"""Metrics against the libraries that define them, against literal readings of their definitions, and by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest
import sewar
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from ipmedgan_jax.evaluation import metrics
from ipmedgan_jax.systems.losses import vgg_distance

FLAIR = Path(__file__).parents[3] / "shared" / "data" / "flair_lgg"


def structured_slices() -> np.ndarray:
    """Returns grey levels [3, 96, 80] with air, flat tissue, edges and texture."""
    row, column = np.mgrid[:96, :80]
    head = (row - 48) ** 2 / 40**2 + (column - 40) ** 2 / 32**2 < 1
    texture = 90 + 40 * np.sin(row / 3) * np.cos(column / 5)
    tissue = np.where(row < 30, 180.0, texture)
    return np.stack([head * tissue, head * np.rint(tissue / 2), 255 - head * tissue]).astype(np.float32)


def real_slices() -> np.ndarray:
    """Returns grey levels [3, 256, 256] of a FLAIR volume."""
    path = FLAIR / "sub-002" / "anat" / "sub-002_FLAIR.nii.gz"
    if not path.exists():
        pytest.skip(f"no real slices: {path} is missing")
    return np.asarray(nib.load(path).dataobj)[..., 6:15:4].transpose(2, 0, 1).astype(np.float32)


@pytest.fixture(params=[structured_slices, real_slices])
def image(request: pytest.FixtureRequest) -> np.ndarray:
    return request.param()


def damaged(image: np.ndarray) -> np.ndarray:
    """Returns the image with noise, a shift and a flat square, on 0..255."""
    noise = np.random.default_rng(0).normal(0, 12, image.shape)
    inpainted = np.clip(np.roll(image, 1, axis=2) + noise, 0, 255).astype(np.float32)
    inpainted[:, 20:50, 20:50] = 77.0
    return inpainted


def test_ssim_psnr_and_mse_equal_those_of_scikit_image(image):
    inpainted = damaged(image)
    found = metrics.scores(inpainted, image)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    for index, (a, b) in enumerate(zip(inpainted.astype(float), image.astype(float), strict=True)):
        assert found["ssim"][index] == pytest.approx(structural_similarity(a, b, **options), abs=1e-6)
        assert found["psnr"][index] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=255), abs=1e-5)
        assert found["mse"][index] == pytest.approx(mean_squared_error(a, b), rel=1e-6)
        assert found["mae"][index] == pytest.approx(np.abs(a - b).mean(), rel=1e-6)


def test_ssim_keeps_its_precision_on_bright_nearly_flat_patches():
    b = 250 + np.random.default_rng(1).normal(0, 0.01, (1, 64, 64)).astype(np.float32)
    a = b + np.float32(0.01)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    expected = structural_similarity(a[0].astype(float), b[0].astype(float), **options)
    assert metrics.ssim(a, b)[0] == pytest.approx(expected, abs=1e-6)


def literal_uqi(a: np.ndarray, b: np.ndarray) -> float:
    """Computes UQI window by window, as Wang and Bovik's `img_qi.m` does."""
    found = []
    for row in range(a.shape[0] - 7):
        for column in range(a.shape[1] - 7):
            x, y = (patch[row : row + 8, column : column + 8].astype(float) for patch in (a, b))
            means, squares = x.mean() * y.mean(), x.mean() ** 2 + y.mean() ** 2
            spread, covariance = x.var() + y.var(), ((x - x.mean()) * (y - y.mean())).mean()
            flat = np.ptp(x) == 0 and np.ptp(y) == 0
            luminance = 2 * means / squares if squares else 1.0
            found.append(luminance if flat else 4 * covariance * means / (spread * squares))
    return float(np.mean(found))


def test_uqi_equals_a_literal_reading_of_the_definition(image):
    b = image[:, 10:60, 10:60]
    a = damaged(image)[:, 10:60, 10:60]
    a[0, :20], b[0, :20] = 3.3, 0.7  # both flat, neither black
    a[1, :20], b[1, :20] = 0.0, 0.0
    found = metrics.uqi(a, b)
    assert found == pytest.approx(np.array([literal_uqi(x, y) for x, y in zip(a, b, strict=True)]), abs=1e-5)


def test_uqi_sewar_equals_sewar(image):
    a, b = damaged(image), image.copy()
    a[1, :20], b[1, :20] = 0.0, 0.0
    found = metrics.uqi_sewar(a, b)
    assert found == pytest.approx(np.array([sewar.uqi(x, y) for x, y in zip(a, b, strict=True)]), abs=1e-5)


def test_identical_patches_score_best(image):
    found = metrics.scores(image, image)
    for metric, best in {"ssim": 1, "psnr": metrics.PSNR_CAP, "mse": 0, "mae": 0, "uqi": 1, "uqi_sewar": 1}.items():
        assert np.asarray(found[metric]) == pytest.approx(best, abs=1e-6), metric


def test_flat_patches_are_compared_by_their_luminance_alone():
    found = metrics.scores(jnp.full((1, 16, 16), 60.3), jnp.full((1, 16, 16), 20.1))
    luminance = 2 * 60.3 * 20.1 / (60.3**2 + 20.1**2)
    assert found["uqi"][0] == pytest.approx(luminance, rel=1e-6)
    assert found["uqi_sewar"][0] == pytest.approx(luminance**2, rel=1e-5)
    assert found["mae"][0] == pytest.approx(40.2, rel=1e-5)


def test_black_patches_score_one_against_black_and_nothing_against_grey():
    black, grey = jnp.zeros((1, 16, 16)), jnp.full((1, 16, 16), 40.0)
    assert (metrics.uqi(black, black)[0], metrics.uqi_sewar(black, black)[0]) == (1, 1)
    assert (metrics.uqi(grey, black)[0], metrics.uqi_sewar(grey, black)[0]) == (0, 0)


def test_an_inverted_patch_has_negative_structure():
    patch = structured_slices()[:1, 20:60, 20:60]
    found = metrics.scores(255 - patch, patch)
    assert found["ssim"][0] < 0
    assert found["uqi"][0] < 0


def test_psnr_is_capped_where_the_error_vanishes_and_nowhere_else():
    errors = jnp.array([0.0, 1e-9, 255.0**2 / 1e9, 255.0**2])
    assert metrics.psnr_of_mse(errors) == pytest.approx(np.array([100.0, 100.0, 90.0, 0.0]), abs=1e-4)


def test_vgg_distance_by_hand():
    a = jnp.array([[3.0, 4.0], [0.0, 0.0]]).reshape(1, 1, 2, 2)  # one pixel of direction (.6, .8), one without any
    b = jnp.array([[0.0, 2.0], [0.0, 0.0]]).reshape(1, 1, 2, 2)
    assert vgg_distance((a,), (b,)) == pytest.approx(np.array([(0.36 + 0.04) / 2]))
    assert vgg_distance((a, b), (b, a)) == pytest.approx(np.array([0.4]))
    assert vgg_distance((a, b), (a, b)) == pytest.approx(np.array([0.0]))


def test_vgg_distance_refuses_features_of_unequal_depth():
    features = jnp.ones((1, 2, 2, 3))
    with pytest.raises(ValueError, match="zip"):
        vgg_distance((features, features), (features,))


def test_patches_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"expected two patches \[B, H, W\] of one shape"):
        metrics.mse(jnp.zeros((2, 16, 16)), jnp.zeros((1, 16, 16)))


def test_patches_smaller_than_the_window_are_refused():
    with pytest.raises(ValueError, match="expected patches of at least 11x11 pixels"):
        metrics.ssim(jnp.zeros((1, 10, 10)), jnp.zeros((1, 10, 10)))


def test_in_mask_scores_equal_a_literal_reading_of_the_challenge(image):
    """The challenge scales by percentiles of the image without the hole to 0..1, and averages SSIM's map over the hole."""
    mask = np.zeros(image.shape, bool)
    mask[:, 20:52, 30:62] = True
    inpainted = np.where(mask, damaged(image), image)
    low, high = np.percentile(np.where(mask, 0, image), [0.5, 99.5])
    low = max(low, 0)
    a, b = ((np.clip(np.where(mask, x, 0), low, high) - low) / (high - low) for x in (inpainted, image))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True}
    span = max(np.ptp(a), np.ptp(b))
    maps = np.stack([structural_similarity(x, y, data_range=span, **options)[1] for x, y in zip(a, b, strict=True)])
    found = metrics.referee_scores(inpainted, image, mask)
    assert float(found["ssim"]) == pytest.approx(maps[mask].mean(), abs=1e-4)
    assert float(found["mse"]) == pytest.approx(np.square(a - b)[mask].mean(), rel=1e-4)


def test_in_mask_scores_equal_the_challenge_referee(image, tmp_path):
    referee = os.environ.get("IPMEDGAN_REFEREE_PYTHON")
    if not referee:
        pytest.skip("IPMEDGAN_REFEREE_PYTHON names no interpreter with the extra `referee`")
    mask = np.zeros(image.shape, bool)
    mask[0, 20:52, 30:62], mask[1, 0:24, 0:40], mask[2, 60:, 50:] = True, True, True
    inpainted = np.where(mask, damaged(image), image)
    np.savez(tmp_path / "fill.npz", image=image, inpainted=inpainted, mask=mask)
    script = Path(__file__).parents[2] / "benchmarks" / "referee_process.py"
    command = [referee, str(script), str(tmp_path / "fill.npz")]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found = {name: float(score) for name, score in metrics.referee_scores(inpainted, image, mask).items()}
    print(f"ours {found}, the referee's {answer.stdout}", file=sys.stderr)
    assert found == pytest.approx(json.loads(answer.stdout), rel=1e-4)
