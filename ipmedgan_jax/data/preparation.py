"""Preparation of records from NIfTI volumes: subjects, splits, and one record file per volume.

`prepared_folder` describes the output folder, and how an interrupted or shared preparation is completed.
"""

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import numpy as np
from absl import logging
from tqdm import tqdm

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.lines import one_line
from ipmedgan_jax.core.provenance import digest_of_path
from ipmedgan_jax.core.ranks import Shard
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.core.user_paths import without_homes
from ipmedgan_jax.data import avoided, dataset_file, prepared_folder, records, source_checks, verification
from ipmedgan_jax.data.prepared_folder import Source
from ipmedgan_jax.data.subjects import split_subjects, subjects_of, volume_names
from ipmedgan_jax.imaging import scans
from ipmedgan_jax.imaging.foreground import Foreground, find_foreground
from ipmedgan_jax.imaging.grids import PLANES, SliceGrid
from ipmedgan_jax.imaging.settings import PreparationSettings

_NO_AIR = 0.95
"""Share of a volume that is head, above which its air may have been taken for head."""

_TWO_KINDS_OF_AIR = 0.2
"""Share of the head that is as dark as air, above which it holds air of another value than the background."""

_MUCH_AVOIDED = 0.5
"""Share of the head that is marked by masks of `holes.avoid`, above which they may not be of lesions."""

_LONG_PIXEL = 1.5
"""Ratio of a pixel's sides above which slices look squashed."""

_SPIKE = 16  # window widths above or below the window, beyond which an intensity is clipped


def prepare(
    settings: PreparationSettings,
    paths: Sequence[Path],
    output_dir: Path | str,
    *,
    avoid: Sequence[Path] = (),
    progress: bool = True,
) -> dataset_file.Dataset:
    """Makes the records of `paths` in `output_dir` and returns the dataset that `dataset.json` describes.

    All volumes of a subject are in one split. Nothing is made twice: a finished folder of the same settings and files is
    returned as it is, and an interrupted one is completed. Any other folder raises UserError.

    Args:
      avoid: masks of what holes keep clear of, which `avoided.pair_masks` assigns to the scans.
    """
    prepare_shard(settings, paths, output_dir, Shard(), avoid=avoid, progress=progress)
    return dataset_file.load_dataset(output_dir)


def prepare_shard(
    settings: PreparationSettings,
    paths: Sequence[Path],
    output_dir: Path | str,
    shard: Shard,
    *,
    avoid: Sequence[Path] = (),
    progress: bool = True,
) -> int:
    """Makes this shard's volumes and returns the number of volumes of other shards that are still missing.

    Shards may run at different times and do not wait for each other. All must be given the same files. The shard that finds
    all volumes complete writes `dataset.json`.
    """
    directory = Path(output_dir)
    sources = _list_sources(settings, paths, avoid)
    try:
        prepared_folder.open_folder(settings, sources, directory, shard)
        _prepare_all(settings, shard.share(sources), directory, progress)
        volumes = [prepared_folder.read_receipt(settings, source, directory) for source in sources]
        complete = {source.name: volume for source, volume in zip(sources, volumes, strict=True) if volume is not None}
        if len(complete) == len(sources):
            prepared_folder.finish(settings, sources, complete, directory)
    except OSError as error:
        path = error.filename2 or error.filename or directory  # a file that is renamed has two names
        advice = "; move it away" if isinstance(error, (FileExistsError, IsADirectoryError)) else ""
        raise UserError(f"{path}: cannot be written ({error.strerror or error}){advice}") from error
    return len(sources) - len(complete)


def _list_sources(settings: PreparationSettings, paths: Sequence[Path], avoid: Sequence[Path]) -> list[Source]:
    subjects = subjects_of(paths, settings.subject_regex)
    splits = split_subjects(settings, subjects)
    names = volume_names(paths)
    masks = avoided.pair_masks(avoid, paths, settings.subject_regex) if avoid else [()] * len(paths)
    return [
        Source(path, subject, splits[subject], name, belonging, avoided.digest(belonging))
        for path, subject, name, belonging in zip(paths, subjects, names, masks, strict=True)
    ]


