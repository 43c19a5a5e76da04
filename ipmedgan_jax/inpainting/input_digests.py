"""Digests of what a fill is made from: the files of its scan and of its mask, and no others in the same folders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipmedgan_jax.core.provenance import digest_of_files, digest_of_path
from ipmedgan_jax.imaging import dicom_files, dicom_masks
from ipmedgan_jax.inpainting.sidecar import has_digest


def of_scan(image: Path, series: str = "") -> str:
    """Returns the SHA-256 of a file, or of the files of a DICOM series in a folder.

    OSError if a file cannot be read; UserError if the folder holds no such series, or several and none is named.
    """
    return digest_of_files(_chosen(image, series).files) if image.is_dir() else digest_of_path(image)


def of_mask(mask: Path, image: Path | None = None, series: str = "") -> str:
    """Returns the SHA-256 of a mask: a file; in a folder, the one mask of the scan or, if there is none, a series of labels.

    OSError and UserError as in `of_scan`, and UserError if the folder holds several masks and not one of them is the scan's.

    Args:
      mask: the mask.
      image: the scan; None if it is in memory.
      series: SeriesInstanceUID of the scan, if it is a DICOM series.
    """
    if not mask.is_dir() or not dicom_masks.is_mask(mask):
        return of_scan(mask)
    of_series = _chosen(image, series) if image is not None and image.is_dir() else None
    uids = (of_series.uid, of_series.frame_of_reference) if of_series else ("", "")
    return digest_of_path(dicom_masks.find_mask(mask, *uids))


def accept_whole_folders(
    asked: Mapping[str, Any], saved: Mapping[str, Any], image: Path, mask: Path | None
) -> dict[str, Any]:
    """Returns what is asked, with a sidecar's digest in place of another one if it is the right one of a whole folder.

    Earlier versions wrote the digest of all files of a folder, other series included.

    Args:
      asked: the entries that determine the output.
      saved: the content of its sidecar.
      image: the scan.
      mask: its mask file; None if the mask is found in the scan.
    """
    folders = {key: path for key, path in (("image_sha256", image), ("mask_sha256", mask)) if path and path.is_dir()}
    unlike = {key: path for key, path in folders.items() if saved.get(key) not in (None, asked[key])}
    return {**asked, **{key: saved[key] for key, path in unlike.items() if has_digest(path, saved[key])}}


def _chosen(folder: Path, series: str) -> dicom_files.SeriesFiles:
    return dicom_files.choose_one(folder, dicom_files.list_series(folder), series)
