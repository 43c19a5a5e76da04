"""Filling scans with a classical fill, which needs no training.

Slices are filled as they are: on the scan's own grid, in its own unit, each whole. Nothing is resampled or clipped to an
intensity window. So the modality of a scan makes no difference to its fill.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.imaging import scans
from ipmedgan_jax.imaging.contrasts import modality_of
from ipmedgan_jax.imaging.foreground import find_foreground
from ipmedgan_jax.imaging.grids import PLANES
from ipmedgan_jax.imaging.scans import Scan
from ipmedgan_jax.imaging.settings import PreparationSettings
from ipmedgan_jax.inpainting import checks
from ipmedgan_jax.systems import classical


@dataclass(frozen=True)
class ClassicalFiller:
    """A classical fill as a `Filler`; `name` is a key of `classical.FILLS`."""

    name: str
    kind: str = "a classical method, without training"
    step: None = None
    source: None = None
    weights_sha256: None = None
    modality: None = None

    def __post_init__(self) -> None:
        """UserError, with the nearest name, for an unknown one."""
        classical.check_name(self.name)

    @property
    def label(self) -> str:
        return f"the classical fill {self.name}"

    def training(self) -> None:
        """Nothing was trained."""

    def check_hu(self, scan: Scan) -> list[str]:
        if (told := _told_modality(scan)) not in ("", "ct"):
            raise UserError(
                f"{scan.volume.path}: is of modality {told} by its name or header, and has no HU for --mask_above_hu; give a "
                "--mask"
            )
        line = scans.modality_warning(scan.volume, "ct")
        return [f"--mask_above_hu: {line}"] if line else []

    def open(self, scan: Scan, mask: np.ndarray, planes: Sequence[str]) -> "ClassicalFill":
        return ClassicalFill(self.name, scan, mask, tuple(planes))


@dataclass(frozen=True, eq=False)
class _Pass:
    """The slices of one plane that are filled, and the voxels `[X, Y, Z]` that take their values from them."""

    plane: str
    indices: np.ndarray
    voxels: np.ndarray


@dataclass(frozen=True, eq=False)
class ClassicalFill:
    """A classical fill of one scan, `FULL_RANGE_FILLS[name]` of each of its slices.

    A slice without a known pixel cannot be filled from itself. Its masked voxels are filled along another plane.
    """

    name: str
    scan: Scan
    mask: np.ndarray
    planes: tuple[str, ...]

    @property
    def slice_count(self) -> int:
        return sum(len(part.indices) for part in self._passes)

    @cached_property
    def _passes(self) -> tuple[_Pass, ...]:
        """The passes over the planes: first those of `planes`, then others for voxels in no slice with a known pixel."""
        passes, left = [], self.mask.copy()
        for plane in dict.fromkeys([*self.planes, *PLANES]):
            given = plane in self.planes
            masks, voxels = PLANES[plane](self.mask), np.zeros_like(self.mask)
            fillable = PLANES[plane](self.mask if given else left).any((1, 2)) & ~masks.all((1, 2))
            PLANES[plane](voxels)[fillable] = PLANES[plane](self.mask if given else left)[fillable]
            left &= ~voxels
            if fillable.any():
                passes.append(_Pass(plane, np.flatnonzero(fillable), voxels))
        if left.any():
            raise UserError(
                f"{self.scan.volume.path}: {counted(int(left.sum()), 'voxel')} cannot be filled, because the slices through "
                "them have no known voxel in any plane; mask less"
            )
        return tuple(passes)

    def warnings(self) -> list[str]:
        volume = self.scan.volume
        lines = [self._other_plane_warning(), *self._head_warnings()]
        lines += [checks.pixel_warning(part.plane, volume) for part in self._passes]
        return [line for line in lines if line]

    def _other_plane_warning(self) -> str:
        """Warns of slices that are filled along another plane than those asked for."""
        others = [part.plane for part in self._passes if part.plane not in self.planes]
        if not others:
            return ""
        entire = sum(int(PLANES[plane](self.mask).all((1, 2)).sum()) for plane in self.planes)
        return f"{counted(entire, 'slice')} without a known voxel filled along other planes: {', '.join(others)}"

    def _head_warnings(self) -> list[str]:
        """Warns of a mask in the air or over most of the head."""
        volume = self.scan.volume
        settings = PreparationSettings(scans.likely_modality(volume), image_size=1)
        try:
            head = find_foreground(settings, volume.array, volume.spacing_mm, known=~self.mask).head
        except UserError as error:  # a scan without contrast
            return [str(error)]
        return [checks.air_warning(self.mask, head), checks.share_warning(self.mask, head)]

    def filled(self, done: Callable[[int], object]) -> np.ndarray:
        array = self.scan.volume.array
        total, count = np.zeros(array.shape), np.zeros(array.shape, np.uint8)
        for part in self._passes:
            slices, masks, voxels, sums = (PLANES[part.plane](volume) for volume in (array, self.mask, part.voxels, total))
            for i in part.indices:
                sums[i] += np.where(voxels[i], self._fill_slice(part.plane, slices[i], masks[i]), 0)
                done(1)
            count += part.voxels
        return np.where(self.mask, total / np.maximum(count, 1), array).astype(array.dtype)

    def _fill_slice(self, plane: str, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        try:
            filled = classical.FULL_RANGE_FILLS[self.name](np.ascontiguousarray(image), np.ascontiguousarray(mask))
        except UserError as error:
            raise UserError(f"{self.scan.volume.path}: a slice of the plane {plane}: {error}") from error
        if not np.isfinite(filled).all():
            raise UserError(f"{self.scan.volume.path}: {self.name} returned NaN or infinite values; choose another --system")
        return filled

    def deviation(self, samples: int, done: Callable[[int], object]) -> np.ndarray:
        raise _no_variants(self.name, samples)


def check_samples(system: str | None, samples: int) -> None:
    """UserError for varied fills of a classical fill, which has none; `system` is its name, or None for a generator."""
    if samples and system is not None:
        raise _no_variants(system, samples)


def _no_variants(name: str, samples: int) -> UserError:
    return UserError(
        f"--samples={samples}: {name} is a classical fill, which has no variants; leave --samples out, or give a trained "
        "--workdir or --model"
    )


def _told_modality(scan: Scan) -> str:
    """Returns the modality that a scan's header or name tells; empty if neither does."""
    return scan.file.modality or modality_of(scan.volume.path)
