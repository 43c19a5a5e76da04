"""FLAIR MRI with holes of any shape: mri.py but for what is cut out, and the mask as the generator's second input.

For filling people's own masks with `inpaint`. With real lesion masks: --config.holes.kinds="('square','blob','lesion')"
--config.holes.lesions='DIR/**/*_mask.nii.gz'
"""

from ml_collections import ConfigDict

from ipmedgan_jax.configs import base, mri


def get_config(system: str = "") -> ConfigDict:
    config = mri.get_config(system).unlock()
    config.update_from_flattened_dict(base.ANY_SHAPE)
    return config.lock()
