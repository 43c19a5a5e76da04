"""The options of a fill: which voxels are filled, and how."""

import math
from dataclasses import dataclass, field

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging.grids import PLANES
from ipmedgan_jax.inpainting.find_damage import LoadedFinder


@dataclass(frozen=True, kw_only=True)
class MaskChoice:
    """How the voxels to be filled are selected: by a mask file, an intensity threshold or a finder.

    Attributes:
      labels: labels of the mask file to fill; empty for all that are not 0.
      match: `position` or `index`, for a mask that has the scan's shape but lies elsewhere; None refuses such a mask.
      above_hu: fill voxels above this intensity, in HU; CT only.
      finder: fill the voxels that this network takes for damage.
      dilate_mm: fill the voxels within this distance of the mask too, in millimetres.
    """

    labels: tuple[int, ...] = ()
    match: str | None = None
    above_hu: float | None = None
    finder: LoadedFinder | None = None
    dilate_mm: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.dilate_mm < math.inf:
            raise UserError(f"--dilate_mm={self.dilate_mm:g}: expected millimetres, 0 or more")
        if not all(label > 0 for label in self.labels):
            raise UserError(f"--mask_labels={','.join(map(str, self.labels))}: expected whole numbers above 0")


@dataclass(frozen=True, kw_only=True)
class Filling:
    """The options of a fill.

    Attributes:
      planes: the planes along which slices are filled; the fills of several are averaged.
      samples: number of varied fills whose standard deviation is written; 0 for none.
      strict: whether warnings are errors.
      empty_mask: what is done with a scan whose mask is empty: `error`, `copy` (an unchanged copy as output) or `skip`.
      mask: how the voxels to be filled are selected.
    """

    planes: tuple[str, ...] = ("axial",)
    samples: int = 0
    strict: bool = False
    empty_mask: str = "error"
    mask: MaskChoice = field(default_factory=MaskChoice)

    def __post_init__(self) -> None:
        if not self.planes or sum(name in self.planes for name in PLANES) < len(self.planes):
            raise UserError(f"--planes={','.join(map(str, self.planes))}: expected some of {', '.join(PLANES)}, each once")
        if self.samples == 1 or self.samples < 0:
            raise UserError(f"--samples={self.samples}: expected 0, or at least 2 for a standard deviation")
