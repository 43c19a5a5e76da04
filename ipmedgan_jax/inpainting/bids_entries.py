"""What the JSON files of a BIDS derivative say of a filled scan and of its mask, beside what every sidecar says."""

from dataclasses import dataclass
from typing import Any

import numpy as np

_ZEROS = 0.4
"""Smallest share of voxels that are 0 in a skull-stripped scan; a field of view holds more air than that."""

_BRAIN_ML = 2000.0
"""Largest volume of the other voxels: brains with what surrounds them have up to 1,700 ml, heads more than 2,500 ml."""

_AT_A_FACE = 0.2
"""Largest share of them in a face of the volume: necks are cut there, brains at most at their base."""


@dataclass(frozen=True)
class BidsEntries:
    """The entries of one image.

    Attributes:
      sources: BIDS URIs of the image and of its mask, if it has one.
      reference: what `SpatialReference` says of both files; empty in a space that BIDS knows.
      resolution: what `Resolution` says; empty if the name has no entity `res`.
      skull_stripped: whether the scan is skull-stripped; None if its voxels have to tell.
      type_of_mask: what `Type` says of the mask.
    """

    sources: tuple[str, ...]
    reference: str
    resolution: str
    skull_stripped: bool | None
    type_of_mask: str

    def of_scan(self, array: np.ndarray, voxel_ml: float) -> dict[str, Any]:
        """Returns the entries of the filled scan.

        Args:
          array: the scan's voxels as they came.
          voxel_ml: the volume of one.
        """
        stripped = self.skull_stripped if self.skull_stripped is not None else is_skull_stripped(array, voxel_ml)
        return {"SkullStripped": stripped, "Sources": list(self.sources)} | self._of_both()

    def of_mask(self) -> dict[str, Any]:
        """Returns the content of the mask's JSON file."""
        text = "voxels that were filled: the mask that was given or found, and what --dilate_mm added"
        return {"Description": text, "Type": self.type_of_mask, "Sources": list(self.sources)} | self._of_both()

    def _of_both(self) -> dict[str, Any]:
        entries = {"SpatialReference": self.reference, "Resolution": self.resolution}
        return {key: value for key, value in entries.items() if value}


def is_skull_stripped(array: np.ndarray, voxel_ml: float) -> bool:
    """Returns whether a scan looks skull-stripped: mostly zeros, round a volume of the size of a brain that no face cuts.

    Args:
      array: `[X, Y, Z]`.
      voxel_ml: the volume of a voxel.
    """
    known = (array != 0) & np.isfinite(array)
    faces = [known.take(index, axis) for axis in range(3) for index in (0, -1)]
    small = known.sum() * voxel_ml < _BRAIN_ML
    return bool(1 - known.mean() >= _ZEROS and small and max(face.mean() for face in faces) < _AT_A_FACE)
