"""From NIfTI volumes to records: subjects, splits, and one shard a volume.

What the output folder holds, and how an interrupted or shared preparation is completed: `prepared_folder`.
"""

import functools
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import numpy as np
from absl import logging
from tqdm import tqdm

from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.ranks import Shard
from ipmedgan_jax.data import prepared_folder, records
from ipmedgan_jax.data.prepared_folder import Source
from ipmedgan_jax.data.subjects import split_subjects, subject_of, volume_names
from ipmedgan_jax.imaging import scans
from ipmedgan_jax.imaging.grids import PLANES, SliceGrid
from ipmedgan_jax.imaging.settings import PreparationSettings

_SPIKE = 16  # windows above or below the window


def prepare(
    settings: PreparationSettings, paths: Sequence[Path], output_dir: Path | str, *, progress: bool = True
) -> records.Dataset:
    """Makes the records of `paths` in `output_dir` and returns what `dataset.json` says of them.

    All volumes of a subject fall in one split. Nothing is made twice: a finished folder of the same settings and files
    is returned as it is, an interrupted one is completed, any other raises UserError.
    """
    prepare_shard(settings, paths, output_dir, Shard(), progress=progress)
    return records.load_dataset(output_dir)


def prepare_shard(
    settings: PreparationSettings, paths: Sequence[Path], output_dir: Path | str, shard: Shard, *, progress: bool = True
) -> int:
    """Makes this shard's volumes. Returns how many the other shards have still to make.

    Shards need not run at once and do not wait for each other; all must be given the same files. The one that finds all
    volumes made writes `dataset.json`.
    """
    directory = Path(output_dir)
    sources = _sources(settings, paths)
    try:
        prepared_folder.open_folder(settings, sources, directory, shard)
        _prepare_all(settings, shard.share(sources), directory, progress)
        volumes = [prepared_folder.read_receipt(source, directory) for source in sources]
        made = {source.name: volume for source, volume in zip(sources, volumes, strict=True) if volume is not None}
        if len(made) == len(sources):
            prepared_folder.finish(settings, sources, made, directory)
    except OSError as error:
        raise UserError(f"{error.filename or directory}: cannot be written ({error.strerror or error})") from error
    return len(sources) - len(made)


def _sources(settings: PreparationSettings, paths: Sequence[Path]) -> list[Source]:
    subjects = [subject_of(path, settings.subject_regex) for path in paths]
    splits = split_subjects(settings, subjects)
    names = volume_names(paths)
    return [Source(path, subject, splits[subject], name) for path, subject, name in zip(paths, subjects, names, strict=True)]


def _prepare_all(settings: PreparationSettings, sources: Sequence[Source], directory: Path, progress: bool) -> None:
    """Several volumes at once, in threads: zlib, zstd and NumPy run beside each other; a fork after JAX may hang."""
    job = functools.partial(_prepare_volume, settings, directory)
    with ThreadPoolExecutor(settings.workers) as pool:
        jobs = [pool.submit(job, source) for source in sources]
        try:
            for done in tqdm(as_completed(jobs), total=len(jobs), unit="volume", disable=None if progress else True):
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)  # after an error the volumes not yet begun are not begun


def _prepare_volume(settings: PreparationSettings, directory: Path, source: Source) -> None:
    """Writes one record file, then its receipt; does nothing where both are there and intact."""
    path, digest = source.record_file(directory), _sha256(source.path)
    earlier = prepared_folder.read_receipt(source, directory)
    if earlier is not None and earlier.sha256 == digest and _intact(path, earlier.slices):
        return
    path.with_suffix(".json").unlink(missing_ok=True)  # it would vouch for the records that are replaced now
    path.unlink(missing_ok=True)
    files.write_json(path.with_suffix(".json"), asdict(_make_shard(settings, source, digest, path)))


def _intact(shard: Path, slices: int) -> bool:
    """Whether the shard holds so many records, all readable; a volume without slices has none."""
    if not slices:
        return not shard.exists()
    try:
        return sum(1 for _ in records.read_shard(shard)) == slices
    except UserError:
        return False


def _make_shard(settings: PreparationSettings, source: Source, digest: str, shard: Path) -> records.PreparedVolume:
    """Reads the volume and writes its slices; no shard where none has enough foreground."""
    volume = scans.read_volume(source.path)
    if caution := scans.modality_warning(volume, settings.modality):
        logging.warning("%s: %s", volume.path, caution)
    resampled = scans.resample(volume, settings.resample_mm)
    grid = SliceGrid.of(settings, "axial", PLANES["axial"](resampled.array), resampled.spacing_mm)
    rows_mm, columns_mm = grid.pixel_spacing_mm
    try:
        window, kept, images = _kept_slices(settings, resampled, grid)
    except UserError as error:
        raise UserError(f"{source.path}: {error}") from error
    images = _without_spikes(source.path, images, window, whole=volume.integer)
    codes, scale, offset = records.quantise(images, integer=volume.integer)
    slices = (
        records.SliceRecord(source.subject, source.name, int(index), window, scale, offset, codes[index]) for index in kept
    )
    if len(kept):
        records.write_shard(shard, slices)
    return records.PreparedVolume(
        subject=source.subject,
        split=source.split,
        source=str(source.path),
        sha256=digest,
        orientation=volume.orientation,
        source_spacing_mm=volume.spacing_mm,
        spacing_mm=(columns_mm, rows_mm, resampled.spacing_mm[2]),
        window=window,
        slices=len(kept),
        left_out=len(images) - len(kept),
    )


def _kept_slices(
    settings: PreparationSettings, resampled: scans.Volume, grid: SliceGrid
) -> tuple[scans.Window, np.ndarray, np.ndarray]:
    """The volume's window, the indices of the slices with enough foreground, and all its slices [S, size, size]."""
    window = settings.window(resampled.array)
    threshold, slices = settings.threshold(window), PLANES["axial"](resampled.array)
    corner = grid.window_corner(slices > threshold)
    images = grid.cut_window(grid.to_pixels(slices), corner, scans.background(window, resampled.array))
    kept = np.flatnonzero((images > threshold).mean(axis=(1, 2)) >= settings.min_foreground)
    return window, kept, images


def _without_spikes(path: Path, images: np.ndarray, window: tuple[float, float], *, whole: bool) -> np.ndarray:
    """Clips what lies far outside the window, where it would leave the window too few of a record's 65,536 codes."""
    if whole and float(images.max()) - float(images.min()) <= records.LAST_CODE:
        return images
    low, high = window
    reach = _SPIKE * (high - low)
    lowest, highest = low - reach, high + reach
    outside = int(np.count_nonzero((images < lowest) | (images > highest)))
    if not outside:
        return images
    logging.warning("%s: %d voxels far outside %g to %g are kept as %g or %g", path, outside, low, high, lowest, highest)
    return np.clip(images, lowest, highest)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def summary(dataset: records.Dataset) -> str:
    """A few lines for people: volumes, slices kept and left out, subjects and slices of each split."""
    left_out = sum(volume.left_out for volume in dataset.volumes.values())
    total = (
        f"{dataset.directory}: {len(dataset.volumes)} {dataset.modality} volumes, "
        f"{sum(dataset.slices.values())} slices of {dataset.image_size}x{dataset.image_size} kept, "
        f"{left_out} left out (too little foreground)"
    )
    splits = (
        f"  {split + ':':12}{len(dataset.subjects[split])} subjects, {dataset.slices[split]} slices"
        for split in records.SPLITS
    )
    return "\n".join((total, *splits))