def _prepare_all(settings: PreparationSettings, sources: Sequence[Source], directory: Path, progress: bool) -> None:
    """Prepares several volumes at once in threads: zlib, zstd and NumPy run in parallel, and a fork after JAX may hang."""
    job = functools.partial(_prepare_volume, settings, directory)
    with ThreadPoolExecutor(settings.workers) as pool:
        futures = [pool.submit(job, source) for source in sources]
        try:
            for future in tqdm(as_completed(futures), total=len(futures), unit="volume", disable=None if progress else True):
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)  # after an error no further volume is started


def _prepare_volume(settings: PreparationSettings, directory: Path, source: Source) -> None:
    """Writes one record file, then its receipt; does nothing if both exist, are intact and belong to the same source."""
    path, digest = source.record_file(directory), _sha256(source.path)
    earlier = prepared_folder.read_receipt(settings, source, directory)
    unchanged = earlier is not None and (earlier.sha256, earlier.avoided) == (digest, source.avoided)
    if earlier is not None and unchanged:
        if not (problem := verification.shard_problem(path, source.name, earlier)):
            return
        logging.warning("%s: %s; it is made again", path, problem)
    prepared_folder.receipt_of(path).unlink(missing_ok=True)  # first, because it vouches for the old records
    path.unlink(missing_ok=True)
    prepared_folder.write_receipt(_make_shard(settings, source, digest, path), path)


def _make_shard(settings: PreparationSettings, source: Source, digest: str, shard: Path) -> dataset_file.PreparedVolume:
    """Reads a volume and writes its slices with enough foreground; if there are none, it writes no file."""
    scan = scans.read_scan(source.path)
    source_checks.check_scan(settings, scan)
    volume = scan.volume
    try:
        resampled = scans.resample(volume, settings.resample_mm)
        grid = SliceGrid.of(settings, "axial", PLANES["axial"](resampled.array), resampled.spacing_mm)
        rows_mm, columns_mm = grid.pixel_spacing_mm
        if max(rows_mm / columns_mm, columns_mm / rows_mm) > _LONG_PIXEL:
            logging.warning(
                "%s: its axial slices have pixels of %.3g x %.3g mm, far from square: prepare it with "
                "--config.data.resample_mm=1.0, or leave it out",
                *(source.path, rows_mm, columns_mm),
            )
        window, images, heads, avoid = _cut_slices(settings, source, scan, resampled, grid)
    except UserError as error:
        raise UserError(f"{source.path}: {error}") from error
    kept = np.flatnonzero(heads.mean(axis=(1, 2)) >= settings.min_foreground)
    images = _without_spikes(source.path, images, window, whole=volume.integer)
    codes, scale, offset = records.quantise(images, integer=volume.integer)
    slices = records.with_digest(
        records.SliceRecord(
            *(source.subject, source.name, int(index), window, scale, offset, codes[index]),
            head=heads[index] if settings.foreground == "head" else None,
            avoid=None if avoid is None else avoid[index],
        )
        for index in kept
    )
    if slices:
        records.write_shard(shard, slices)
    return dataset_file.PreparedVolume(
        subject=source.subject,
        split=source.split,
        source=without_homes(str(source.path)),
        sha256=digest,
        orientation=volume.orientation,
        source_spacing_mm=volume.spacing_mm,
        spacing_mm=(columns_mm, rows_mm, resampled.spacing_mm[2]),
        window=window,
        slices=len(kept),
        left_out=len(images) - len(kept),
        voxels_sha256=source_checks.digest_of_voxels(volume.array),
        avoided=source.avoided,
        records_sha256=slices[0].records_sha256 if slices else "",
        settings_sha256=dataset_file.digest_of_settings(settings.recorded()),
    )


