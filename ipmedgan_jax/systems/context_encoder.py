"""The context encoder, CE (Pathak et al., arXiv 1604.07379), as in the code that the ip-MedGAN paper used.

CE fills a 64x64 hole in the middle of a 128x128 image. How the ip-MedGAN paper applied it to 256x256 slices with a hole
anywhere is not known. Here CE sees the window of twice the hole's side around the hole, at the slice's own resolution, and
returns the hole. The window is shifted so that it stays inside the slice. The hole of a shifted window is not in its middle;
the network has only the window itself to learn this from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from ipmedgan_jax.networks.context_encoder import ContextEncoder, HoleDiscriminator
from ipmedgan_jax.systems import losses, masking
from ipmedgan_jax.systems.building_blocks import BuildingBlocks, LossSettings
from ipmedgan_jax.systems.interface import Batch, Discriminate, Term, Tree

BAND = 7 / 64
"""Width of the band along the hole's border whose errors count ten times, as a share of the hole's side."""


def make(blocks: BuildingBlocks) -> "ContextEncoderSystem":
    """Makes CE. UserError for a hole size that its networks do not take."""
    blocks.check_window("the context encoder")
    return ContextEncoderSystem(
        WindowFill(ContextEncoder(blocks.width, blocks.normalise, blocks.dtype), blocks.hole_size),
        {"local": HoleDiscriminator(blocks.discriminator_width, blocks.normalise, blocks.dtype)},
        blocks.loss,
        fill=blocks.fill,
    )


class WindowFill(nn.Module):
    """Runs `net` on the window around each hole, and writes its output into the context.

    (Contexts `[B, H, W, 1]`, holes `[B, 4]`) -> `[B, H, W, 1]`.
    """

    net: nn.Module
    hole_size: int

    @nn.compact
    def __call__(self, x: tuple[Array, Array], train: bool) -> Array:
        context, holes = x
        window = 2 * self.hole_size
        corners = masking.window_corners(holes, self.hole_size, window, context.shape[1])
        return masking.place(context, self.net(masking.crop(context, corners, window), train), holes[:, :2])


@dataclass(frozen=True)
class ContextEncoderSystem:
    """The system: a `reconstruction` and an `adversarial` term, and the discriminator `local`, which sees the hole alone."""

    generator: WindowFill
    discriminators: Mapping[str, nn.Module]
    loss: LossSettings
    fill: float = 0.0

    def without_discriminators(self) -> "ContextEncoderSystem":
        return replace(self, loss=self.loss.without("adversarial"))

    def generator_input(self, batch: Batch) -> tuple[Array, Array]:
        return batch.context(self.fill), batch.hole

    def discriminator_input(self, name: str, batch: Batch, image: Array, frozen: Tree = None) -> Array:
        return masking.crop(image, batch.hole[:, :2], self.generator.hole_size)

    def generator_loss(self, frozen: Tree, batch: Batch, output: Array, discriminate: Discriminate) -> dict[str, Term]:
        fake, real = (self.discriminator_input("local", batch, image) for image in (output, batch.image))
        terms = {"reconstruction": Term(self.loss.reconstruction, overlap_reconstruction_loss(fake, real))}
        if self.loss.adversarial:
            terms["adversarial"] = Term(self.loss.adversarial, losses.adversarial_loss(discriminate("local", output)[0]))
        return terms


def overlap_reconstruction_loss(fake: Array, real: Array) -> Array:
    """||error in the border's band|| + ||error inside the band|| / 10, for holes `[B, h, h, 1]`, averaged over images.

    The norms are sqrt(1e-5 + sum of squares), as in the cited code; the paper has the squares. The band is 7 pixels wide in a
    hole of 64, and in proportion for other sizes.
    """
    side = fake.shape[1]
    band = np.ones((side, side, 1), bool)
    width = max(1, round(BAND * side))
    band[width:-width, width:-width] = False
    squares = jnp.square(fake.astype(jnp.float32) - real.astype(jnp.float32))

    def norm(region: np.ndarray) -> Array:
        return jnp.sqrt(1e-5 + squares.sum((1, 2, 3), where=np.broadcast_to(region[None], squares.shape))).mean()

    return norm(band) + norm(~band) / 10
