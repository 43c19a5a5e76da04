"""FLAIR MRI at a size that two CPU cores train in an afternoon: 128x128, two U-blocks of half the width, 32x32 holes.

Systems and code are those of mri.py. Written for MRI whose slices are already square, such as the LGG Segmentation Dataset.
"""

from ml_collections import ConfigDict

from ipmedgan_jax.configs import base


def get_config(system: str = "") -> ConfigDict:
    config = base.get_config().unlock()
    config.modality = "mri"
    config.data.image_size = 128
    config.data.fit = "scale"  # the complete slice, at half the paper's resolution
    config.data.resample_mm = 0.0  # the source's own grid
    config.holes.size = 32  # a quarter of the image, as in the paper
    config.holes.min_foreground = 0.5  # air teaches little in an hour
    config.generator.blocks = 2  # the U-Net has one
    config.generator.width = 32
    config.discriminator.width = 32
    config.train.batch_size = 4 if system in ("", "ipmedgan", "medgan") else 8  # VGG-19 makes each slice costly
    config.train.epochs = 20
    config.train.ema = 0.995  # a short run at a constant rate ends with noisy weights; evaluation uses their average
    config.train.log_every = 20
    config.train.validate_every = 300
    config.train.validation_slices = 96
    config.train.checkpoint_every = 300
    return base.for_system(config, system)
