"""FLAIR MRI of the head at the paper's size: 256x256, six U-blocks, 64x64 holes, batch 1, 200 epochs."""

from ml_collections import ConfigDict

from ipmedgan_jax.configs import base


def get_config(system: str = "") -> ConfigDict:
    config = base.get_config().unlock()
    config.modality = "mri"
    return base.for_system(config, system)
