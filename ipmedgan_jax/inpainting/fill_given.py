"""The fill of what a caller in Python gives, and its result: one class for images and arrays."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from nibabel.spatialimages import SpatialImage
from numpy.typing import ArrayLike, NDArray

from ipmedgan_jax.imaging import nifti_image, scans
from ipmedgan_jax.inpainting import classical_filler
from ipmedgan_jax.inpainting import scan as scan_files
from ipmedgan_jax.inpainting.classical_filler import ClassicalFiller
from ipmedgan_jax.inpainting.filled_scan import FilledScan, Progress, fill_scan, ignore
from ipmedgan_jax.inpainting.filler import Filler
from ipmedgan_jax.inpainting.filling_options import Filling
from ipmedgan_jax.inpainting.given_scan import describe_files, given_mask, given_scan
from ipmedgan_jax.inpainting.python_messages import python_names, warn

Kind = TypeVar("Kind", bound=SpatialImage | NDArray[Any])


@dataclass(frozen=True, eq=False)
class Fill(Generic[Kind]):
    """A filled scan with what belongs to it. Images and arrays lie on the scan's grid, and are of the scan's kind.

    Attributes:
      image: the filled scan: a nibabel image or an array `[X, Y, Z]`, in the scan's unit, type and order of axes.
      mask: the voxels that were filled, dilation included: 1 or true.
      deviation: the standard deviation of varied fills in the scan's unit, 0 outside the mask; None without `samples`.
      warnings: what to read before the fill is trusted, one line each.
      report: what the JSON file of `inpaint` holds: model, settings, filled voxels and millilitres, versions.
    """

    image: Kind
    mask: Kind
    deviation: Kind | None
    warnings: list[str]
    report: dict[str, Any]


def fill_given(
    image: Any, mask: Any, affine: ArrayLike | None, filler: Filler, filling: Filling, progress: bool | Progress
) -> Fill[Any]:
    """Fills a scan; returns the result as its kind. See `fill_image.fill`."""
    with python_names():
        check_samples(filler, filling)
        source = given_scan(image, affine)
        scan = scans.scan_of(source.file, finite=False)
        voxels, mask_path, lines = given_mask(mask, scan, filling.mask.labels, filling.mask.match)
        voxels = scan_files.dilated(voxels, filling.mask, scan, mask_path or nifti_image.MASK)
        lines = scan_files.file_warnings(scan, mask_path) + lines

        def check(found: list[str]) -> None:
            scan_files.tell(scan.file.path, filling, lines + found, warn)

        def run(progress: Progress) -> FilledScan:
            return fill_scan(
                filler, scan, voxels, planes=filling.planes, samples=filling.samples, check=check, progress=progress
            )

        result = scan_files.with_bar(run) if progress is True else run(progress or ignore)
        report = scan_files.report_of(filler, None, filling, scan, voxels) | describe_files(source.path, mask_path)
        report |= scan_files.outcome(result, lines)
        where = scan.in_file_order(voxels)
        deviation = source.beside(scan.in_file_order(result.deviation)) if result.deviation is not None else None
        filled = source.filled(where, scan.in_file_order(result.filled)[where])
        return Fill(filled, source.beside(where), deviation, report["warnings"], report)


def check_samples(filler: Filler, filling: Filling) -> None:
    """UserError if varied fills are asked of what has none."""
    classical_filler.check_samples(filler.name if isinstance(filler, ClassicalFiller) else None, filling.samples)
