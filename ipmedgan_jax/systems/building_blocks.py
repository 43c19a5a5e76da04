"""What systems are put together from: the config's settings as plain values, and the networks that several of them share."""

from dataclasses import dataclass, replace
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
    """`config.loss`: weights of a generator's terms, and how they are taken. configs/base.py explains each.

    A weight of 0 leaves its term out. A config that was saved before a weight existed has the default here.
    """

    adversarial: float = 0.0
    local: float = 0.0
    style: float = 0.0
    perceptual: float = 0.0
    perceptual_reduction: str = "sum"
    perceptual_layers: tuple[float, ...] = (1.0,) * 5
    style_layers: tuple[float, ...] = (1.0,) * 5
    reconstruction: float = 0.0
    content: float = 0.0
    l1_region: str = "hole"

    def without(self, *terms: str) -> "LossSettings":
        """These settings with the weights of some terms at 0."""
        zeros: dict[str, Any] = dict.fromkeys(terms, 0.0)
        return replace(self, **zeros)


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
                f"config.holes.size is {self.hole_size}: {system} needs a power of two, at most half of data.image_size, "
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
