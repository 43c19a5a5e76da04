"""A run's Orbax checkpoints: each holds the training state, the input state and the validation scores of one step."""

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint import checkpoint_managers as policies

from ipmedgan_jax.core.errors import TRY_AGAIN, UserError, reason
from ipmedgan_jax.distributed import processes
from ipmedgan_jax.experiment import checkpoint_digests, checkpoint_folder, checkpoint_manager, event_loops
from ipmedgan_jax.experiment.checkpoint_folder import LOST_PROCESS_ERRORS, DamagedCheckpoint, StepFolder
from ipmedgan_jax.experiment.checkpoint_scores import Scores

Tree = Any


class DamagedChoice(UserError):
    """The chosen checkpoint is damaged. `problem` is the message without its advice, for commands without --checkpoint."""

    def __init__(self, problem: str, advice: str):
        super().__init__(f"{problem}; {advice}")
        self.problem = problem


class Checkpoints:
    """A run's folder `checkpoints/`: keeps the latest `keep`, and the best by the validation score `best`.

    A context manager. Writes are atomic and synced: Orbax writes under a temporary name and renames. Each checkpoint has
    digests, which are compared whenever a part of it is read. The first checkpoint that a process writes is read back.
    """

    def __init__(self, directory: Path, *, keep: int, best: str, create: bool = True):
        self.directory = directory.absolute()
        self._best = best
        self._was_read_back = False
        self._scores = Scores(best, self._folder)
        self._names = checkpoint_manager.StepNames()
        latest = policies.LatestN(keep)
        best_one = policies.BestN(get_metric_fn=self._scores.selection_score, n=1, keep_checkpoints_without_metrics=False)
        lost = checkpoint_manager.Keep(self._scores.is_lost)  # one of them may be the best
        linked = checkpoint_manager.Keep(lambda step: (self.directory / str(step)).is_symlink())  # not ours to delete
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy([latest, best_one, lost, linked]),
            best_fn=self._scores.selection_score,  # without it Orbax does not write the scores
            enable_background_delete=False,
            async_options=ocp.AsyncOptions(timeout_secs=checkpoint_manager.WRITE_TIMEOUT_S),
            create=create,
            cleanup_tmp_directories=create,
            step_name_format=self._names,
            temporary_path_class=checkpoint_manager.SyncedPath,
        )
        if not create and not self.directory.is_dir():
            raise UserError(f"{self.directory}: not found; expected the folder of a run of python -m ipmedgan_jax.main")
        with contextlib.ExitStack() as stack:
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
                self._plain = stack.enter_context(checkpoint_manager.plain_path(self.directory))
                stack.enter_context(event_loops.waiting_for_tasks())
                stack.enter_context(checkpoint_manager.without_orbax_tracebacks())
                self._manager = checkpoint_manager.Manager(self._plain, options, self.scores)
            except (OSError, ValueError) as error:
                raise UserError(f"{self.directory}: cannot be used for checkpoints ({reason(error)})") from error
            self._unmerged = stack.enter_context(checkpoint_manager.watch_for_unmerged())
            self._stack = stack.pop_all()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stack:
            try:
                self._manager.close()  # waits for checkpoints that are still being written
            except Exception as error:
                if kind is None:  # else the exception that is already being raised says more
                    raise self._save_error(error) from error
            if kind is None:
                self._check_merged()

    def steps(self) -> list[int]:
        """Returns the steps of all checkpoints, damaged ones too, in order."""
        return sorted(self._manager.all_steps())

    def latest_step(self) -> int | None:
        """Returns the step of the latest checkpoint, which may be damaged; None without any."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """Returns the step with the best validation score, or None if no step has a finite one.

        Raises UserError if the scores of a step are lost: that step may be the best.
        """
        return self._scores.best_step(self.steps())

    def scores(self, step: int) -> Mapping[str, float] | None:
        """Returns the validation scores saved with a step, or None if there are none, or if they are lost."""
        return self._scores.of(step)

    def _folder(self, step: int) -> StepFolder:
        return StepFolder(self.directory / str(step), self._plain / str(step))

    def save(self, step: int, state: Tree, input_state: Mapping[str, Any], scores: Mapping[str, float] | None) -> None:
        """Starts to save a checkpoint. Copies the arrays before it returns, so that training continues during the write.

        The first call returns only after it has read the checkpoint back. Does nothing if the step is saved already. Scores
        without a finite `best` are not saved: the checkpoint counts as one without validation.

        Raises UserError if this checkpoint or the one before it cannot be written or read.
        """
        if step in self._manager.all_steps():
            return
        if scores and not math.isfinite(scores[self._best]):
            score = scores[self._best]
            logging.warning(
                "validation  step %d: %s is %s; this checkpoint cannot become the best one", step, self._best, score
            )
            scores = None
        scores = dict(scores) if scores else None
        self._scores.add(step, scores)
        record = checkpoint_digests.make(step, state, input_state, scores)
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            input=ocp.args.JsonSave(dict(input_state)),
            **{checkpoint_digests.ITEM: ocp.args.JsonSave(record.as_json())},
        )
        try:
            self._manager.save(step, args=items, metrics=scores, force=True)
            self._check_merged()
            if not self._was_read_back:
                self.wait()
                processes.run_on_all(lambda: self._read_back(record, state))
                self._was_read_back = True
        except UserError:
            raise
        except Exception as error:  # many types; some come from the threads that wrote the checkpoint before
            raise self._save_error(error) from error

    def wait(self) -> None:
        """Returns when the checkpoint that `save` began is written. Raises UserError if it cannot be."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._save_error(error) from error
        self._check_merged()

    def _check_merged(self) -> None:
        """Raises UserError if Orbax wrote a checkpoint without the index of its arrays."""
        if self._unmerged:
            warning = self._unmerged.pop()
            raise UserError(f"{self.directory}: Orbax wrote a checkpoint without its index ({warning}); {_ELSEWHERE}")

    def _read_back(self, record: checkpoint_digests.Record, state: Tree) -> None:
        """Reads the checkpoint of the record into the host's memory. Raises UserError unless it has the bits of `state`."""

        def arguments(leaf: Any) -> ocp.RestoreArgs:
            if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                return ocp.ArrayRestoreArgs(sharding=jax.sharding.SingleDeviceSharding(jax.local_devices()[0]))
            return ocp.RestoreArgs(restore_type=np.ndarray)

        folder = self._folder(record.step)
        try:
            if folder.record() != record:
                raise UserError(f"{folder.path}: the digests were read back with other values")
            folder.read_part(state, jax.tree.map(arguments, state), record)
            folder.input_state(record)
        except DamagedCheckpoint as error:
            raise UserError(f"{error}, when it was read back; {_ELSEWHERE}") from error

    def restore(self, step: int, like: Tree) -> tuple[Tree, dict[str, Any]]:
        """Returns the state and the input state of a step, bit-equal to the saved ones. Waits for no other process.

        Args:
          like: the shapes, types and shardings of the state, on devices of this process.

        Raises:
          DamagedCheckpoint: a part of the checkpoint is not the one that was saved.
          UserError: the state is of another system, there is too little memory, or another process was lost.
        """
        folder = self._folder(step)
        record = folder.record()
        restored = folder.read_state(like, record), folder.input_state(record)
        _say_without_digests(folder, record)
        return restored

    def restore_newest(self, like: Tree) -> tuple[int, Tree, dict[str, Any]] | None:
        """Returns step, state and input state of the newest checkpoint that is whole in all processes; None without any.

        Newer ones are damaged, and moved to `damaged/`. All processes must call this; all use the same step.

        Raises UserError, in all processes, if no checkpoint is whole (nothing is moved then), or for another reason that
        `restore` names.
        """
        damaged: dict[int, str] = {}
        for step in reversed(processes.gather(self.steps())[0]):
            restored, problem = self._try_restore(step, like)
            problems = {rank: found for rank, found in enumerate(processes.gather(problem)) if found}
            if restored and not problems:
                self._set_aside(damaged, step)
                return step, *restored
            del restored  # before the next one is read
            for rank, (message, exit_code) in problems.items():
                message = f"process {rank}: {message}" if jax.process_count() > 1 else message
                if exit_code is not None:
                    raise UserError(message, exit_code)
                damaged.setdefault(step, message)
        if damaged:
            newest = next(iter(damaged.values()))
            raise UserError(f"{newest}; no checkpoint of this run is whole, and none was moved; {_ELSEWHERE}")
        return None

    def _try_restore(self, step: int, like: Tree) -> tuple[Any, tuple[str, int | None] | None]:
        """Returns a step's states, or the message of the UserError with its exit code, None if the step is damaged."""
        try:
            return self.restore(step, like), None
        except DamagedCheckpoint as error:
            return None, (str(error), None)
        except UserError as error:
            return None, (str(error), error.exit_code)

    def _set_aside(self, damaged: Mapping[int, str], step: int) -> None:
        """Moves damaged checkpoints to `damaged/`, and says so; the run uses `step` instead."""
        if not damaged:
            return

        def move() -> None:
            for other, message in damaged.items():
                try:
                    target = self._folder(other).set_aside()
                except OSError as error:
                    raise UserError(f"{message}, and cannot be moved away ({reason(error)})") from error
                logging.warning("%s; moved to %s, step %d is used instead", message, target, step)

        processes.run_on_first(move)
        # A file server may show a moved folder to another process for a while.
        self._names.hidden.update(damaged)
        self._manager.reload()

    def restore_part(self, step: int, like: dict[str, Any]) -> dict[str, Any]:
        """Returns the parts of the state that `like` names, on the first device; reads no other part, and changes nothing.

        Raises UserError if the checkpoint is damaged; it names another one that is whole.
        """
        try:
            return self._read_part(step, like)
        except DamagedCheckpoint as error:
            whole = next((other for other in reversed(self.steps()) if other != step and self._is_whole(other, like)), None)
            advice = "no other one of this run is whole" if whole is None else f"--checkpoint={whole} takes a whole one"
            raise DamagedChoice(str(error), advice) from error

    def _read_part(self, step: int, like: dict[str, Any]) -> dict[str, Any]:
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), like)
        folder = self._folder(step)
        record = folder.record()
        found = folder.read_part(abstract, ocp.checkpoint_utils.construct_restore_args(abstract), record)
        _say_without_digests(folder, record)
        return found

    def _is_whole(self, step: int, like: dict[str, Any]) -> bool:
        with contextlib.suppress(UserError):
            self._read_part(step, like)
            return True
        return False

    def _save_error(self, error: Exception) -> UserError:
        if (
            isinstance(error, LOST_PROCESS_ERRORS)
            and jax.process_count() > 1
            and not checkpoint_folder.is_out_of_memory(error)
        ):
            return UserError(f"another process was lost while a checkpoint was written ({reason(error)})", TRY_AGAIN)
        saved = self._manager.latest_step()
        problem = f"{self.directory}: cannot be written ({reason(error)})"
        advice = "make room" if any(word in str(error) for word in _NO_ROOM) else "mend that"
        last = "nothing was saved yet" if saved is None else f"step {saved} is the last one saved"
        return UserError(f"{problem}; {advice}, then start again: {last}")


_NO_ROOM = ("No space left", "Disk quota")
"""What the system says of a full disk; TensorStore's messages hold it too."""

_ELSEWHERE = "choose another --workdir"


def _say_without_digests(folder: StepFolder, record: checkpoint_digests.Record | None) -> None:
    """Says of a checkpoint, which was read, that the version that wrote it wrote no digests."""
    if record is None:
        logging.info("%s: of a version that wrote no digests; damage in it may pass unnoticed", folder.path)
