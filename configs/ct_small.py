"""Head CT at the scans' own resolution, for two CPU cores or one GPU: flair.py's windows, holes and length, with HU.

Holes are of any shape, as signal voids, metal and lesions have. HU are the same on every scanner, so contrast, sensitivity
and noise are not varied as in MRI.
"""

from ml_collections import ConfigDict

from ipmedgan_jax.configs import flair


def get_config(system: str = "ipmedgan_plus") -> ConfigDict:
    config = flair.get_config(system).unlock()
    config.modality = "ct"
    config.data.foreground_level = 1 / 6  # -500 HU in the window of -1000 to 2000
    config.augment.update({"gamma": 0.0, "bias": 0.0, "window": 0.0, "noise": 0.0})
    return config.lock()
