"""Run folders: locking, `config.json`, `data.json` (the training data), `checkpoints/`, and restoring the generator."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import jax
from absl import logging

from ipmedgan_jax.core import files, json_fields, links, provenance
from ipmedgan_jax.core.errors import UserError, reason
from ipmedgan_jax.core.user_paths import is_utf8, user_path
from ipmedgan_jax.data import training_data
from ipmedgan_jax.distributed import processes
from ipmedgan_jax.experiment import folder_lock
from ipmedgan_jax.experiment.build import Experiment, Inference, build_experiment, build_inference
from ipmedgan_jax.experiment.checkpoints import Checkpoints
from ipmedgan_jax.experiment.saved_config import (
    DATASET,
    LESION_SHAPES,
    RECORDED,
    RENAMED_SYSTEMS,
    VGG19_SOURCE,
    completed,
    differing_keys,
    from_json,
)
from ipmedgan_jax.experiment.settings import TrainingSettings
from ipmedgan_jax.systems.interface import System, Tree
from ipmedgan_jax.systems.state import init_generator

CONFIG_FILE = "config.json"
DATA_FILE = "data.json"

WRITTEN = ("checkpoints", "tensorboard", "examples", "evaluation", "nonfinite", "wandb")
"""Folders of a run's folder that are written to. A link in the place of one is refused; files are replaced, link or not."""

LEASE_S = 150
"""Seconds for which a file server may keep the locks of a machine that died."""

STALE_VIEW_S = 60
"""Seconds for which another machine may still see an older state of a folder."""


@contextlib.contextmanager
def lock_run(experiment: Experiment, workdir: Path) -> Iterator[Callable[[int | None], None]]:
    """Locks the folder against other runs, checks that a run in it has this config, and writes its JSON files.

    Yields a function for all processes to call before they save. It takes the step of the last checkpoint, and raises
    UserError if the folder is no longer in its place (`folder_lock.check_place`).

    `config.json` and `data.json` are written. A folder without a checkpoint has nothing to lose, so it accepts any config.
    Raises UserError, in all processes, if another run holds the lock, if the folder has a run of another config or cannot
    be written or has links in place of its own folders, or if the processes do not see the same folder.
    """
    with contextlib.ExitStack() as stack:
        holder = processes.gather(folder_lock.new_holder())[0]
        held: list[IO[str]] = []  # only in the first process
        processes.run_on_first(lambda: held.append(_lock_run(experiment, workdir, holder, stack)))
        processes.run_on_all(lambda: _check_shared(workdir, holder))
        yield lambda saved: processes.run_on_first(lambda: folder_lock.check_place(held[0], workdir, saved))


def _lock_run(experiment: Experiment, workdir: Path, holder: str, stack: contextlib.ExitStack) -> IO[str]:
    """Does the first process's part of `lock_run`: locks until `stack` is closed, returns the lock file.

    It holds `holder`, whose token tells the other processes that they see the same folder.
    """
    if not is_utf8(workdir):
        raise UserError(f"{workdir}: its name is not UTF-8, as the checkpoints' library needs; choose another --workdir")
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        links.refuse_links(workdir, WRITTEN)
        if (checkpoints := workdir / "checkpoints").exists() and not checkpoints.is_dir():
            raise UserError(f"{checkpoints}: not a folder, so it cannot be used for checkpoints; move it away")
        wait_s = LEASE_S if jax.process_count() > 1 else 0
        file = stack.enter_context(folder_lock.lock(workdir, holder, wait_s))
        if any(path.name.isdigit() for path in (workdir / "checkpoints").glob("*")):
            check_same_run(experiment, workdir)
        history = _add_to_history(workdir)
        files.write_json(workdir / CONFIG_FILE, json_fields.sealed(experiment.config | {provenance.KEY: history}))
        files.write_json(workdir / DATA_FILE, json_fields.sealed(experiment.dataset.training_data()))
        return file
    except OSError as error:
        raise UserError(f"{workdir}: cannot be written ({error.strerror}): choose another --workdir") from error


