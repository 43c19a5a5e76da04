"""The smallest complete run, in minutes on two CPU cores: the built-in phantom at 64x64 pixels with 16x16 holes."""

from ml_collections import ConfigDict

from ipmedgan_jax.configs import base


def get_config(system: str = "") -> ConfigDict:
    config = base.get_config().unlock()
    config.modality = "ct"
    config.data.foreground_level = 1 / 6  # -500 HU in the window of -1000 to 2000
    config.data.image_size = 64
    config.data.fit = "scale"
    config.phantom.subjects = 30
    config.holes.size = 16
    config.holes.min_foreground = 0.5
    config.generator.blocks = 1
    config.generator.width = 32
    config.discriminator.width = 32
    config.optimiser.learning_rate = 5e-4  # the paper's 2e-4 is too small for a run this short
    config.train.batch_size = 4
    config.train.steps = 400
    config.train.ema = 0.99
    config.train.log_every = 25
    config.train.validate_every = 200
    config.train.validation_slices = 48
    config.train.checkpoint_every = 100
    return base.for_system(config, system)
