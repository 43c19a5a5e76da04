"""CasNet, the generator of MedGAN and ip-MedGAN: a chain of U-Nets from image to image (MedGAN, arXiv 1806.06397).

Images are `[B, size, size, 1]` in [-1, 1]; size is a power of two.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from ipmedgan_jax.networks.layers import Downsample, Normalise, Upsample, leaky_relu, widths

DROPOUT_LAYERS = 3
"""Number of decoder layers, from the first on, with dropout, as in pix2pix; how MedGAN uses dropout is not known."""


class UBlock(nn.Module):
    """The U-Net of pix2pix, down to 1x1 pixels and back, with skip connections by concatenation.

    All layers are normalised except the encoder's first, the 1x1 bottleneck (which would always be zero at batch size 1) and
    the output. The output passes through tanh if `bounded`.
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
    """A chain of `blocks` U-blocks: the 1-channel image that a block returns is the input of the next.

    Attributes:
      stacked: keeps the parameters in one tree `blocks` of arrays `[blocks, ...]`, and compiles one block that runs `blocks`
        times. Otherwise each block has a tree of its own, `block_0` and so on. Both forms are the same function.
      remat: computes a block's activations again for its gradient instead of keeping them.
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
        block_class: Any = nn.remat(UBlock, static_argnums=(2,)) if self.remat else UBlock

        def block(name: str) -> Any:
            return block_class(self.width, self.dropout, self.normalise, self.dtype, name=name)

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
    """Adds the output of `net` to the first channel of its input: `[B, H, W, C] -> [B, H, W, 1]`, clipped to [-1, 1]."""

    net: nn.Module

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        return jnp.clip(x[..., :1] + self.net(x, train), -1.0, 1.0)
