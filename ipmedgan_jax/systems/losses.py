"""Losses: pure functions of arrays. Equations are those of the ip-MedGAN paper (Armanious et al., arXiv 1810.06621).

Shapes: logits `[B, h, w]`, images and feature maps `[B, h, w, d]`. A loss is a float32 scalar, averaged over the batch,
unless its docstring says otherwise.

B is one device's share of the batch, and the mean of a loss over the devices is that of the whole batch. Where a loss divides
by what differs between images, it takes that from all devices; outside the update's mapped axis there is one.
"""

import math
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from ipmedgan_jax.networks.convolution import LAYOUT
from ipmedgan_jax.networks.layers import count_devices, mean_over_devices

PACKED_BLOCK = 64
"""Side of the blocks on the diagonal of a packed Gram matrix: VGG-19's five take 1.41 instead of 2.44 MB."""


def binary_cross_entropy(logits: Array, label: float) -> Array:
    """Cross entropy between sigmoid(logits) and one label (1 real, 0 fake), averaged over patches and images."""
    logits = logits.astype(jnp.float32)
    return optax.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, label)).mean()


def pixel_cross_entropy(logits: Array, mask: Array) -> Array:
    """Cross entropy between sigmoid(logits) and the mask, both `[B, H, W, 1]`, averaged over all pixels."""
    return optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), mask).mean()


def dice_loss(likelihood: Array, mask: Array) -> Array:
    """1 - Dice coefficient of likelihoods and masks, both `[B, H, W, 1]` (Milletari et al., 2016).

    The sums run over all pixels of all devices. One pixel is added to numerator and denominator, so two empty masks cost 0.
    """
    overlap, total = mean_over_devices(((likelihood * mask).sum(), likelihood.sum() + mask.sum()))
    pixel = 1.0 / count_devices()
    return 1.0 - (2.0 * overlap + pixel) / (total + pixel)


def discriminator_loss(real_logits: Array, fake_logits: Array) -> Array:
    """The discriminator's loss in Eq. 1 (global) and Eq. 2 (local), halved as in pix2pix."""
    return 0.5 * (binary_cross_entropy(real_logits, 1.0) + binary_cross_entropy(fake_logits, 0.0))


def adversarial_loss(fake_logits: Array) -> Array:
    """The generator's loss in Eq. 1 and Eq. 2, in the non-saturating form of pix2pix: cross entropy with label 1 on fakes."""
    return binary_cross_entropy(fake_logits, 1.0)


def hinge_loss(real_logits: Array, fake_logits: Array, mask: Array) -> Array:
    """The discriminator's hinge loss (Lim and Ye, 2017), halved; fake logits count where the mask is 1."""
    real = jnp.maximum(1.0 - real_logits.astype(jnp.float32), 0.0).mean()
    return 0.5 * (real + mean_in_hole(jnp.maximum(1.0 + fake_logits.astype(jnp.float32), 0.0), mask))


@jax.custom_vjp
def gram_matrix(features: Array) -> Array:
    """Gram matrices F F^T / (h w d) of feature maps, in float32: `[B, h, w, d] -> [B, d, d]`."""
    with jax.named_scope("gram_matrix"):
        flat = _flat(features).astype(jnp.float32)
        return jnp.einsum("bnc,bnd->bcd", flat, flat) / features[0].size


def _gram_forward(features: Array) -> tuple[Array, Array]:
    return gram_matrix(features), features


def _gram_backward(features: Array, gradient: Array) -> tuple[Array]:
    """One product in the features' type; differentiation of the einsum would give two, in float32."""
    with jax.named_scope("gram_matrix"):
        symmetric = ((gradient + gradient.swapaxes(1, 2)) / features[0].size).astype(features.dtype)
        return (jnp.einsum("bnc,bcd->bnd", _flat(features), symmetric).reshape(features.shape),)


gram_matrix.defvjp(_gram_forward, _gram_backward)


def _flat(features: Array) -> Array:
    return features.reshape(features.shape[0], -1, features.shape[3])


def packed_gram_matrix(features: Array) -> Array:
    """Gram matrices without most of what their symmetry repeats: `[B, h, w, d] -> [B, n]`, n near d^2 / 2 for large d.

    Kept are the square blocks on the diagonal and what lies right of them, which is scaled by sqrt(2) for the half left out.
    So the squared distance of two packed matrices is the squared Frobenius norm of the matrices' difference.
    """
    matrix = gram_matrix(features)
    parts = []
    for start in range(0, matrix.shape[1], PACKED_BLOCK):
        rows, end = matrix[:, start : start + PACKED_BLOCK], start + PACKED_BLOCK
        parts += [rows[:, :, start:end], math.sqrt(2) * rows[:, :, end:]]
    return jnp.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def style_loss(fake: Sequence[Array], real: Sequence[Array], *, weights: Sequence[float]) -> Array:
    """Eq. 3: the sum over layers of weight / (4 d^2) * squared Frobenius norm of the Gram matrices' difference.

    Args:
      fake, real: VGG-19 feature maps of the two images, one map per layer.
      weights: one weight per layer.

    Raises:
      ValueError: the numbers of layers and weights differ, or a layer's two maps differ in shape.
    """
    _check_layers(fake, real, weights)
    return _style_distance(map(gram_matrix, fake), map(gram_matrix, real), [maps.shape[-1] for maps in fake], weights)


