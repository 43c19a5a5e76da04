"""What systems are put together from: the config's settings as plain values, and the networks that several of them share."""

from dataclasses import dataclass
from typing import Any

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.networks.casnet import CasNet
from ipmedgan_jax.networks.layers import Normalise
from ipmedgan_jax.networks.patch_discriminator import PatchDiscriminator
from ipmedgan_jax.networks.vgg19 import VGG19

LOCAL_LAYERS = 2
"""Stride-2 layers of a local discriminator: 34x34 patches, as the paper."""


@dataclass(frozen=True)
class LossSettings:
    """Weights of a generator's terms, and how they are taken; configs/base.py explains each."""

    adversarial: float
    local: float
    style: float
    perceptual: float
    perceptual_reduction: str
    perceptual_layers: tuple[float, ...]
    style_layers: tuple[float, ...]
    reconstruction: float
    content: float
    l1_region: str


@dataclass(frozen=True)
class BuildingBlocks:
    """Sizes in pixels, what stands in the hole (`fill`), settings, makers of networks; widths are first layers' channels."""

    image_size: int
    hole_size: int
    fill: float
    unet_blocks: int
    width: int
    dropout: float
    stacked: bool
    remat: bool
    sees_mask: bool
    smooth_start: bool
    discriminator_width: int
    discriminator_layers: int
    normalise: Normalise
    dtype: Any
    loss: LossSettings
    vgg19: VGG19

    def check_window(self, system: str) -> None:
        """Networks that halve a window of twice the hole's side to 4x4 cannot take every hole: UserError for those."""
        if self.hole_size & (self.hole_size - 1) or 2 * self.hole_size > self.image_size:
            raise UserError(
                f"config.holes.size is {self.hole_size}: {system} wants a power of two, at most half of data.image_size, "
                f"{self.image_size}"
            )

    def check_patches(self, layers: int) -> None:
        """UserError where a patch discriminator of so many layers has no logit of the image."""
        if self.image_size < 3 * 2**layers:
            raise UserError(
                f"config.discriminator.layers is {layers}: leaves no logit of {self.image_size} pixels, take fewer layers"
            )

    def casnet(self) -> CasNet:
        return CasNet(
            self.unet_blocks, self.width, self.dropout, self.normalise, self.dtype, stacked=self.stacked, remat=self.remat
        )

    def patch_discriminator(self, layers: int) -> PatchDiscriminator:
        return PatchDiscriminator(layers, self.discriminator_width, self.normalise, self.dtype)
