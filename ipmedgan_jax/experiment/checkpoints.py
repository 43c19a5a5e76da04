"""Checkpoints of a run through Orbax: the training state, the input's place, and the validation score of that step."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from ipmedgan_jax.core.errors import TRY_AGAIN, UserError

Tree = Any

HIGHER_IS_BETTER = frozenset({"ssim", "psnr", "uqi", "uqi_sewar", "dice", "sensitivity", "precision"})
"""Validation scores that rise as fills get better; the others are errors."""


WRITING_S = 600
"""So long a checkpoint may take to be written; of several processes the others wait no longer for one that cannot."""

LOST = (jax.errors.JaxRuntimeError, TimeoutError)
"""What is raised, with several processes, where one of them was lost: no fault of the files."""


class Checkpoints:
    """The folder `checkpoints/` of a run: the latest few, and the best by one validation score. A context manager.

    A checkpoint is complete or absent: Orbax writes under a temporary name and renames.
    """

    def __init__(self, directory: Path, *, keep: int, best: str, create: bool = True):
        self.directory = directory.absolute()
        self._best = best
        latest = policies.LatestN(keep)
        best_one = policies.BestN(get_metric_fn=self._goodness, n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy([latest, best_one]),
            best_fn=self._goodness,  # without it Orbax does not write the scores
            enable_background_delete=False,
            async_options=ocp.AsyncOptions(timeout_secs=WRITING_S),
            create=create,
            cleanup_tmp_directories=create,
        )
        if not create and not self.directory.is_dir():
            raise UserError(f"{self.directory}: not found; --workdir must name a run of ipmedgan_jax.main")
        try:
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        except (OSError, ValueError) as error:  # ValueError: it reads every step's scores at once
            raise UserError(f"{self.directory}: cannot be used for checkpoints ({_first_line(error)})") from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._manager.close()  # waits for what is still being written
        except Exception as error:
            if kind is None:  # else what is already on its way says more
                raise self._unsaved(error) from error

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The step with the best validation score; None where none was scored."""
        scored = {step: scores for step in self._manager.all_steps() if (scores := self.scores(step))}
        return max(scored, key=lambda step: self._goodness(scored[step]), default=None)

    def _goodness(self, scores: Mapping[str, float]) -> float:
        return scores[self._best] if self._best in HIGHER_IS_BETTER else -scores[self._best]

    def scores(self, step: int) -> Mapping[str, float] | None:
        """The validation scores saved with a step, if any."""
        metrics = self._manager.metrics(step)
        return metrics if metrics and self._best in metrics else None

    def save(self, step: int, state: Tree, input_state: Mapping[str, Any], scores: Mapping[str, float] | None) -> None:
        """Starts saving; the arrays are copied before it returns, the writing goes on beside the training.

        UserError where this, or what was saved before it, cannot be written.
        """
        if step in self._manager.all_steps():
            return
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), input=ocp.args.JsonSave(dict(input_state)))
        try:
            self._manager.save(step, args=items, metrics=dict(scores) if scores else None, force=True)
        except Exception as error:  # of many kinds, some from the threads that wrote the last one
            raise self._unsaved(error) from error

    def restore(self, step: int, like: Tree) -> tuple[Tree, dict[str, Any]]:
        """State of the shapes, types and places of `like`, and the input's state, bit for bit as they were saved."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), input=ocp.args.JsonRestore())
        try:
            restored = self._manager.restore(step, args=items)
        except Exception as error:  # Orbax and TensorStore raise many kinds for a damaged file
            raise self._damaged(step, error) from error
        return restored.state, restored.input

    def restore_part(self, step: int, like: dict[str, Any]) -> dict[str, Any]:
        """Only the named parts of the state, to the first device; the rest is not read."""
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), like)
        arguments = ocp.args.PyTreeRestore(
            item=abstract, restore_args=ocp.checkpoint_utils.construct_restore_args(abstract), partial_restore=True
        )
        try:
            with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
                return checkpointer.restore(self.directory / str(step) / "state", args=arguments)
        except Exception as error:
            raise self._damaged(step, error) from error

    def _unsaved(self, error: Exception) -> UserError:
        if isinstance(error, LOST) and jax.process_count() > 1 and not _out_of_memory(error):
            return UserError(f"another process was lost while a checkpoint was written ({_first_line(error)})", TRY_AGAIN)
        done = self._manager.latest_step()
        what = f"{self.directory}: cannot be written ({_first_line(error)})"
        return UserError(f"{what}; make room, then start again: step {done} is the last one saved")

    def _damaged(self, step: int, error: Exception) -> UserError:
        if _out_of_memory(error):
            return UserError(f"{self.directory / str(step)}: not enough memory to read it ({_first_line(error)})")
        if isinstance(error, LOST) and jax.process_count() > 1:
            return UserError(f"another process was lost while a checkpoint was read ({_first_line(error)})", TRY_AGAIN)
        return UserError(
            f"{self.directory / str(step)}: damaged or of another system ({_first_line(error)}); move this folder away to go "
            "on from an earlier checkpoint"
        )


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
