"""Whether the options of a fill, as a user gives them, make sense."""

import math

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging.grids import PLANES
from ipmedgan_jax.inpainting.classical_filler import no_variants
from ipmedgan_jax.inpainting.scan import Filling


def check(filling: Filling, system: str | None) -> None:
    """UserError for options that do not exist or do not fit together.

    Args:
      filling: the options.
      system: the classical fill that is asked for; None for a generator.
    """
    planes, samples, dilate_mm = filling.planes, filling.samples, filling.mask.dilate_mm
    if not planes or len(set(planes) & PLANES.keys()) < len(planes):
        raise UserError(f"--planes={','.join(planes)}: expected some of {', '.join(PLANES)}, each once")
    if samples == 1 or samples < 0:
        raise UserError(f"--samples={samples}: expected 0, or at least 2 for a standard deviation")
    if samples and system is not None:
        raise no_variants(system, samples)
    if not 0 <= dilate_mm < math.inf:
        raise UserError(f"--dilate_mm={dilate_mm:g}: expected millimetres, 0 or more")
    if not all(label > 0 for label in filling.mask.labels):
        raise UserError(f"--mask_labels={','.join(map(str, filling.mask.labels))}: expected whole numbers above 0")
