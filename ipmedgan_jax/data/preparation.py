"""From NIfTI volumes to records: subjects, splits, and one shard a volume.

The output folder holds `<split>/<volume id>.arrayrecord` with a receipt `<volume id>.json` beside it, and
`dataset.json`, written last. A shard whose receipt names the same source (SHA-256) is not made again, so an
interrupted preparation goes on where it stopped; `dataset.json.partial` holds its settings meanwhile.
"""

import functools
import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from absl import logging
from tqdm import tqdm

import ipmedgan_jax
from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import records
from ipmedgan_jax.data.subjects import split_subjects, subject_of, volume_names
from ipmedgan_jax.distributed.crew import Crew
from ipmedgan_jax.imaging import scans
from ipmedgan_jax.imaging.grids import PLANES, SliceGrid
from ipmedgan_jax.imaging.settings import PreparationSettings

_PARTIAL_FILE = records.DATASET_FILE + ".partial"
_SPIKE = 16  # windows above or below the window


@dataclass(frozen=True)
class _Source:
    """One input file and its place in the output."""

    path: Path
    subject: str
    split: str
    name: str  # volume id


def prepare(
    settings: PreparationSettings,
    paths: Sequence[Path],
    output_dir: Path | str,
    *,
    progress: bool = True,
    everyone: Crew | None = None,
) -> records.Dataset:
    """Makes the records of `paths` in `output_dir` and returns what `dataset.json` says of them.

    All volumes of a subject fall in one split. Nothing is made twice: a finished folder of the same settings and files
    is returned as it is, an interrupted one is completed, any other raises UserError. Of several processes each makes its
    share of the volumes.
    """
    directory = Path(output_dir)
    sources = _sources(settings, paths)
    everyone = everyone or Crew()
    try:
        everyone.decide(lambda: _open_output(settings, sources, directory))
        mine = _prepare_all(settings, everyone.share(sources), directory, progress)
        prepared = everyone.gather(sources, [asdict(volume) for volume in mine], lambda source: str(source.path))
        everyone.decide(lambda: _finish(settings, sources, prepared, directory))
    except OSError as error:
        raise UserError(f"{error.filename or directory}: cannot be written ({error.strerror or error})") from error
    return records.load_dataset(directory)


def _finish(settings: PreparationSettings, sources: list[_Source], prepared: list[dict], directory: Path) -> None:
    """Writes `dataset.json`: from then on the records are whole."""
    volumes = map(records.PreparedVolume.from_json, prepared)
    dataset = records.Dataset(
        directory=directory,
        modality=settings.modality,
        image_size=settings.image_size,
        volumes={source.name: volume for source, volume in zip(sources, volumes, strict=True)},
        settings=settings.recorded(),
        package_version=ipmedgan_jax.__version__,
    )
    for source, volume in zip(sources, dataset.volumes.values(), strict=True):
        if volume.slices and not _shard(source, directory).is_file():
            raise UserError(f"{_shard(source, directory)}: not there; all processes must see one {directory}")
    _check_slices(dataset)
    _warn_of_copies(dataset)
    records.save_dataset(dataset)
    (directory / _PARTIAL_FILE).unlink(missing_ok=True)


def _sources(settings: PreparationSettings, paths: Sequence[Path]) -> list[_Source]:
    subjects = [subject_of(path, settings.subject_regex) for path in paths]
    splits = split_subjects(settings, subjects)
    names = volume_names(paths)
    return [_Source(path, subject, splits[subject], name) for path, subject, name in zip(paths, subjects, names, strict=True)]


def _open_output(settings: PreparationSettings, sources: list[_Source], directory: Path) -> None:
    """Makes the folders, after making sure that nothing else was prepared there."""
    if (directory / records.DATASET_FILE).is_file():
        try:
            finished = records.load_dataset(directory)
        except UserError as error:
            raise UserError(f"{error}; delete {directory} first") from error
        _check_same(settings, finished.settings, directory)
        if set(finished.volumes) != {source.name for source in sources}:
            raise UserError(
                f"{directory}: holds a finished dataset of {len(finished.volumes)} volumes, not the same as the "
                f"{len(sources)} given; choose another output, or delete it"
            )
    elif (directory / _PARTIAL_FILE).is_file():
        _check_same(settings, _read_json(directory / _PARTIAL_FILE), directory)
    elif any(directory.glob(f"*/*{records.SHARD_SUFFIX}")):
        raise UserError(f"{directory}: holds records of unknown settings; choose another output, or delete it")
    _remove_strays(sources, directory)
    for split in records.SPLITS:
        (directory / split).mkdir(parents=True, exist_ok=True)
    files.write_json(directory / _PARTIAL_FILE, settings.recorded())


