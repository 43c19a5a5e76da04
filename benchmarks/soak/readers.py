"""The readers that the soak feeds with damaged files: samples, ways to damage them, and what is done with a file.

To add a reader, add it to `READERS`. Its functions are those of a module, because a child process gets them by name.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.soak import mutations, samples, weight_samples


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
      samples: returns valid files.
      damage: (content, rng) -> a damaged content; the same `rng`, the same damage.
      read: (content, folder) -> None: writes the content to the empty folder, reads it with the package's own functions and
        uses the result as a command does; UserError if the package refuses it.
      modules: prefixes of the modules whose branches guide the fuzzing.
    """

    samples: Callable[[], Sequence[bytes]]
    damage: Callable[[bytes, np.random.Generator], bytes]
    read: Callable[[bytes, Path], None]
    modules: tuple[str, ...] = ("ipmedgan_jax",)


def read_nifti(content: bytes, folder: Path) -> None:
    """Takes the way of `prepare` and of `inpaint` with a NIfTI file."""
    (path := folder / "sub-1.nii").write_bytes(content)
    _use_scan(path, folder / "filled.nii")


def read_series(content: bytes, folder: Path) -> None:
    """Takes that way with a DICOM series of which one slice is damaged."""
    write_series(folder / "series", content)
    _use_scan(folder / "series", folder / "filled")


def read_nifti_mask(content: bytes, folder: Path) -> None:
    """Reads a mask for a NIfTI scan."""
    (folder / "scan.nii").write_bytes(samples.nifti_files()[0])
    _use_mask(content, folder / "mask.nii", folder / "scan.nii")


def read_dicom_mask(content: bytes, folder: Path) -> None:
    """Reads a DICOM segmentation or structure set for a DICOM series."""
    write_series(folder / "series", samples.slice_files()[0])
    _use_mask(content, folder / "mask.dcm", folder / "series")


def read_weights(content: bytes, folder: Path) -> None:
    """Reads VGG-19's weights in any format; the samples lack most layers, so one that is named as missing is no refusal."""
    from ipmedgan_jax.core.errors import UserError
    from ipmedgan_jax.pretrained import weight_files

    (path := folder / "weights").write_bytes(content)
    try:
        weight_files.read_weights(path)
    except UserError as error:
        if "VGG-19 layer conv1_" not in str(error) or " has no " not in str(error):
            raise


def read_run(content: bytes, folder: Path) -> None:
    """Builds the network of a run's config."""
    from ipmedgan_jax.experiment import run_folder

    (folder / "config.json").write_bytes(content)
    inference = run_folder.read_inference(folder)
    run_folder.generator_shapes(inference.system, inference.preparation.image_size)


def _configs() -> Sequence[bytes]:
    import json

    from ipmedgan_jax.configs import demo
    from ipmedgan_jax.experiment import saved_config

    return tuple(json.dumps(saved_config.as_json(demo.get_config(name))).encode() for name in ("", "casnet_plus", "unet"))


def write_series(folder: Path, first: bytes) -> None:
    """Writes a DICOM series whose first slice has the given content to a new folder."""
    folder.mkdir()
    for k, content in enumerate((first, *_other_slices(samples.JPEG in first))):
        (folder / f"{k}.dcm").write_bytes(content)


@functools.cache
def _other_slices(of_bytes: bool) -> tuple[bytes, ...]:
    return tuple(samples.encode(samples.slice_at(k, of_bytes=of_bytes)) for k in range(1, samples.SHAPE[2]))


def _use_scan(path: Path, output: Path) -> None:
    from ipmedgan_jax.core.errors import UserError
    from ipmedgan_jax.core.provenance import digest_of_path
    from ipmedgan_jax.imaging import dicom, dicom_files, dicom_seg_writing, file_kinds, placement, scans
    from ipmedgan_jax.imaging.foreground import find_foreground
    from ipmedgan_jax.imaging.grids import PLANES, SliceGrid
    from ipmedgan_jax.imaging.settings import PreparationSettings

    digest_of_path(path)
    file_kinds.is_output(path)
    settings = PreparationSettings("mri", 16, resample_mm=2.5)
    scan = scans.read_scan(path, series=dicom_files.ALL if path.is_dir() else "")
    array = scan.volume.array
    assert (array.dtype, array.ndim) == (np.float32, 3), f"{array.dtype} {array.shape}"
    assert np.isfinite(array).all()
    if not isinstance(scan.file, dicom.DicomSeries):
        placement.forms_warning(scan.file)
    resampled = scans.resample(scan.volume, settings.resample_mm)
    try:
        found = find_foreground(settings, resampled.array, resampled.spacing_mm)
        grid = SliceGrid.of(settings, "axial", PLANES["axial"](resampled.array), resampled.spacing_mm)
        cut = grid.cut_window(grid.to_pixels(PLANES["axial"](resampled.array)), (0, 0), found.padding)
        assert np.isfinite([cut.min(), cut.max(), *found.window]).all()
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    where = np.zeros(scan.file.stored.shape, bool)
    where.flat[0] = True
    scan.file.write_filled(output, where, np.array([array.mean()]), "filled")
    if isinstance(scan.file, dicom.DicomSeries):
        dicom_seg_writing.write(output.with_suffix(".dcm"), scan.file.datasets, where, "filled")


def _use_mask(content: bytes, path: Path, scan_path: Path) -> None:
    from ipmedgan_jax.imaging import mask_files, scans

    path.write_bytes(content)
    scan = scans.read_scan(scan_path)
    mask, _ = mask_files.read_mask(path, scan, match="position")
    assert (mask.dtype, mask.shape) == (bool, scan.volume.array.shape), f"{mask.dtype} {mask.shape}"
    assert mask.any()


def _masks() -> Sequence[bytes]:
    return samples.nifti_files(mask=True)


_NIFTI, _DICOM = ("ipmedgan_jax", "nibabel"), ("ipmedgan_jax", "pydicom")

READERS: dict[str, Reader] = {
    "nifti": Reader(samples.nifti_files, mutations.damage_nifti, read_nifti, _NIFTI),
    "nifti-mask": Reader(_masks, mutations.damage_nifti, read_nifti_mask, _NIFTI),
    "dicom": Reader(samples.slice_files, mutations.damage_dicom, read_series, _DICOM),
    "segmentation": Reader(samples.segmentation_files, mutations.damage_dicom, read_dicom_mask, _DICOM),
    "structures": Reader(samples.structure_files, mutations.damage_dicom, read_dicom_mask, _DICOM),
    "weights": Reader(weight_samples.files, mutations.damage_bytes, read_weights, ("ipmedgan_jax.pretrained",)),
    "config": Reader(_configs, mutations.damage_bytes, read_run, ("ipmedgan_jax.experiment",)),
}