def _cut_slices(
    settings: PreparationSettings, source: Source, scan: scans.Scan, resampled: scans.Volume, grid: SliceGrid
) -> tuple[scans.Window, np.ndarray, np.ndarray, np.ndarray | None]:
    """Returns the intensity window, and of all slices, each `[S, H, W]`: intensities, head, and pixels to avoid."""
    foreground = find_foreground(settings, resampled.array, resampled.spacing_mm)
    _report_background(source.path, foreground, resampled.array, settings)
    window, corner = foreground.window, grid.window_corner(PLANES["axial"](foreground.head))

    def cut(array: np.ndarray, padding: float) -> np.ndarray:
        pixels = grid.to_pixels(PLANES["axial"](array))
        return grid.padded(pixels, padding) if settings.keeps_whole_slices else grid.cut_window(pixels, corner, padding)

    images = cut(resampled.array, foreground.padding)
    if settings.foreground == "threshold":
        heads = images > settings.threshold(window)
    else:
        heads = cut(foreground.head.astype(np.float32), 0.0) > 0.5
    if not source.avoid:
        return window, images, heads, None
    marked = replace(scan.volume, array=avoided.read_masks(source.avoid, scan).astype(np.float32))
    # Any pixel that a marked voxel contributes to is avoided.
    avoid = cut(scans.resample(marked, settings.resample_mm).array, 0.0) > 0
    if (share := (avoid & heads).sum() / max(heads.sum(), 1)) > _MUCH_AVOIDED:
        logging.warning(
            "%s: %.0f %% of its head is marked by holes.avoid, as by a mask of the brain: few holes fit beside it",
            *(source.path, 100 * share),
        )
    return window, images, heads, avoid


def _report_background(path: Path, foreground: Foreground, array: np.ndarray, settings: PreparationSettings) -> None:
    """Says where a background inside the window lies, and warns of a volume of whose air none, or only a part, was found."""
    if foreground.background is not None:
        logging.info(
            "%s: its background of %g lies at %.0f %% of the intensity window; it counts as air",
            *(path, foreground.background, 100 * foreground.background_level),
        )
        dark = float((array[foreground.head] <= settings.threshold(foreground.window)).mean())
        if dark > _TWO_KINDS_OF_AIR:
            logging.warning(
                "%s: %.0f %% of what counts as head is as dark as air, as where a CT was padded with 0: set padding and "
                "air to one value, the lowest of all",
                *(path, 100 * dark),
            )
    if (share := float(foreground.head.mean())) > _NO_AIR:
        logging.warning(
            "%s: %.0f %% of its voxels count as head, air too if there is any: set its background to one value, the lowest "
            "of all, or raise data.foreground_level",
            *(path, 100 * share),
        )


def _without_spikes(path: Path, images: np.ndarray, window: tuple[float, float], *, whole: bool) -> np.ndarray:
    """Clips intensities far outside the window if they would leave the window too few of a record's 65,536 codes."""
    if whole and float(images.max()) - float(images.min()) <= records.LAST_CODE:
        return images
    low, high = window
    reach = _SPIKE * (high - low)
    lowest, highest = low - reach, high + reach
    outside = int(np.count_nonzero((images < lowest) | (images > highest)))
    if not outside:
        return images
    logging.warning("%s: %d voxels far outside %g to %g are clipped to %g or %g", path, outside, low, high, lowest, highest)
    return np.clip(images, lowest, highest)


def _sha256(path: Path) -> str:
    try:
        return digest_of_path(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def summary(dataset: dataset_file.Dataset) -> str:
    """Returns a summary for the user: volumes, slices kept and left out, the fold if there is one, and each split."""
    left_out = sum(volume.left_out for volume in dataset.volumes.values())
    size = f"{dataset.image_size}x{dataset.image_size}"
    of_size = f"whole slices, for windows of {size}," if dataset.keeps_whole_slices else f"slices of {size}"
    total = (
        f"{one_line(str(dataset.directory))}: {len(dataset.volumes)} {dataset.modality} volumes, "
        f"{sum(dataset.slices.values())} {of_size} kept, "
        f"{left_out} left out (too little foreground)"
    )
    splits = (
        f"  {split + ':':12}{counted(len(dataset.subjects[split]), 'subject')}, {counted(dataset.slices[split], 'slice')}"
        for split in records.SPLITS
    )
    fold = [f"  {'fold:':12}{dataset.fold}"] if dataset.fold else []
    return "\n".join((total, *fold, *splits))