def _check_same(settings: PreparationSettings, earlier: dict, directory: Path) -> None:
    for name, value in settings.recorded().items():
        if earlier.get(name) != value:
            raise UserError(
                f"{directory}: was prepared with {name} {earlier.get(name)!r}, now it is {value!r}; "
                "choose another output, or delete it"
            )


def _remove_strays(sources: list[_Source], directory: Path) -> None:
    """Removes shards that an interrupted preparation of other files left: their subjects may now be split otherwise."""
    wanted = {_shard(source, directory) for source in sources}
    for split in records.SPLITS:
        for path in (directory / split).glob(f"*{records.SHARD_SUFFIX}"):
            if path not in wanted:
                path.unlink()
                path.with_suffix(".json").unlink(missing_ok=True)


def _read_json(path: Path) -> dict:
    """A JSON object; an empty one where the file is missing or damaged."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _prepare_all(
    settings: PreparationSettings, sources: Sequence[_Source], directory: Path, progress: bool
) -> list[records.PreparedVolume]:
    """Several volumes at once, in threads: zlib, zstd and NumPy run beside each other; a fork after JAX may hang."""
    job = functools.partial(_prepare_volume, settings, directory)
    with ThreadPoolExecutor(settings.workers) as pool:
        jobs = [pool.submit(job, source) for source in sources]
        try:
            for done in tqdm(as_completed(jobs), total=len(jobs), unit="volume", disable=None if progress else True):
                done.result()
            return [each.result() for each in jobs]
        finally:
            pool.shutdown(cancel_futures=True)  # after an error the volumes not yet begun are not begun


def _shard(source: _Source, directory: Path) -> Path:
    return directory / source.split / (source.name + records.SHARD_SUFFIX)


def _prepare_volume(settings: PreparationSettings, directory: Path, source: _Source) -> records.PreparedVolume:
    """Writes one shard, then its receipt; or gives back the receipt of a shard that is already there."""
    shard = _shard(source, directory)
    receipt = shard.with_suffix(".json")
    digest = _sha256(source.path)
    earlier = _read_json(receipt)
    same = earlier.get("sha256") == digest and earlier.get("subject") == source.subject
    if same and _intact(shard, earlier.get("slices", 0)):
        return records.PreparedVolume.from_json(earlier)
    receipt.unlink(missing_ok=True)  # it would vouch for the shard that is replaced now
    shard.unlink(missing_ok=True)
    prepared = _make_shard(settings, source, digest, shard)
    files.write_json(receipt, asdict(prepared))
    return prepared


def _intact(shard: Path, slices: int) -> bool:
    """Whether the shard holds so many records, all readable; a volume without slices has none."""
    if not slices:
        return not shard.exists()
    try:
        return sum(1 for _ in records.read_shard(shard)) == slices
    except UserError:
        return False


def _make_shard(settings: PreparationSettings, source: _Source, digest: str, shard: Path) -> records.PreparedVolume:
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
    codes, scale, offset = records.quantise(images, whole=volume.integer)
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


def _check_slices(dataset: records.Dataset) -> None:
    for split, count in dataset.slices.items():
        if not count:
            raise UserError(
                f"{dataset.directory}: no slice of the {split} split has data.min_foreground "
                f"({dataset.settings['min_foreground']:g}) of foreground; lower it, or data.foreground_level"
            )


def _warn_of_copies(dataset: records.Dataset) -> None:
    """The same scan under two names could be trained on and tested on."""
    seen: dict[str, records.PreparedVolume] = {}
    for volume in dataset.volumes.values():
        first = seen.setdefault(volume.sha256, volume)
        if first.subject != volume.subject:
            logging.warning("%s and %s are the same file, of two subjects", first.source, volume.source)


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
