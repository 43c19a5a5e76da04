"""Head CT at the scans' own resolution, for two CPU cores or one GPU: flair.py's windows, holes and length, with HU.

Holes are of any shape, as signal voids, metal and lesions have.
"""

from ml_collections import ConfigDict

from ipmedgan_jax.configs import base, flair


def get_config(system: str = "ipmedgan_plus") -> ConfigDict:
    config = flair.get_config(system).unlock()
    config.modality = "ct"
    config.data.window_hu = base.get_config().data.window_hu
    return config.lock()
