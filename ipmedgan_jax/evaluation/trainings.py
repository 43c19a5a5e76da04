"""The training behind an evaluated run: its config, its seed, and its last step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.evaluation.evaluated_runs import Run
from ipmedgan_jax.experiment import run_folder
from ipmedgan_jax.experiment.saved_config import DATASET
from ipmedgan_jax.systems.classical import FILLS


@dataclass(frozen=True, eq=False)
class Training:
    """A run with its config, or the reason why that cannot be read, and its last step where its checkpoints are here."""

    run: Run
    config: dict[str, Any] | None
    reason: str
    last_step: int | None

    @property
    def learns(self) -> bool:
        return self.run.system not in FILLS

    @property
    def seed(self) -> int | None:
        return self.config["seed"] if self.config else None


def read_training(run: Run) -> Training:
    """Reads the config of a run, or finds out why it cannot be read."""
    if run.system in FILLS:
        return Training(run, None, "it does not learn", None)
    try:
        config = run_folder.read_config(run.folder)
    except UserError as error:
        reason = str(error).replace(str(run.folder), run.name)
        return Training(run, None, reason, None)
    steps = [int(path.name) for path in (run.folder / "checkpoints").glob("*") if path.name.isdigit()]
    if DATASET not in config:
        return Training(run, None, f"{run.name}/{run_folder.CONFIG_FILE}: names no training data", None)
    return Training(run, config, "", max(steps, default=None))


def other_keys(keys: Sequence[str]) -> str:
    """Returns the reason why two trainings differ, `other train.ema`; three keys are named at most."""
    return f"other {', '.join(keys[:3])}" + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