def style_loss_to_packed(fake: Sequence[Array], real: Sequence[Array], *, weights: Sequence[float]) -> Array:
    """`style_loss` of feature maps `fake` and the `packed_gram_matrix` `[B, n]` of each real map. ValueError as there."""
    packed = [packed_gram_matrix(features) for features in fake]
    _check_layers(packed, real, weights)
    return _style_distance(packed, real, [maps.shape[-1] for maps in fake], weights)


def _style_distance(fake: Iterable[Array], real: Iterable[Array], depths: Sequence[int], weights: Sequence[float]) -> Array:
    """Eq. 3 of Gram matrices, whole or packed, of feature maps with `depths` channels."""
    total = jnp.zeros(())
    for weight, depth, fake_matrix, real_matrix in zip(weights, depths, fake, real, strict=True):
        difference = jnp.square(fake_matrix - real_matrix).sum(range(1, fake_matrix.ndim)).mean()
        total += weight / (4 * depth**2) * difference
    return total


def perceptual_loss(
    fake: Sequence[Array], real: Sequence[Array], *, weights: Sequence[float], reduction: str = "sum"
) -> Array:
    """Eq. 4: the sum over layers of weight * L1 norm of the difference between the fake's and the real's maps.

    Args:
      fake, real: in Eq. 4 the image as layer 0, then the discriminator's feature maps.
      weights: one weight per layer.
      reduction: `sum` over a map's elements, the plain norm of Eq. 4, which grows with the image's size; or their `mean`.
        Both are averaged over the batch.

    Raises:
      ValueError: unknown reduction, the numbers of layers and weights differ, or a layer's two maps differ in shape.
    """
    _check_layers(fake, real, weights)
    if reduction not in ("sum", "mean"):
        raise ValueError(f"perceptual_reduction must be sum or mean, got {reduction!r}")
    total = jnp.zeros(())
    for weight, fake_map, real_map in zip(weights, fake, real, strict=True):
        total += weight * l1_loss(fake_map, real_map) * (fake_map[0].size if reduction == "sum" else 1)
    return total


def l1_loss(fake: Array, real: Array) -> Array:
    """Mean absolute difference over all elements, in float32. ValueError if the shapes differ."""
    if fake.shape != real.shape:
        raise ValueError(f"shapes differ: {fake.shape} and {real.shape}")
    return jnp.abs(fake.astype(jnp.float32) - real.astype(jnp.float32)).mean()


def mean_in_hole(errors: Array, mask: Array) -> Array:
    """Mean of `errors` over the pixels of all devices where the mask is 1; both of one shape, else ValueError."""
    if errors.shape != mask.shape:
        raise ValueError(f"shapes differ: {errors.shape} and {mask.shape}")
    return (errors.astype(jnp.float32) * mask).sum() / mean_over_devices(mask.sum())


def structural_similarity(fake: Array, real: Array) -> Array:
    """The SSIM of each pixel's surroundings, for images `[B, H, W, 1]` in [-1, 1] (Wang et al., 2004): `[B, H, W, 1]`.

    Surroundings are weighed by a Gaussian of 1.5 pixels, cut off at 5; beyond the image they are 0 in both. The scores' form
    (`evaluation/metrics.py`) loses nothing to cancellation, but is too slow to differentiate in every step.
    """
    moments = jnp.concatenate([fake, real, fake * fake, real * real, fake * real]).astype(jnp.float32)
    window = np.exp(-0.5 * np.square(np.arange(-5, 6) / 1.5))
    for shape in ((11, 1, 1, 1), (1, 11, 1, 1)):
        kernel = jnp.asarray(window / window.sum(), jnp.float32).reshape(shape)
        # In full precision: variances are differences, of which a GPU's TF32 would leave little on smooth tissue.
        moments = lax.conv_general_dilated(
            moments, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT, precision=lax.Precision.HIGHEST
        )
    a, b, aa, bb, ab = jnp.split(moments, 5)
    c1, c2 = (2 * 0.01) ** 2, (2 * 0.03) ** 2  # of a range of 2
    return (2 * a * b + c1) * (2 * (ab - a * b) + c2) / ((a * a + b * b + c1) * (aa - a * a + bb - b * b + c2))


def _check_layers(fake: Sequence[Array], real: Sequence[Array], weights: Sequence[float]) -> None:
    if not len(fake) == len(real) == len(weights):
        raise ValueError(f"{len(weights)} layer weights for {len(fake)} and {len(real)} feature maps")
    for fake_map, real_map in zip(fake, real, strict=True):
        if fake_map.shape != real_map.shape:
            raise ValueError(f"feature maps differ in shape: {fake_map.shape} and {real_map.shape}")


def vgg_distance(features_a: Sequence[jax.Array], features_b: Sequence[jax.Array]) -> jax.Array:
    """LPIPS with unit weights (Zhang et al., 2018, Eq. 1) of feature maps `[B, h, w, C]`, one per layer: returns `[B]`.

    Each pixel's feature vector is scaled to unit length. Squared differences are summed over channels, averaged over
    pixels, and summed over layers, in float32. The distance is 0 for equal features, and at most 2 per layer for features
    that are not negative.
    """
    layers = [
        jnp.mean(jnp.sum(jnp.square(_scale_to_unit_length(a) - _scale_to_unit_length(b)), axis=-1), axis=(1, 2))
        for a, b in zip(features_a, features_b, strict=True)
    ]
    return jnp.sum(jnp.stack(layers), axis=0)


def _scale_to_unit_length(features: jax.Array) -> jax.Array:
    """Scales every pixel's feature vector in `[B, h, w, C]` to length 1; a zero vector stays zero."""
    features = features.astype(jnp.float32)
    return features / (jnp.linalg.norm(features, axis=-1, keepdims=True) + 1e-10)
