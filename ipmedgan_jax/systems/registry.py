"""All systems by name. A new system needs one file beside this one, its import and one line here."""

from collections.abc import Callable

from ipmedgan_jax.systems import casnet_plus, context_encoder, finder, glcic, ipmedgan, ipmedgan_plus, unet
from ipmedgan_jax.systems.building_blocks import BuildingBlocks
from ipmedgan_jax.systems.interface import System

SYSTEMS: dict[str, Callable[[BuildingBlocks], System]] = {
    "ipmedgan": ipmedgan.make,
    "ipmedgan_plus": ipmedgan_plus.make,
    "casnet_plus": casnet_plus.make,
    "medgan": ipmedgan.make,
    "context_encoder": context_encoder.make,
    "glcic": glcic.make,
    "glcic_cited": glcic.make_cited,
    "unet": unet.make,
}
"""Makers of the systems that learn to fill holes, by name."""


FINDERS: dict[str, Callable[[BuildingBlocks], System]] = {"finder": finder.make}
"""Makers of the systems that learn to find damage, by name."""