def _add_to_history(workdir: Path) -> list[dict[str, Any]]:
    """Returns the provenance of the run's starts so far and of this one; a start like the one before is left out."""
    earlier, now = [], provenance.provenance(jax.devices())
    with contextlib.suppress(FileNotFoundError, ValueError, AttributeError):
        earlier = json_fields.read(workdir / CONFIG_FILE, finite=False).get(provenance.KEY, [])
    same = bool(earlier) and {**earlier[-1], "date": ""} == {**now, "date": ""}
    return earlier if same else [*earlier, now]


def _check_shared(workdir: Path, holder: str) -> None:
    """Waits until this process sees this holder in the folder's lock. UserError if it does not within `STALE_VIEW_S`."""
    deadline = time.monotonic() + STALE_VIEW_S
    while True:
        with contextlib.suppress(OSError):
            if (workdir / folder_lock.LOCK_FILE).read_text() == holder:
                return
        if time.monotonic() > deadline:
            raise UserError(f"{workdir}: not the folder that process 0 has there; all processes must see one --workdir")
        time.sleep(0.5)


def read_config(workdir: Path) -> dict[str, Any]:
    """Returns a run's `config.json` as nested dicts, with the keys that it is too old for.

    Raises UserError if the file is missing, damaged, of a newer version, or changed since the run wrote it.
    """
    path = workdir / CONFIG_FILE
    try:
        saved = json_fields.read(path, finite=False)
        config = completed(saved, path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: not found; expected the folder of a run of python -m ipmedgan_jax.main") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({reason(error)})") from error
    try:
        json_fields.check_seal(saved)
    except ValueError as error:
        raise UserError(
            f"{path}: was changed since the run wrote it, and says no more how the run was trained; restore it, and give "
            "what may change as flags"
        ) from error
    return config


def read_experiment(workdir: Path, data_dir: str | None = None) -> Experiment:
    """Builds the experiment of the run in the folder; its data are in `data_dir`, by default where they were in training.

    Raises UserError if the config is missing, damaged or of another version, or cannot be run.
    """
    with _config_errors(workdir):
        saved = read_config(workdir)
        if data_dir:
            saved["data"]["dir"] = data_dir
        elif saved["data"]["dir"] and not user_path(saved["data"]["dir"]).is_dir():
            raise UserError(f"{saved['data']['dir']}: not found; say by --data_dir where the data of {workdir} are now")
        return build_experiment(from_json(saved))


def read_inference(workdir: Path) -> Inference:
    """Builds the parts of the run that filling scans needs. Raises UserError as `read_experiment` does."""
    with _config_errors(workdir):
        return build_inference(from_json(read_config(workdir)))


def read_training_data(workdir: Path) -> dict[str, Any]:
    """Returns a run's `data.json`, which describes its training scans; empty for a run older than that file."""
    path = workdir / DATA_FILE
    if not path.exists():
        return {}
    try:
        fields = json_fields.read(path)
        json_fields.check_seal(fields)
        return training_data.check({name: value for name, value in fields.items() if name != json_fields.SEAL})
    except (OSError, ValueError, UserError) as error:
        raise UserError(f"{path}: damaged ({reason(error)}); move it away to continue without it") from error


