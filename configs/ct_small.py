"""Head CT at the scans' own resolution, for two CPU cores or one GPU: flair.py's windows, holes and length, with HU.

Holes are of any shape, as signal voids, metal and lesions have.
"""

from ml_collections import ConfigDict

from ipmedgan_jax.configs import flair


def get_config(system: str = "ipmedgan_plus") -> ConfigDict:
    config = flair.get_config(system).unlock()
    config.modality = "ct"
    return config.lock()
