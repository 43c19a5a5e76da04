"""The training behind an evaluated run: its config, its seed, and its last step."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.evaluation.evaluated_runs import Run
from ipmedgan_jax.experiment import run_folder
from ipmedgan_jax.experiment.saved_config import DATASET, differing_but_for_seed


@dataclass(frozen=True, eq=False)
class Training:
    """A run with its config, or the reason why that cannot be read, and its last step where its checkpoints are here."""

    run: Run
    config: dict[str, Any] | None
    reason: str
    last_step: int | None

    @property
    def seed(self) -> int | None:
        return self.config["seed"] if self.config else None


def read_training(run: Run) -> Training:
    """Reads the config of a run, or finds out why it cannot be read."""
    if not run.learns:
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


def why_different(first: Training, other: Training, *, free: Collection[str] = (), epochs_differ: bool = False) -> str:
    """Returns why two trainings of a system differ in more than their seed, or cannot be compared; empty if they do not.

    Args:
      free: keys of the config that may differ, too.
      epochs_differ: whether an epoch of the two has other numbers of steps, so that runs of equal epochs may, too.
    """
    if first.config is None or other.config is None:
        return first.reason or other.reason
    if keys := [key for key in differing_but_for_seed(first.config, other.config) if key not in free]:
        return f"other {', '.join(keys[:3])}" + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
    choices = [training.run.report.get("checkpoint") for training in (first, other)]  # None before it was recorded
    if None not in choices and choices[0] != choices[1]:
        return f"scored at the checkpoint {choices[1]}, not {choices[0]}"
    steps = {first.last_step, other.last_step}
    in_epochs = not (first.config["train"]["steps"] or first.config["train"]["images"])
    if len(steps) > 1 and None not in steps and not (epochs_differ and in_epochs):
        return f"trained for {other.last_step} steps, not {first.last_step}"
    return ""
