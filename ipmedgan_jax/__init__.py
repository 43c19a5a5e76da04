"""Adversarial inpainting of medical images in JAX/Flax: ip-MedGAN and the systems it is compared with."""

__version__ = "0.1.0"