@contextlib.contextmanager
def _config_errors(workdir: Path) -> Iterator[None]:
    """Turns errors about a config's values into a UserError."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"{workdir / CONFIG_FILE}: damaged ({reason(error)})") from error


_SOURCES = {DATASET: "config.data.dir", LESION_SHAPES: "config.holes.lesions", VGG19_SOURCE: "config.vgg19.weights"}
"""The setting that names the files of each key of RECORDED."""


def check_same_run(experiment: Experiment, workdir: Path, *, resumes: bool = True) -> None:
    """Raises UserError if the run in the folder has another config or other data than the experiment.

    Keys that may change when a run resumes are not compared. Without `resumes`, for an evaluation, nor are the files that
    the training alone needs to be the same: evaluation draws no lesions, and reports which weights it scores with.
    """
    saved = read_config(workdir)
    if not resumes:
        saved = {key: value for key, value in saved.items() if key not in (LESION_SHAPES, VGG19_SOURCE)}
    before, now = saved["train"]["validation_slices"], experiment.config["train"]["validation_slices"]
    if resumes and before != now:
        logging.warning(
            "%s: train.validation_slices was %d and is %d: the scores of earlier checkpoints are of other slices, and the "
            "best of all may be misjudged",
            *(workdir, before, now),
        )
    if DATASET not in saved:
        logging.warning("%s: is older than fingerprints of data; whether it was trained on these is not known", workdir)
        saved[DATASET] = experiment.dataset.fingerprint
    if differing := differing_keys(saved, experiment.config):
        if differing == [DATASET]:
            raise UserError(
                f"{workdir} is a run on other data than {experiment.dataset.directory}; give its own with --config.data.dir "
                "(evaluate without --config: --data_dir), or choose another --workdir"
            )
        if set(differing) <= set(RECORDED):
            files = " and ".join(_SOURCES[key] for key in differing)
            raise UserError(
                f"{workdir}: {files} held something else when the run began; restore it, or choose another --workdir"
            )
        if RENAMED_SYSTEMS.get(experiment.name) == saved["system"]:
            raise UserError(
                f"{workdir} is a run of the system that was named {experiment.name} and is now {saved['system']}: resume it "
                f"with --config=...:{saved['system']}, or choose another --workdir for {experiment.name} of today"
            )
        raise UserError(f"{workdir} is the run of another config: {', '.join(differing)} differ; choose another --workdir")


def open_checkpoints(settings: TrainingSettings | Inference, workdir: Path, *, create: bool = True) -> Checkpoints:
    """Opens the run's `checkpoints/`. Without `create` nothing is written, and a missing folder raises UserError."""
    return Checkpoints(workdir / "checkpoints", keep=settings.keep, best=settings.best, create=create)


def chosen_step(checkpoints: Checkpoints, choice: str) -> int:
    """Returns the `best` step by validation score, the `latest` or, if it is a number, that step.

    The latest is the best if no step was validated. Raises UserError if there is no such checkpoint, or if damaged scores
    leave the best unknown.
    """
    steps = checkpoints.steps()
    if not steps:
        raise UserError(f"{checkpoints.directory.parent}: has no checkpoint yet; train it with python -m ipmedgan_jax.main")
    if choice == "best" and (best := checkpoints.best_step()) is not None:
        return best
    if choice in ("best", "latest"):
        return steps[-1]
    if int(choice) not in steps:
        raise UserError(f"{checkpoints.directory}: has no step {choice}; it has {', '.join(map(str, steps))}")
    return int(choice)


def restore_generator(
    system: System, image_size: int, *, uses_ema: bool, checkpoints: Checkpoints, step: int
) -> tuple[Tree, Tree]:
    """Returns the parameters and running statistics that fill images at test time; reads no other part of the checkpoint.

    Args:
      uses_ema: the run keeps moving averages of them (`train.ema`); these are restored.
    """
    params, statistics = generator_shapes(system, image_size)
    name = "average" if uses_ema else "generator"
    found = checkpoints.restore_part(step, {name: {"params": params, "statistics": statistics}})[name]
    return found["params"], found["statistics"]


def restore_for_inference(inference: Inference, workdir: Path, checkpoint: str) -> tuple[int, Tree, Tree]:
    """Restores the `best`, `latest` or a step's checkpoint; returns its step, and its network's parameters and statistics."""
    with open_checkpoints(inference, workdir, create=False) as checkpoints:
        step = chosen_step(checkpoints, checkpoint)
        params, statistics = restore_generator(
            inference.system,
            inference.preparation.image_size,
            uses_ema=inference.uses_ema,
            checkpoints=checkpoints,
            step=step,
        )
    return step, params, statistics


def generator_shapes(system: System, image_size: int) -> tuple[Tree, Tree]:
    """Returns the shapes and types of a generator's parameters and running statistics; computes nothing."""
    return jax.eval_shape(lambda: init_generator(system, jax.random.key(0), image_size))


def parameter_count(params: Tree) -> int:
    """Returns the number of scalars in a tree of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
