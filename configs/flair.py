"""FLAIR MRI at the scans' own resolution: windows of 128x128 pixels round holes of any shape, up to 64x64 pixels."""

from ml_collections import ConfigDict

from ipmedgan_jax.configs import base

AUGMENTATION = {
    "scale": 1.5,
    "rotation": 10.0,
    "blur": 1.5,
    "gamma": 1.8,
    "bias": 0.25,
    "window": 0.15,
    "noise": 0.015,
    "crop": 0.1,
    "lesion": 0.3,
}
"""Makes 0.57 to 0.9 mm pixels of a few scanners stand for 0.4 to 1.3 mm of many."""


def get_config(system: str = "ipmedgan_plus") -> ConfigDict:
    config = base.get_config().unlock()
    config.modality = "mri"
    config.data.window = 128
    config.data.resample_mm = 0.0  # the source's own grid: nothing is blurred
    config.update_from_flattened_dict(base.ANY_SHAPE)
    config.holes.shares = (0.2, 0.1, 0.1, 0.2, 0.15, 0.25)
    config.holes.min_foreground = 0.5
    config.augment.update(AUGMENTATION)
    config.train.batch_size = 8
    config.train.images = 96000
    config.train.mirror = True
    config.train.log_every = 20
    config.train.validate_every = 500
    config.train.validation_slices = 96
    config.train.checkpoint_every = 250
    return base.for_system(config, system or "ipmedgan_plus")
