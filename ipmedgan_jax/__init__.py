"""Adversarial inpainting of medical images in JAX/Flax: ip-MedGAN and the systems it is compared with.

    import ipmedgan_jax

    filled = ipmedgan_jax.fill("scan.nii.gz", "lesion.nii.gz", model="flair")

`fill` takes and returns nibabel images or arrays. `fill_with_details` also returns the deviation, the mask and the warnings.
`fill_file` fills from file to file. `load_model` loads a model once for many scans. Their modules are imported at first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0.dev0"

__all__ = ["Fill", "FillWarning", "UserError", "fill", "fill_file", "fill_with_details", "load_model"]

if TYPE_CHECKING:
    from ipmedgan_jax.core.errors import FillWarning, UserError
    from ipmedgan_jax.inpainting.fill_given import Fill
    from ipmedgan_jax.inpainting.fill_image import fill, fill_file, fill_with_details, load_model

_HOMES = {"Fill": "inpainting.fill_given", "FillWarning": "core.errors", "UserError": "core.errors"}

if not TYPE_CHECKING:  # mypy would take any name for one of these

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'inpainting.fill_image')}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
