"""FLAIR MRI with holes of any shape: mri.py with other training holes, and the mask as the generator's second input.

Serves to fill your own masks with `inpaint`. To train on shapes of real lesions, add
--config.holes.kinds="('square','blob','lesion')" --config.holes.lesions='DIR/**/*_mask.nii.gz'
"""

from ml_collections import ConfigDict

from ipmedgan_jax.configs import base, mri


def get_config(system: str = "") -> ConfigDict:
    config = mri.get_config(system).unlock()
    config.update_from_flattened_dict(base.ANY_SHAPE)
    return config.lock()
