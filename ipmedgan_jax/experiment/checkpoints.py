"""A run's Orbax checkpoints: each holds the training state, the input state and the validation scores of one step."""

import contextlib
import json
import logging as python_logging
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint import checkpoint_managers as policies

from ipmedgan_jax.core.errors import TRY_AGAIN, UserError, reason

Tree = Any

HIGHER_IS_BETTER = frozenset({"ssim", "psnr", "uqi", "uqi_sewar", "dice", "sensitivity", "precision"})
"""Validation scores of which the highest is the best; the others are errors."""

WRITE_TIMEOUT_S = 600
"""Seconds that writing a checkpoint may take. If one of several processes cannot write, the others wait no longer."""

LOST_PROCESS_ERRORS = (jax.errors.JaxRuntimeError, TimeoutError)
"""Exceptions, in a run of several processes, when one of them was lost; the files are not at fault."""

WILDCARDS = frozenset("*?[]\\")
"""Characters for which Orbax takes the path of a checkpoint for a pattern of paths, and then misses or mixes up its parts."""


class Checkpoints:
    """A run's folder `checkpoints/`: keeps the latest `keep`, and the best by the validation score `best`.

    A context manager. Writes are atomic: Orbax writes under a temporary name and renames. The first checkpoint that it
    writes is read back.
    """

    def __init__(self, directory: Path, *, keep: int, best: str, create: bool = True):
        self.directory = directory.absolute()
        self._best = best
        self._was_read_back = False
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
        with contextlib.ExitStack() as stack:
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
                self._plain = stack.enter_context(_plain_path(self.directory))
                self._manager = ocp.CheckpointManager(self._plain, options=options)
            except (OSError, ValueError) as error:  # ValueError: Orbax reads every step's scores here
                if damaged := _damaged_scores(self.directory):
                    raise UserError(f"{damaged}: damaged; move {damaged.parents[1]} away") from error
                raise UserError(f"{self.directory}: cannot be used for checkpoints ({reason(error)})") from error
            self._unmerged = stack.enter_context(_watch_for_unmerged())
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

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """Returns the step with the best validation score, or None if no step has a finite one."""
        scored = {step: scores for step in self._manager.all_steps() if (scores := self.scores(step))}
        finite = {step: scores for step, scores in scored.items() if math.isfinite(scores[self._best])}
        return max(finite, key=lambda step: self._selection_score(finite[step]), default=None)

    def _selection_score(self, scores: Mapping[str, float]) -> float:
        """Returns the score `best`, negated if it is an error: the highest one selects the best step.

        A score that is not finite becomes the lowest of all: every comparison with NaN is false, so NaN would win or lose by
        its place in the list.
        """
        score = scores[self._best]
        if not math.isfinite(score):
            return -math.inf
        return score if self._best in HIGHER_IS_BETTER else -score

    def scores(self, step: int) -> Mapping[str, float] | None:
        """Returns the validation scores saved with a step, or None if there are none."""
        metrics = self._manager.metrics(step)
        return metrics if metrics and self._best in metrics else None

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
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), input=ocp.args.JsonSave(dict(input_state)))
        try:
            self._manager.save(step, args=items, metrics=dict(scores) if scores else None, force=True)
            self._check_merged()
            if not self._was_read_back:
                self._manager.wait_until_finished()
                self._check_merged()
                self._read_back(step, state)
                self._was_read_back = True
        except UserError:
            raise
        except Exception as error:  # many types; some come from the threads that wrote the checkpoint before
            raise self._save_error(error) from error

    def _check_merged(self) -> None:
        """Raises UserError if Orbax wrote a checkpoint without the index of its arrays."""
        if self._unmerged:
            warning = self._unmerged.pop()
            raise UserError(f"{self.directory}: Orbax wrote a checkpoint without its index ({warning}); {_ELSEWHERE}")

    def _read_back(self, step: int, state: Tree) -> None:
        """Reads the checkpoint of a step into the host's memory. Raises UserError unless it has the bits of `state`."""

        def arguments(leaf: Any) -> ocp.RestoreArgs:
            if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                return ocp.ArrayRestoreArgs(sharding=leaf.sharding)
            return ocp.RestoreArgs(restore_type=np.ndarray)

        read = self._restore_tree(step, state, jax.tree.map(arguments, state))
        for (path, saved), found in zip(jax.tree.leaves_with_path(state), jax.tree.leaves(read), strict=True):
            if not _have_same_bits(saved, found):
                name = jax.tree_util.keystr(path)
                raise UserError(f"{self.directory / str(step)}: {name} was read back with other values; {_ELSEWHERE}")

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
        return self._restore_tree(step, abstract, ocp.checkpoint_utils.construct_restore_args(abstract))

    def _restore_tree(self, step: int, like: Tree, restore_args: Tree) -> Tree:
        """Returns the parts of the state that `like` names, read as `restore_args` say. UserError if that fails."""
        arguments = ocp.args.PyTreeRestore(item=like, restore_args=restore_args, partial_restore=True)
        try:
            with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
                return checkpointer.restore(self._plain / str(step) / "state", args=arguments)
        except Exception as error:
            raise self._restore_error(step, error) from error

    def _save_error(self, error: Exception) -> UserError:
        if isinstance(error, LOST_PROCESS_ERRORS) and jax.process_count() > 1 and not _out_of_memory(error):
            return UserError(f"another process was lost while a checkpoint was written ({reason(error)})", TRY_AGAIN)
        saved = self._manager.latest_step()
        problem = f"{self.directory}: cannot be written ({reason(error)})"
        return UserError(f"{problem}; make room, then start again: step {saved} is the last one saved")

    def _restore_error(self, step: int, error: Exception) -> UserError:
        if _out_of_memory(error):
            return UserError(f"{self.directory / str(step)}: not enough memory to read it ({reason(error)})")
        if isinstance(error, LOST_PROCESS_ERRORS) and jax.process_count() > 1:
            return UserError(f"another process was lost while a checkpoint was read ({reason(error)})", TRY_AGAIN)
        problem = f"{self.directory / str(step)}: damaged or of another system ({_restore_reason(error)})"
        return UserError(f"{problem}; move this folder away to resume from an earlier checkpoint")


