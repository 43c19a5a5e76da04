"""What systems are built from: the config's settings as plain values, and the networks that several systems share."""

from dataclasses import dataclass, replace
from typing import Any

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.networks.casnet import CasNet
from ipmedgan_jax.networks.layers import Normalise
from ipmedgan_jax.networks.patch_discriminator import PatchDiscriminator
from ipmedgan_jax.networks.vgg19 import VGG19

LOCAL_LAYERS = 2
"""Stride-2 layers of a local discriminator: patches of 34x34 pixels, as in the paper."""


@dataclass(frozen=True)
class LossSettings:
    """`config.loss`: the weights of the generator's loss terms, and how the terms are computed.

    configs/base.py explains each setting. A term with weight 0 has no effect, even where it is computed and logged. A config
    that was saved before a weight existed gets the default given here.
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
    structure: float = 0.0
    l1_region: str = "hole"

    def without(self, *terms: str) -> "LossSettings":
        """Returns these settings with the weights of the named terms set to 0."""
        zeros: dict[str, Any] = dict.fromkeys(terms, 0.0)
        return replace(self, **zeros)


@dataclass(frozen=True)
class BuildingBlocks:
    """The settings that systems are made with, and makers of the networks that they share.

    Sizes are in pixels; a width is the number of channels of a network's first layer; `fill` is the value that the context
    image has in the hole.
    """

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
    noise: bool
    opposite: bool
    discriminator_width: int
    discriminator_layers: int
    normalise: Normalise
    dtype: Any
    loss: LossSettings
    vgg19: VGG19

    def check_window(self, system: str) -> None:
        """Raises UserError for a hole whose window, of twice its side, cannot be halved down to 4x4 or exceeds the image."""
        if self.hole_size & (self.hole_size - 1) or 2 * self.hole_size > self.image_size:
            raise UserError(
                f"config.holes.size is {self.hole_size}: expected a power of two for {system}, at most half of "
                f"data.image_size (or data.window), {self.image_size}"
            )

    def check_patches(self, layers: int) -> None:
        """Raises UserError if a patch discriminator with `layers` stride-2 layers has no logit for an image of this size."""
        if self.image_size < 3 * 2**layers:
            raise UserError(
                f"config.discriminator.layers is {layers}: leaves no logit for {self.image_size} pixels; take fewer layers"
            )

    def check_side(self, least: int) -> None:
        """Raises UserError if a network's images of `image_size` pixels, or its holes, are smaller than `least` pixels."""
        if min(self.image_size, self.hole_size) < least:
            raise UserError(
                f"config.holes.size is {self.hole_size} and the image's side {self.image_size}: expected at least {least}"
            )

    def casnet(self) -> CasNet:
        return CasNet(
            self.unet_blocks, self.width, self.dropout, self.normalise, self.dtype, stacked=self.stacked, remat=self.remat
        )

    def patch_discriminator(self, layers: int) -> PatchDiscriminator:
        return PatchDiscriminator(layers, self.discriminator_width, self.normalise, self.dtype)
