"""A run's Orbax checkpoints: each holds the training state, the input state and the validation scores of one step."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from ipmedgan_jax.core.errors import TRY_AGAIN, UserError

Tree = Any

HIGHER_IS_BETTER = frozenset({"ssim", "psnr", "uqi", "uqi_sewar", "dice", "sensitivity", "precision"})
"""Validation scores of which the highest is the best; the others are errors."""


WRITE_TIMEOUT_S = 600
"""Seconds that writing a checkpoint may take. If one of several processes cannot write, the others wait no longer."""

LOST_PROCESS_ERRORS = (jax.errors.JaxRuntimeError, TimeoutError)
"""Exceptions, in a run of several processes, when one of them was lost; the files are not at fault."""


class Checkpoints:
    """A run's folder `checkpoints/`: keeps the latest `keep`, and the best by the validation score `best`.

    A context manager. Writes are atomic: Orbax writes under a temporary name and renames.
    """

    def __init__(self, directory: Path, *, keep: int, best: str, create: bool = True):
        self.directory = directory.absolute()
        self._best = best
        latest = policies.LatestN(keep)
        best_one = policies.BestN(get_metric_fn=self._selection_score, n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy([latest, best_one]),
            best_fn=self._selection_score,  # without it Orbax does not write the scores
            enable_background_delete=False,
            async_options=ocp.AsyncOptions(timeout_secs=WRITE_TIMEOUT_S),
            create=create,
            cleanup_tmp_directories=create,
        )
        if not create and not self.directory.is_dir():
            raise UserError(f"{self.directory}: not found; --workdir must name a run of python -m ipmedgan_jax.main")
        try:
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        except (OSError, ValueError) as error:  # ValueError: Orbax reads every step's scores here
            raise UserError(f"{self.directory}: cannot be used for checkpoints ({_first_line(error)})") from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._manager.close()  # waits for checkpoints that are still being written
        except Exception as error:
            if kind is None:  # else the exception that is already being raised says more
                raise self._save_error(error) from error

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """Returns the step with the best validation score, or None if no step has one."""
        scored = {step: scores for step in self._manager.all_steps() if (scores := self.scores(step))}
        return max(scored, key=lambda step: self._selection_score(scored[step]), default=None)

    def _selection_score(self, scores: Mapping[str, float]) -> float:
        """Returns the score `best`, negated if it is an error: the highest one selects the best step."""
        return scores[self._best] if self._best in HIGHER_IS_BETTER else -scores[self._best]

    def scores(self, step: int) -> Mapping[str, float] | None:
        """Returns the validation scores saved with a step, or None if there are none."""
        metrics = self._manager.metrics(step)
        return metrics if metrics and self._best in metrics else None

    def save(self, step: int, state: Tree, input_state: Mapping[str, Any], scores: Mapping[str, float] | None) -> None:
        """Starts to save a checkpoint. Copies the arrays before it returns, so that training continues during the write.

        Does nothing if the step is saved already. Raises UserError if this checkpoint or the one before it cannot be
        written.
        """
        if step in self._manager.all_steps():
            return
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), input=ocp.args.JsonSave(dict(input_state)))
        try:
            self._manager.save(step, args=items, metrics=dict(scores) if scores else None, force=True)
        except Exception as error:  # many types; some come from the threads that wrote the checkpoint before
            raise self._save_error(error) from error

    def restore(self, step: int, like: Tree) -> tuple[Tree, dict[str, Any]]:
        """Returns the state and the input state of a step, bit-equal to the saved ones.

        The state has the shapes, types and shardings of `like`. Raises UserError if the checkpoint is damaged.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), input=ocp.args.JsonRestore())
        try:
            restored = self._manager.restore(step, args=items)
        except Exception as error:  # Orbax and TensorStore raise many types for a damaged file
            raise self._restore_error(step, error) from error
        return restored.state, restored.input

    def restore_part(self, step: int, like: dict[str, Any]) -> dict[str, Any]:
        """Returns the parts of the state that `like` names, on the first device; reads no other part.

        Raises UserError if the checkpoint is damaged.
        """
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), like)
        arguments = ocp.args.PyTreeRestore(
            item=abstract, restore_args=ocp.checkpoint_utils.construct_restore_args(abstract), partial_restore=True
        )
        try:
            with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
                return checkpointer.restore(self.directory / str(step) / "state", args=arguments)
        except Exception as error:
            raise self._restore_error(step, error) from error

    def _save_error(self, error: Exception) -> UserError:
        if isinstance(error, LOST_PROCESS_ERRORS) and jax.process_count() > 1 and not _out_of_memory(error):
            return UserError(f"another process was lost while a checkpoint was written ({_first_line(error)})", TRY_AGAIN)
        saved = self._manager.latest_step()
        problem = f"{self.directory}: cannot be written ({_first_line(error)})"
        return UserError(f"{problem}; make room, then start again: step {saved} is the last one saved")

    def _restore_error(self, step: int, error: Exception) -> UserError:
        if _out_of_memory(error):
            return UserError(f"{self.directory / str(step)}: not enough memory to read it ({_first_line(error)})")
        if isinstance(error, LOST_PROCESS_ERRORS) and jax.process_count() > 1:
            return UserError(f"another process was lost while a checkpoint was read ({_first_line(error)})", TRY_AGAIN)
        return UserError(
            f"{self.directory / str(step)}: damaged or of another system ({_first_line(error)}); move this folder away to "
            "resume from an earlier checkpoint"
        )


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
