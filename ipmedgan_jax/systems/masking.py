"""Masks, smooth fills and crops of holes, on the device (JAX). `data/holes.py` chooses the holes on the host.

A hole is the box `[row, column, height, width]` in pixels, int32; a batch of holes is `[B, 4]`. A mask is 1 where pixels are
removed. Images are `[B, H, W, C]`.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax

RELAXATIONS = 8
"""Jacobi iterations at each scale of a smooth fill."""


def hole_masks(holes: Array, height: int, width: int) -> Array:
    """Masks of the holes, 1 in the hole and 0 elsewhere: `[B, 4] -> [B, height, width, 1]`, float32."""
    rows, columns = jnp.arange(height).reshape(1, -1), jnp.arange(width).reshape(1, -1)
    top, left, tall, wide = (holes[:, i : i + 1] for i in range(4))
    in_rows = (rows >= top) & (rows < top + tall)
    in_columns = (columns >= left) & (columns < left + wide)
    return (in_rows[:, :, None] & in_columns[:, None, :])[..., None].astype(jnp.float32)


def smooth_fill(images: Array, masks: Array) -> Array:
    """Fills the masked pixels smoothly from the known ones and leaves the rest unchanged. H and W are powers of two.

    Pull-push (Gortler et al., 1996): the known pixels are averaged to coarser and coarser images until every pixel has a
    value; the unknown pixels are then interpolated back from these, scale by scale. At each scale a few Jacobi iterations
    move the unknown pixels towards the mean of their neighbours (Laplace's equation). On FLAIR this is half a decibel better
    than without the iterations, and than biharmonic fills (holes with lesions' outlines, validation subjects).

    Args:
      images, masks: `[B, H, W, C]` and `[B, H, W, 1]`.
    """
    weights = 1.0 - masks
    levels = [(images * weights, weights)]
    while min(levels[-1][0].shape[1:3]) > 1:
        sums, weights = (_average_pool_2x2(x) for x in levels[-1])
        confidence = jnp.minimum(1.0, 4 * weights)  # one known pixel of four gives the coarser pixel its full weight
        levels.append((sums * confidence / jnp.maximum(weights, 1e-6), confidence))
    filled, weights = levels.pop()
    filled = filled / jnp.maximum(weights, 1e-6)
    for sums, weights in reversed(levels):
        filled = sums + (1 - weights) * jax.image.resize(filled, sums.shape, "linear")
        for _ in range(RELAXATIONS):
            filled = sums + (1 - weights) * _average_neighbours(filled)
    return jnp.where(masks > 0, filled, images)


def _average_neighbours(x: Array) -> Array:
    """Each pixel's mean over its four neighbours; the image is padded with its border pixels."""
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    vertical = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1]
    return (vertical + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]) / 4


def _average_pool_2x2(x: Array) -> Array:
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def crop(images: Array, corners: Array, size: int) -> Array:
    """Cuts one square out of each image: `[B, H, W, C]`, corners `[B, 2]` -> `[B, size, size, C]`."""

    def crop_image(image: Array, corner: Array) -> Array:
        return lax.dynamic_slice(image, (corner[0], corner[1], 0), (size, size, image.shape[-1]))

    return jax.vmap(crop_image)(images, corners)


def place(images: Array, patches: Array, corners: Array) -> Array:
    """Writes one patch into each image: `[B, H, W, C]`, patches `[B, h, w, C]`, corners `[B, 2]` -> `[B, H, W, C]`."""

    def place_patch(image: Array, patch: Array, corner: Array) -> Array:
        return lax.dynamic_update_slice(image, patch.astype(image.dtype), (corner[0], corner[1], 0))

    return jax.vmap(place_patch)(images, patches, corners)


def crop_window(images: Array, holes: Array, hole_size: int) -> Array:
    """Crops the window of twice the hole's side around each hole, at most the complete image: `[B, side, side, C]`."""
    size = images.shape[1]
    window = min(2 * hole_size, size)
    return crop(images, window_corners(holes, hole_size, window, size), window)


def crop_around(images: Array, holes: Array, hole_size: int) -> Array:
    """Crops the hole's box and a margin of a quarter of its side, at most the complete image: `[B, side, side, C]`."""
    size = images.shape[1]
    side = min(hole_size + 2 * (hole_size // 4), size)
    return crop(images, window_corners(holes, hole_size, side, size), side)


def window_corners(holes: Array, hole_size: int, window: int, image_size: int) -> Array:
    """Corners `[B, 2]` of the square window around each square hole, shifted so that it stays inside the image."""
    return jnp.clip(holes[:, :2] + hole_size // 2 - window // 2, 0, image_size - window)
