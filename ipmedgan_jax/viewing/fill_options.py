"""The options of a fill as a request gives them."""

import math
import re
from http import HTTPStatus
from typing import Any

from ipmedgan_jax.viewing.requests import Refusal

PLANES = ("axial", "coronal", "sagittal")

FILL_PARAMETERS = ("source", "dilate_mm", "planes", "samples", "scan")

_MOST_SAMPLES, _MOST_MM = 100, 100.0


def fill_options(given: dict[str, str]) -> dict[str, Any]:
    """Returns the options of a fill; Refusal for a bad value."""
    planes = tuple(given.get("planes", "axial").split(","))
    if not set(planes) <= set(PLANES) or len(set(planes)) < len(planes):
        raise Refusal(HTTPStatus.BAD_REQUEST, f"planes: expected some of {', '.join(PLANES)}, each once")
    samples = given.get("samples", "0")
    if not re.fullmatch("[0-9]{1,3}", samples) or int(samples) == 1 or int(samples) > _MOST_SAMPLES:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"variations: expected 0, or 2 to {_MOST_SAMPLES}")
    try:
        dilate_mm = float(given.get("dilate_mm", "0"))
    except ValueError:
        dilate_mm = math.nan
    if not 0 <= dilate_mm <= _MOST_MM:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"dilate by (mm): expected a number, 0 to {_MOST_MM:g}")
    return {"planes": planes, "samples": int(samples), "dilate_mm": dilate_mm}