_ELSEWHERE = "choose another --workdir"

_ARRAY_ERRORS = ("DATA_LOSS", "FAILED_PRECONDITION", "NOT_FOUND", "OUT_OF_RANGE", "Encountered error while reading array")
"""Beginnings of TensorStore's and Orbax's messages about arrays that are missing or cut short."""


def _restore_reason(error: Exception) -> str:
    if isinstance(error, KeyError | FileNotFoundError):
        return "a part is missing"
    return "an array is missing or incomplete" if str(error).startswith(_ARRAY_ERRORS) else reason(error)


def _damaged_scores(directory: Path) -> Path | None:
    """Returns the first file of scores in a folder of checkpoints that is not JSON, if there is one."""
    for path in sorted(directory.glob("*/metrics/metrics")):
        try:
            json.loads(path.read_bytes())
        except ValueError:
            return path
    return None


@contextlib.contextmanager
def _plain_path(directory: Path) -> Iterator[Path]:
    """Yields a path of the folder without `WILDCARDS`: its own, or that of a temporary link to it."""
    if not WILDCARDS & set(str(directory)):
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="ipmedgan-") as folder:
        if WILDCARDS & set(folder):
            raise UserError(f"{directory}: its name and that of TMPDIR have one of * ? [ ] \\ in them; rename one of them")
        link = Path(folder) / "checkpoints"
        link.symlink_to(directory)
        yield link


@contextlib.contextmanager
def _watch_for_unmerged() -> Iterator[list[str]]:
    """Yields a list that receives Orbax's warnings that it wrote a checkpoint without the index of its arrays."""
    found: list[str] = []

    class Watch(python_logging.Handler):
        def emit(self, record: python_logging.LogRecord) -> None:
            if "Skipping merge" in str(record.msg):
                found.append(" ".join(record.getMessage().split()))

    watch = Watch(python_logging.WARNING)
    logging.get_absl_logger().addHandler(watch)
    try:
        yield found
    finally:
        logging.get_absl_logger().removeHandler(watch)


def _have_same_bits(a: Any, b: Any) -> bool:
    """Whether two arrays, or two arrays of JAX keys, are equal; NaN equals NaN."""
    if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
