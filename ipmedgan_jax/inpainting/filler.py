"""What fills scans: a trained generator (`learned_filler`) or a classical fill (`classical_filler`)."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ipmedgan_jax.imaging.scans import Scan


class Filler(Protocol):
    """What fills scans, and what sidecars and image headers say of it."""

    @property
    def name(self) -> str:
        """The system."""

    @property
    def kind(self) -> str:
        """What it is, for the sidecar's description."""

    @property
    def label(self) -> str:
        """Its name, with its step if it has one, for image headers."""

    @property
    def step(self) -> int | None:
        """The checkpoint's step; None without training."""

    @property
    def source(self) -> str | None:
        """The folder that it was loaded from; None without training."""

    @property
    def weights_sha256(self) -> str | None:
        """Digest of its weights; None without training."""

    @property
    def modality(self) -> str | None:
        """The modality of its training, `mri` or `ct`; None without training."""

    def training(self) -> dict[str, Any] | None:
        """Returns what it was trained on, for the sidecar; None without training."""

    def check_hu(self, scan: Scan) -> list[str]:
        """Returns warnings if a scan's intensities may not be HU. UserError if they are not."""

    def open(self, scan: Scan, mask: np.ndarray, planes: Sequence[str]) -> "ScanFill":
        """Returns the fill of one scan. UserError if it cannot be filled.

        Args:
          scan: the scan; its masked voxels have some finite value, which no fill depends on.
          mask: bool, of the volume's shape, true where voxels are to be filled: at least one, and not all.
          planes: keys of `grids.PLANES`, at least one; the fills of several are averaged.
        """


class ScanFill(Protocol):
    """The fill of one scan. `done` is called with the number of slices filled since the last call."""

    @property
    def slice_count(self) -> int:
        """Number of slices to fill, in all planes."""

    def warnings(self) -> list[str]:
        """Returns warnings about the scan, one line each. UserError for a scan that cannot be filled."""

    def filled(self, done: Callable[[int], object]) -> np.ndarray:
        """Returns the volume's array `[X, Y, Z]`, in its unit, with the masked voxels filled and all others unchanged."""

    def deviation(self, samples: int, done: Callable[[int], object]) -> np.ndarray:
        """Returns the standard deviation of varied fills `[X, Y, Z]`, 0 elsewhere. UserError if it has no variants."""
