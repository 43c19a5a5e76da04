"""The same curves and pictures at Weights & Biases, if `train.wandb_project` names a project. Nothing of it can end a run.

The package `wandb` is imported only then. Its own settings decide where it sends to: WANDB_MODE=offline keeps all in the
run's folder.
"""

import importlib
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from ipmedgan_jax.core import files, regular_files
from ipmedgan_jax.core.errors import UserError, reason
from ipmedgan_jax.experiment.saved_config import without_folders

ID_FILE = "wandb_run_id"
"""File in a run's folder with the id of its run there, so that a resumed run goes on with the same curves."""

LONGEST_WAIT_S = 60.0
"""Seconds to wait at the end for what is not sent yet; `wandb sync` sends the rest."""


class WandbRun:
    """A run at Weights & Biases. The first error costs one warning and ends it; training goes on."""

    def __init__(self, module: Any, run: Any) -> None:
        self._module, self._run = module, run

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Sends the values of a step."""
        self._try(lambda: self._run.log({"step": step, **values}))

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Sends a picture, uint8 `[H, W, 3]` or `[H, W]`."""
        self._try(lambda: self._run.log({"step": step, name: self._module.Image(image)}))

    def close(self) -> None:
        """Ends it, when all is sent or after `LONGEST_WAIT_S`."""
        thread = threading.Thread(target=lambda: self._try(lambda: self._run.finish()), daemon=True)
        thread.start()
        thread.join(LONGEST_WAIT_S)
        if thread.is_alive():
            logging.warning("Weights & Biases: not all was sent within %.0f s; wandb sync sends the rest", LONGEST_WAIT_S)

    def _try(self, action: Callable[[], object]) -> None:
        if self._run is None:
            return
        try:
            action()
        except Exception as error:  # the package raises errors of many kinds; none is a reason to end a run
            logging.warning("Weights & Biases: %s; the run goes on without it", reason(error))
            self._run = None


def start(project: str, workdir: Path, config: Mapping[str, Any]) -> WandbRun | None:
    """Starts or resumes the run of a folder in a project; None without a project, or with a warning if it cannot start.

    Step numbers are sent as the value `step`, because a run that was killed repeats steps and the service refuses those.
    """
    if not project:
        return None
    try:
        module = importlib.import_module("wandb")
    except ImportError:
        logging.warning("train.wandb_project is %r, but wandb is not installed (pip install wandb): nothing is sent", project)
        return None
    try:
        run = module.init(
            project=project,
            id=_run_id(workdir),
            resume="allow",
            name=workdir.absolute().name,
            dir=str(workdir),
            config=without_folders(dict(config)),
        )
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
    except Exception as error:  # no network, no account, no right to write there
        logging.warning("Weights & Biases cannot be started (%s); the run goes on without it", reason(error))
        return None
    return WandbRun(module, run)


def _run_id(workdir: Path) -> str:
    """Returns the id in the run's folder; makes one if there is none, or none that an id can be."""
    path = workdir / ID_FILE
    with suppress(OSError, UserError, UnicodeDecodeError):
        if re.fullmatch(r"[a-z0-9]{8}", found := regular_files.read_text(path).strip()):
            return found
    made = secrets.token_hex(4)
    files.write_text(path, made + "\n")
    return made
