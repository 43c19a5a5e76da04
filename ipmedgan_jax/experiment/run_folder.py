"""A run's folder: `config.json`, `data.json` (what it was trained on), `checkpoints/`; whose it is, and its generator."""

import contextlib
import fcntl
import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import jax
from absl import logging

from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.distributed import processes
from ipmedgan_jax.experiment.build import Experiment, Inference, build, build_inference
from ipmedgan_jax.experiment.checkpoints import Checkpoints
from ipmedgan_jax.experiment.saved_config import DATASET, differing_keys, from_json, with_added_keys
from ipmedgan_jax.experiment.settings import TrainingSettings
from ipmedgan_jax.systems.interface import System, Tree
from ipmedgan_jax.systems.update import init_generator

CONFIG_FILE = "config.json"
DATA_FILE = "data.json"

LEASE_S = 150
"""How long a file server may keep the locks of a machine that died."""

SEEN_S = 60
"""How long another machine may go on seeing an older state of a folder."""


@contextlib.contextmanager
def lock_run(experiment: Experiment, workdir: Path) -> Iterator[None]:
    """Keeps other processes from training in the folder; writes `config.json` and `data.json`, or checks that the run
    there is this config's.

    A folder without a checkpoint has nothing to lose: it takes any config.
    """
    with contextlib.ExitStack() as stack:
        token = processes.gather(secrets.token_hex(8))[0]
        processes.run_on_first(lambda: _lock_run(experiment, workdir, token, stack))
        processes.run_on_all(lambda: _check_shared(workdir, token))
        yield


def _lock_run(experiment: Experiment, workdir: Path, token: str, stack: contextlib.ExitStack) -> None:
    """The same, until the stack is closed; of several processes the first does it for all, and leaves the token there."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = stack.enter_context((workdir / "lock").open("a+"))
        _lock(lock, workdir)
        lock.truncate(0)
        lock.write(token)
        lock.flush()
        if any(each.name.isdigit() for each in (workdir / "checkpoints").glob("*")):
            check_same_run(experiment, workdir)
        files.write_json(workdir / CONFIG_FILE, experiment.config)
        files.write_json(workdir / DATA_FILE, experiment.dataset.training_data())
    except OSError as error:
        raise UserError(f"{workdir}: cannot be written ({error.strerror}): choose another --workdir") from error


def _check_shared(workdir: Path, token: str) -> None:
    """UserError where this process sees another folder than the one with the token."""
    deadline = time.monotonic() + SEEN_S
    while True:
        with contextlib.suppress(OSError):
            if (workdir / "lock").read_text() == token:
                return
        if time.monotonic() > deadline:
            raise UserError(f"{workdir}: not the folder that process 0 has there; all processes must see one --workdir")
        time.sleep(0.5)


def _lock(file: IO[str], workdir: Path) -> None:
    """Locks the open file until it is closed; UserError where another run has it.

    A run of several machines waits for a while: a file server keeps the lock of a machine that died.
    """
    deadline = time.monotonic() + (LEASE_S if jax.process_count() > 1 else 0)
    try:
        while True:
            try:
                # Not filelock: where there are no locks it leaves a file, which outlives a killed process.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(2)
    except BlockingIOError as error:
        raise UserError(f"{workdir}: another process is training there; wait for it, or choose another --workdir") from error
    except OSError as error:
        logging.warning("%s: this file system has no locks (%s); start no second process there", workdir, error.strerror)


def read_config(workdir: Path) -> dict[str, Any]:
    """The nested dict of a run's `config.json`."""
    path = workdir / CONFIG_FILE
    try:
        saved = json.loads(path.read_text())
        if not isinstance(saved, dict):
            raise ValueError("not a JSON object")
        return with_added_keys(saved)
    except FileNotFoundError as error:
        raise UserError(f"{path}: not found; --workdir must name a run of ipmedgan_jax.main") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error})") from error


def read_experiment(workdir: Path, data_dir: str | None = None) -> Experiment:
    """What the run in the folder was built from; its data are in `data_dir`, or where they were."""
    with _of_this_version(workdir):
        saved = read_config(workdir)
        if data_dir:
            saved["data"]["dir"] = data_dir
        return build(from_json(saved))


def read_inference(workdir: Path) -> Inference:
    """What its generator needs to fill scans."""
    with _of_this_version(workdir):
        return build_inference(from_json(read_config(workdir)))


def read_training_data(workdir: Path) -> dict[str, Any]:
    """The training scans of a run, by its `data.json`; empty where it is older than that file."""
    path = workdir / DATA_FILE
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); move it away to go on without what it says") from error


@contextlib.contextmanager
def _of_this_version(workdir: Path) -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{workdir / CONFIG_FILE}: of another version of ipmedgan_jax ({error}); give --config too"
        ) from error


def check_same_run(experiment: Experiment, workdir: Path) -> None:
    """Raises UserError where the run in the folder is of another config than this."""
    if differing := differing_keys(read_config(workdir), experiment.config):
        if differing == [DATASET]:
            raise UserError(
                f"{workdir} is a run on other data than {experiment.dataset.directory}; give its own with --config.data.dir, "
                "or choose another --workdir"
            )
        raise UserError(f"{workdir} is the run of another config: {', '.join(differing)} differ; choose another --workdir")


def open_checkpoints(settings: TrainingSettings | Inference, workdir: Path, *, create: bool = True) -> Checkpoints:
    return Checkpoints(workdir / "checkpoints", keep=settings.keep, best=settings.best, create=create)


def chosen_step(checkpoints: Checkpoints, choice: str) -> int:
    """The `best` step by validation, or the `latest`; the latest too where none was validated. UserError without a step."""
    latest, best = checkpoints.latest_step(), checkpoints.best_step()
    if latest is None:
        raise UserError(f"{checkpoints.directory.parent}: has no checkpoint yet; train it with python -m ipmedgan_jax.main")
    return latest if choice == "latest" or best is None else best


def restore_generator(
    system: System, image_size: int, *, uses_ema: bool, checkpoints: Checkpoints, step: int
) -> tuple[Tree, Tree]:
    """Parameters and running statistics that fill images at test; nothing else of the checkpoint is read.

    Args:
      averaged: the run keeps moving averages of them (`train.ema`), which are then what is restored.
    """
    params, statistics = jax.eval_shape(lambda: init_generator(system, jax.random.key(0), image_size))
    name = "average" if uses_ema else "generator"
    found = checkpoints.restore_part(step, {name: {"params": params, "statistics": statistics}})[name]
    return found["params"], found["statistics"]


def parameter_count(params: Tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))
