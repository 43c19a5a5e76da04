"""FLAIR MRI at a size that two CPU cores train in an hour: 128x128, two U-blocks of half the width, 32x32 holes.

The same systems and code as mri.py. Written for ../shared/data/flair_lgg and alike: MRI whose slices are already square.
"""

from ml_collections import ConfigDict

from ipmedgan_jax.configs import base


def get_config(system: str = "") -> ConfigDict:
    config = base.get_config().unlock()
    config.modality = "mri"
    config.data.image_size = 128
    config.data.fit = "scale"  # the whole slice, at half the paper's resolution
    config.data.resample_mm = 0.0  # the source's own grid
    config.holes.size = 32  # a quarter of the image, as the paper
    config.holes.min_foreground = 0.5  # air teaches little in an hour
    config.generator.blocks = 2  # the U-Net has one
    config.generator.width = 32
    config.discriminator.width = 32
    config.train.batch_size = 4 if system in ("", "ipmedgan", "medgan") else 8  # VGG-19 makes a step costly by the slice
    config.train.epochs = 20
    config.train.ema = 0.995  # a short run at a constant rate ends on noisy weights; their average is what fills
    config.train.log_every = 20
    config.train.validate_every = 300
    config.train.validation_slices = 96
    config.train.checkpoint_every = 300
    return base.for_system(config, system)
