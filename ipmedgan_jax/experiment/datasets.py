"""The data of a run: a prepared dataset, or the built-in phantom."""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import logging
from ml_collections import ConfigDict

import ipmedgan_jax
from ipmedgan_jax.core import cache, links
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.spelling import counted
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.data import dataset_file, phantom, preparation
from ipmedgan_jax.data.subjects import list_subjects
from ipmedgan_jax.experiment.network_size import input_size
from ipmedgan_jax.experiment.settings import preparation_settings
from ipmedgan_jax.imaging import mask_files
from ipmedgan_jax.imaging.file_kinds import is_brain_mask
from ipmedgan_jax.imaging.input_files import list_input_files
from ipmedgan_jax.imaging.settings import ADDED_SETTINGS, PreparationSettings


def find_dataset(config: ConfigDict) -> dataset_file.Dataset:
    """Returns the prepared data of `data.dir`, or the built-in phantom if `data.dir` is empty.

    Raises UserError if the data do not fit the config.
    """
    if not config.data.dir:
        return _phantom_dataset(config)
    dataset = dataset_file.load_dataset(user_path(config.data.dir))
    if dataset.keeps_whole_slices != bool(config.data.window):
        kept = "whole slices" if dataset.keeps_whole_slices else f"slices brought to {dataset.image_size} pixels"
        raise UserError(f"{config.data.dir}: holds {kept}, but config.data.window is {config.data.window}: prepare it again")
    size_key = "data.window" if dataset.keeps_whole_slices else "data.image_size"
    for key, found, expected in (
        ("modality", dataset.modality, config.modality),
        (size_key, dataset.image_size, input_size(config)),
    ):
        if expected != found:
            raise UserError(f"{config.data.dir}: prepared with {key} {found!r}, the config has {expected!r}")
    _check_fold(config, dataset)
    _warn_of_other_preparation(config, dataset)
    return dataset


def _check_fold(config: ConfigDict, dataset: dataset_file.Dataset) -> None:
    """Raises UserError if the config has another fold than the data; a config without a fold takes that of the data."""
    if config.data.fold not in ("", dataset.fold):
        found = f"as fold {dataset.fold}" if dataset.fold else "without folds"
        raise UserError(
            f"{dataset.directory}: prepared {found}, but config.data.fold is {config.data.fold!r}; name the folder of that "
            "fold, or leave data.fold out"
        )


def _warn_of_other_preparation(config: ConfigDict, dataset: dataset_file.Dataset) -> None:
    """Warns of each setting that the data were prepared with and the config has otherwise; the data's own setting is used.

    Settings of the split are not compared.
    """
    current = ADDED_SETTINGS | preparation_settings(config).recorded()
    split = ("subject_regex", "split_ratios", "split_seed", "validation_subjects", "test_subjects", "fold")
    for key, prepared in (ADDED_SETTINGS | dataset.settings).items():
        if key not in split and current.get(key) != prepared:
            logging.warning(
                "%s: prepared with data.%s %r; this is used, not the config's value", dataset.directory, key, prepared
            )
    if config.holes.avoid and not dataset.has_avoided:
        raise UserError(
            f"{dataset.directory}: prepared without the masks of config.holes.avoid; prepare the data again with "
            f"--config.holes.avoid={config.holes.avoid!r}, or leave the flag out"
        )


def _phantom_dataset(config: ConfigDict) -> dataset_file.Dataset:
    """Returns the phantom of these settings from the cache; makes it first if it is not there, or damaged.

    The phantoms are written as NIfTI files and prepared like a user's scans.
    """
    settings, made = preparation_settings(config), config.phantom
    recipe = json.dumps([settings.recorded(), made.to_dict(), ipmedgan_jax.__version__], sort_keys=True)
    name = f"phantom-{config.modality}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    folder = cache.folder() / name
    logging.warning("data.dir is empty: using the built-in head phantom in %s; its scores say nothing of real scans", folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with links.open_own_file(folder / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # of runs that start at once, one makes the phantoms and the others wait
            if not _is_readable(folder / "prepared"):
                shutil.rmtree(folder / "prepared", ignore_errors=True)  # damaged, or of an interrupted process
                paths = phantom.write_phantoms(
                    folder / "nifti", config.modality, subjects=made.subjects, slices=made.slices, seed=made.seed
                )
                preparation.prepare(settings, paths, folder / "prepared")
    except OSError as error:
        advice = "set XDG_CACHE_HOME to a folder that can be written"
        raise UserError(f"{folder}: cannot be written ({error.strerror or error}): {advice}") from error
    return dataset_file.load_dataset(folder / "prepared")


def _is_readable(directory: Path) -> bool:
    try:
        dataset_file.load_dataset(directory)
        return True
    except UserError:
        return False


def masks_to_avoid(config: ConfigDict) -> list[Path]:
    """Returns the mask files that `holes.avoid` names; none if it is empty."""
    return _lesion_masks("holes.avoid", config.holes.avoid) if config.holes.avoid else []


def _lesion_masks(key: str, pattern: str) -> list[Path]:
    """Returns the mask files that a setting names, without masks of the brain. UserError if there are no others."""
    paths = list_input_files(pattern)
    kept = [path for path in paths if not is_brain_mask(path)]
    if not kept:
        raise UserError(f"config.{key}={pattern}: masks of the brain alone, such as {paths[0]}; name masks of lesions")
    if left_out := len(paths) - len(kept):
        logging.warning("config.%s: %s left out: their names are those of masks of the brain", key, counted(left_out, "file"))
    return kept


def lesion_shapes(config: ConfigDict, dataset: dataset_file.Dataset, prepared: PreparationSettings) -> Sequence[np.ndarray]:
    """Returns the shapes of the training subjects' lesions if `holes.kinds` has `lesion`, else none.

    `prepared` are the settings that the data were prepared with.

    Raises UserError if the masks of `holes.lesions` have no lesion of a training subject.
    """
    pattern, smallest = config.holes.lesions, config.holes.smallest
    if "lesion" not in config.holes.kinds:
        return ()
    paths = _lesion_masks("holes.lesions", pattern)
    subjects = set(dataset.subjects["train"])
    owners = list_subjects(paths, prepared.subject_regex)
    training_paths = [path for path, subject in zip(paths, owners, strict=True) if subject in subjects]
    shapes = [shape for path in training_paths for shape in mask_files.parts(path, prepared, at_least=smallest)]
    if not shapes:
        raise UserError(f"config.holes.lesions: {len(paths)} masks, none with a lesion of a training subject")
    return shapes


def digest_of_shapes(shapes: Sequence[np.ndarray]) -> str:
    """Returns a digest of bool arrays and their order; empty without any."""
    if not shapes:
        return ""
    digest = hashlib.sha256()
    for shape in shapes:
        digest.update(f"{shape.shape}".encode() + np.packbits(shape).tobytes())
    return digest.hexdigest()
