"""The paper's losses: pure functions of arrays, one equation each (Armanious et al., arXiv 1810.06621).

Shapes: logits `[B, h, w]`, images and feature maps `[B, h, w, d]`. Every loss is a float32 scalar: a mean over the batch.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jax import Array


def binary_cross_entropy(logits: Array, label: float) -> Array:
    """Mean over patches and images of the cross entropy between sigmoid(logits) and one label, 1 real or 0 fake."""
    logits = logits.astype(jnp.float32)
    return optax.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, label)).mean()


def pixel_cross_entropy(logits: Array, mask: Array) -> Array:
    """Mean over all pixels of the cross entropy between sigmoid(logits) and the mask, both `[B, H, W, 1]`."""
    return optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), mask).mean()


def dice_loss(likelihood: Array, mask: Array) -> Array:
    """1 - Dice of the whole batch of likelihoods and masks, `[B, H, W, 1]`, smoothed by a pixel (Milletari et al., 2016)."""
    overlap, total = (likelihood * mask).sum(), likelihood.sum() + mask.sum()
    return 1.0 - (2.0 * overlap + 1.0) / (total + 1.0)


def discriminator_loss(real_logits: Array, fake_logits: Array) -> Array:
    """What a discriminator minimises in Eq. 1 (global) and Eq. 2 (local); halved, as pix2pix does."""
    return 0.5 * (binary_cross_entropy(real_logits, 1.0) + binary_cross_entropy(fake_logits, 0.0))


def adversarial_loss(fake_logits: Array) -> Array:
    """What the generator minimises in Eq. 1 and Eq. 2: label 1 on fakes, the non-saturating form (pix2pix)."""
    return binary_cross_entropy(fake_logits, 1.0)


def gram_matrix(features: Array) -> Array:
    """`[B, h, w, d] -> [B, d, d]`: F F^T / (h w d), in float32."""
    batch, height, width, depth = features.shape
    flat = features.astype(jnp.float32).reshape(batch, height * width, depth)
    return jnp.einsum("bnc,bnd->bcd", flat, flat) / (height * width * depth)


def style_loss(fake: Sequence[Array], real: Sequence[Array], *, weights: Sequence[float]) -> Array:
    """Eq. 3: sum over layers of weight / (4 d^2) * squared Frobenius norm of the Gram matrices' difference.

    Args:
      fake, real: VGG-19 feature maps of the two images, one for each weight.

    Raises:
      ValueError: layers and weights are not equally many, or the maps of a layer differ in shape.
    """
    _check_layers(fake, real, weights)
    total = jnp.zeros(())
    for weight, a, b in zip(weights, fake, real, strict=True):
        difference = jnp.square(gram_matrix(a) - gram_matrix(b)).sum((1, 2)).mean()
        total += weight / (4 * a.shape[-1] ** 2) * difference
    return total


def perceptual_loss(
    fake: Sequence[Array], real: Sequence[Array], *, weights: Sequence[float], reduction: str = "sum"
) -> Array:
    """Eq. 4: sum over layers of weight * L1 norm of the difference; layer 0 is the image, the others are D's features.

    Args:
      reduction: `sum` over a map's elements, which the bare norm of Eq. 4 is and which grows with the image's size, or
        their `mean`. Either way a mean over the batch.

    Raises:
      ValueError: another reduction, layers and weights not equally many, or the maps of a layer differ in shape.
    """
    _check_layers(fake, real, weights)
    if reduction not in ("sum", "mean"):
        raise ValueError(f"perceptual_reduction must be sum or mean, got {reduction!r}")
    total = jnp.zeros(())
    for weight, a, b in zip(weights, fake, real, strict=True):
        total += weight * l1_loss(a, b) * (a[0].size if reduction == "sum" else 1)
    return total


def l1_loss(fake: Array, real: Array) -> Array:
    """Mean absolute difference over all elements, in float32."""
    if fake.shape != real.shape:
        raise ValueError(f"shapes differ: {fake.shape} and {real.shape}")
    return jnp.abs(fake.astype(jnp.float32) - real.astype(jnp.float32)).mean()


def mean_in_hole(errors: Array, mask: Array) -> Array:
    """Mean of `[B, H, W, 1]` over the pixels where the mask, of the same shape, is 1."""
    if errors.shape != mask.shape:
        raise ValueError(f"shapes differ: {errors.shape} and {mask.shape}")
    return (errors.astype(jnp.float32) * mask).sum() / mask.sum()


def _check_layers(fake: Sequence[Array], real: Sequence[Array], weights: Sequence[float]) -> None:
    if not len(fake) == len(real) == len(weights):
        raise ValueError(f"{len(weights)} layer weights for {len(fake)} and {len(real)} feature maps")
    for a, b in zip(fake, real, strict=True):
        if a.shape != b.shape:
            raise ValueError(f"feature maps differ in shape: {a.shape} and {b.shape}")


def vgg_distance(features_a: Sequence[jax.Array], features_b: Sequence[jax.Array]) -> jax.Array:
    """LPIPS with unit weights (Zhang et al., 2018, Eq. 1), of feature maps [B, h, w, C], one a layer -> [B].

    Each pixel's features are scaled to unit length; squared differences are added up over channels, averaged over
    pixels, and added up over layers. 0 for equal features; at most 2 a layer where features are not negative.
    """
    layers = [
        jnp.mean(jnp.sum(jnp.square(_unit_length(a) - _unit_length(b)), axis=-1), axis=(1, 2))
        for a, b in zip(features_a, features_b, strict=True)
    ]
    return jnp.sum(jnp.stack(layers), axis=0)


def _unit_length(features: jax.Array) -> jax.Array:
    """Features [B, h, w, C] with every pixel's vector scaled to length 1; a zero vector stays zero."""
    return features / (jnp.linalg.norm(features, axis=-1, keepdims=True) + 1e-10)
