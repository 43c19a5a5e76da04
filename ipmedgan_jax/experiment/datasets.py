"""The data of a run: prepared before, or the built-in phantom."""

import fcntl
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import logging
from ml_collections import ConfigDict

import ipmedgan_jax
from ipmedgan_jax.core import cache
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import phantom, preparation, records
from ipmedgan_jax.data.subjects import subject_of
from ipmedgan_jax.experiment.settings import preparation_settings
from ipmedgan_jax.imaging import mask_files
from ipmedgan_jax.imaging.input_files import list_input_files


def find_dataset(config: ConfigDict) -> records.Dataset:
    """The prepared data of `data.dir`, or the built-in phantom; UserError where it does not fit the config."""
    if not config.data.dir:
        return _phantom_dataset(config)
    dataset = records.load_dataset(Path(config.data.dir).expanduser())
    for key, found in (("modality", dataset.modality), ("data.image_size", dataset.image_size)):
        wanted = config.modality if key == "modality" else config.data.image_size
        if wanted != found:
            raise UserError(f"{config.data.dir}: prepared with {key} {found!r}, the config has {wanted!r}")
    _warn_of_other_preparation(config, dataset)
    return dataset


def _warn_of_other_preparation(config: ConfigDict, dataset: records.Dataset) -> None:
    """Says which settings the data were prepared with where the config has others; what was prepared stands."""
    wanted = preparation_settings(config).recorded()
    split = ("subject_regex", "split_ratios", "split_seed", "validation_subjects", "test_subjects")
    differing = [key for key, value in dataset.settings.items() if key not in split and wanted.get(key) != value]
    for key in differing:
        logging.warning("%s: prepared with data.%s %r, which stands", dataset.directory, key, dataset.settings[key])


def _phantom_dataset(config: ConfigDict) -> records.Dataset:
    """Phantoms written as NIfTI and prepared like anyone's volumes, once for each kind of settings, in the cache."""
    settings, made = preparation_settings(config), config.phantom
    recipe = json.dumps([settings.recorded(), made.to_dict(), ipmedgan_jax.__version__], sort_keys=True)
    name = f"phantom-{config.modality}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    folder = cache.folder() / name
    logging.warning("data.dir is empty: using the built-in head phantom in %s; its scores say nothing of real scans", folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several runs may start at once: one makes the phantoms, the others wait
            if not (folder / "prepared" / records.DATASET_FILE).exists():
                paths = phantom.write_phantoms(
                    folder / "nifti", config.modality, subjects=made.subjects, slices=made.slices, seed=made.seed
                )
                preparation.prepare(settings, paths, folder / "prepared")
    except OSError as error:
        wanted = "set XDG_CACHE_HOME to a folder that can"
        raise UserError(f"{folder}: cannot be written ({error.strerror or error}): {wanted}") from error
    return records.load_dataset(folder / "prepared")


def lesion_shapes(config: ConfigDict, dataset: records.Dataset) -> Sequence[np.ndarray]:
    """The training subjects' real lesions, where holes have their shapes. UserError where there are none."""
    pattern, wanted = config.holes.lesions, "lesion" in config.holes.kinds
    if not wanted:
        return ()
    paths = list_input_files(pattern)
    subjects = set(dataset.subjects["train"])
    mine = [path for path in paths if subject_of(path, config.data.subject_regex) in subjects]
    settings = preparation_settings(config).as_recorded(dataset.settings)
    found = [shape for path in mine for shape in mask_files.parts(path, settings, at_least=config.holes.smallest)]
    if not found:
        raise UserError(f"config.holes.lesions: {len(paths)} masks, none with a lesion of a training subject")
    return found
