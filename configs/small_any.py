"""FLAIR MRI at CPU size, holes of any shape: small.py with other training holes, and the mask as second generator input.

Serves to fill your own masks with `inpaint`. To train on shapes of real lesions, add
--config.holes.kinds="('square','blob','lesion')" --config.holes.lesions='DIR/**/*_mask.nii.gz'
"""

from ml_collections import ConfigDict

from ipmedgan_jax.configs import base, small


def get_config(system: str = "") -> ConfigDict:
    config = small.get_config(system).unlock()
    config.update_from_flattened_dict(base.ANY_SHAPE)
    return config.lock()
