"""CasNet, the generator of MedGAN and ip-MedGAN: U-Nets in a chain, image to image (MedGAN, arXiv 1806.06397).

Images: `[B, size, size, 1]` in [-1, 1], size a power of two.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from ipmedgan_jax.networks.layers import Downsample, Normalise, Upsample, leaky_relu, widths

DROPOUT_LAYERS = 3
"""Decoder layers that pix2pix gives dropout; MedGAN's use of it is not known."""


class UBlock(nn.Module):
    """pix2pix's U-Net down to 1x1 and back, skips by concatenation, tanh at its end if `bounded`.

    Normalised are all layers but the encoder's first, the 1x1 bottleneck (always zero at batch size 1) and the output.
    """

    width: int = 64
    dropout: float = 0.0
    normalise: Normalise = Normalise()
    dtype: DTypeLike = jnp.float32
    bounded: bool = True

    @nn.compact
    def __call__(self, image: Array, train: bool) -> Array:
        features = widths(image.shape[1], self.width)
        depth = len(features)
        skips: list[Array] = []
        x = image
        for i, channels in enumerate(features):
            x = Downsample(channels, self.dtype, name=f"down_{i}")(leaky_relu(x) if i else x)
            if 0 < i < depth - 1:
                x = self.normalise.copy(name=f"down_norm_{i}")(x, train)
            skips.append(x)
        x = skips.pop()
        for i, channels in enumerate([*features[-2::-1], 1]):
            x = Upsample(channels, self.dtype, name=f"up_{i}")(nn.relu(x))
            if i < depth - 1:
                x = self.normalise.copy(name=f"up_norm_{i}")(x, train)
                if i < DROPOUT_LAYERS:
                    x = nn.Dropout(self.dropout, deterministic=not train)(x)
                x = jnp.concatenate([x, skips.pop()], axis=-1)
        x = x.astype(jnp.float32)
        return jnp.tanh(x) if self.bounded else x


class CasNet(nn.Module):
    """`blocks` U-blocks in a chain: each one's 1-channel image is the next one's input.

    Attributes:
      stacked: parameters as one tree `blocks` of arrays `[blocks, ...]`, and one block compiled and run `blocks` times, where
        else there are `block_0` and so on. The same function.
      remat: a block's activations are computed again for its gradient, not kept.
    """

    blocks: int = 6
    width: int = 64
    dropout: float = 0.0
    normalise: Normalise = Normalise()
    dtype: DTypeLike = jnp.float32
    stacked: bool = False
    remat: bool = False

    @nn.compact
    def __call__(self, image: Array, train: bool) -> Array:
        kind: Any = nn.remat(UBlock, static_argnums=(2,)) if self.remat else UBlock

        def block(name: str) -> Any:
            return kind(self.width, self.dropout, self.normalise, self.dtype, name=name)

        if self.stacked:
            chain = nn.scan(
                lambda block, image, _: (block(image, train), None),
                variable_axes={"params": 0, "batch_stats": 0},
                split_rngs={"params": True, "dropout": True},
                length=self.blocks,
            )
            return chain(block("blocks"), image, None)[0]
        for i in range(self.blocks):
            image = block(f"block_{i}")(image, train)
        return image


class Refinement(nn.Module):
    """Adds what `net` makes of its input `[B, H, W, C]` to the input's first channel: `[B, H, W, 1]`, clipped to [-1, 1]."""

    net: nn.Module

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        return jnp.clip(x[..., :1] + self.net(x, train), -1.0, 1.0)
