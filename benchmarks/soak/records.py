"""Single faults in a folder of prepared data, met by training, by `prepare --verify` and by `prepare`.

Training must refuse the folder, or read the slices that were written. Afterwards `prepare` must make the folder whole again,
or refuse it.
"""

import hashlib
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from absl import logging

from benchmarks.soak import file_faults
from benchmarks.soak.tally import Plan, Tally
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import dataset_file, phantom, preparation, records, slice_source, verification
from ipmedgan_jax.imaging.settings import PreparationSettings

SETTINGS = PreparationSettings(
    *("ct", 32),
    fit="scale",
    resample_mm=0.0,
    validation_subjects=("sub-003",),
    test_subjects=("sub-004",),
)


def run(plan: Plan, kinds: Collection[str] = ()) -> Tally:
    """Injects faults into copies of one folder, of all kinds in turn or of some."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # `prepare` warns of each fault that it mends
    try:
        return _run(plan, sorted(kinds or FAULTS))
    finally:
        logging.set_verbosity(verbosity)


def _run(plan: Plan, names: Sequence[str]) -> Tally:
    tally, data = Tally(), Data(plan.folder)
    rng = np.random.default_rng(plan.seed)
    for i in range(plan.count):
        name = names[i % len(names)]
        folder = shutil.copytree(data.folder, plan.folder / "faulty")
        what = f"{name}: {FAULTS[name](data, folder, rng)}"
        try:
            outcome = data.outcome(folder)
        except Exception as error:  # any: it is what the soak looks for
            outcome = f"{type(error).__name__}: {str(error)[:200]}"
        tally.noticed += outcome == "noticed"
        tally.harmless += outcome == "harmless"
        if outcome not in ("noticed", "harmless"):
            tally.silent.append(f"fault {i}, {what}: {outcome}")
        shutil.rmtree(folder)
    return tally


class Data:
    """Phantoms that were prepared twice, with two settings, and a digest of the first folder's slices."""

    def __init__(self, folder: Path):
        self.folder, self.other = folder / "prepared", folder / "other"
        shape, spacing_mm = (64, 64), (4.0, 4.0, 4.0)
        self._paths = phantom.write_phantoms(
            folder / "scans", "ct", subjects=4, slices=3, seed=0, shape=shape, spacing_mm=spacing_mm
        )
        preparation.prepare(SETTINGS, self._paths, self.folder, progress=False)
        windows = {"window_hu": (-900.0, 1900.0)}
        preparation.prepare(PreparationSettings(**asdict(SETTINGS) | windows), self._paths, self.other, progress=False)
        self._whole = digest(self.folder)

    def outcome(self, folder: Path) -> str:
        """Reads a folder as training does, verifies it and prepares it again; returns what becomes of the fault."""
        noticed = False
        try:
            if digest(folder) != self._whole:
                return "training reads other slices"
        except UserError:
            noticed = True
        try:
            verified = bool(verification.verify(folder).problems)
        except UserError:
            verified = True
        if noticed and not verified:
            return "training refuses what --verify passes"
        try:
            preparation.prepare(SETTINGS, self._paths, folder, progress=False)
        except UserError:
            return "noticed" if noticed or verified else "prepare refuses what was not noticed before"
        if digest(folder) != self._whole:
            return "prepare leaves other slices"
        if verification.verify(folder).problems:
            return "prepare leaves damaged files"
        return "noticed" if noticed or verified else "harmless"


def digest(folder: Path) -> str:
    """Returns a digest of all that training reads from a folder: each record, and what is known of the volumes."""
    dataset = dataset_file.load_dataset(folder)
    volumes = {name: asdict(volume) for name, volume in dataset.volumes.items()}
    found = hashlib.sha256(repr([dataset.settings, volumes, dataset.fingerprint]).encode())
    for split in records.SPLITS:
        source = slice_source.SliceSource(folder, split)
        for index in range(len(source)):
            found.update(records.encode(source[index]))
    return found.hexdigest()


# ------------------------------------------------------------------ faults

Fault = Callable[[Data, Path, np.random.Generator], str]


def _one(paths: list[Path], rng: np.random.Generator) -> Path:
    return sorted(paths)[int(rng.integers(len(paths)))]


def _in(pattern: str, fault: Callable[[Path, np.random.Generator], str]) -> Fault:
    """Returns a fault of one file of the folder that the pattern matches."""
    return lambda data, folder, rng: fault(_one(list(folder.glob(pattern)), rng), rng)


def _from_other(*suffixes: str) -> Fault:
    """Returns a fault that takes files of a volume from the other preparation."""

    def fault(data: Data, folder: Path, rng: np.random.Generator) -> str:
        shard = _one(list(folder.glob("*/*.arrayrecord")), rng)
        for suffix in suffixes:
            path = shard.with_suffix(suffix)
            shutil.copy(data.other / path.relative_to(folder), path)
        return f"{', '.join(suffixes)} of {shard.stem} from another preparation"

    return fault


def _swap(*suffixes: str) -> Fault:
    """Returns a fault that swaps files of two volumes."""

    def fault(data: Data, folder: Path, rng: np.random.Generator) -> str:
        shards = sorted(folder.glob("*/*.arrayrecord"))
        first, second = (shards[int(i)] for i in rng.choice(len(shards), 2, replace=False))
        for suffix in suffixes:
            one, two = first.with_suffix(suffix), second.with_suffix(suffix)
            contents = one.read_bytes(), two.read_bytes()
            two.write_bytes(contents[0])
            one.write_bytes(contents[1])
        return f"{', '.join(suffixes)} of {first.stem} and {second.stem} swapped"

    return fault


def _other_dataset(data: Data, folder: Path, rng: np.random.Generator) -> str:
    shutil.copy(data.other / dataset_file.DATASET_FILE, folder)
    return "dataset.json of another preparation"


FAULTS: dict[str, Fault] = {
    **{f"shard {fault.__name__}": _in("*/*.arrayrecord", fault) for fault in file_faults.BYTES},
    **{f"receipt {fault.__name__}": _in("*/*.json", fault) for fault in file_faults.BYTES},
    **{f"dataset {fault.__name__}": _in("dataset.json", fault) for fault in file_faults.BYTES},
    "receipt field": _in("*/*.json", file_faults.change_field),
    "dataset field": _in("dataset.json", file_faults.change_field),
    "dataset of another preparation": _other_dataset,
    "shard of another preparation": _from_other(".arrayrecord"),
    "receipt of another preparation": _from_other(".json"),
    "volume of another preparation": _from_other(".arrayrecord", ".json"),
    "shards swapped": _swap(".arrayrecord"),
    "receipts swapped": _swap(".json"),
    "volumes swapped": _swap(".arrayrecord", ".json"),
}
