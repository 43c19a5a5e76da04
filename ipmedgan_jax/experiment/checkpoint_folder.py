"""The folder of one checkpoint: reading it, with its digests, and setting it aside when it is damaged.

Nothing here waits for another process: each process reads the folder by itself, and may find damage that others do not see.
"""

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from ipmedgan_jax.core import digests, json_fields, regular_files
from ipmedgan_jax.core.errors import TRY_AGAIN, UserError, reason
from ipmedgan_jax.experiment import checkpoint_digests, event_loops, first_checkpoints
from ipmedgan_jax.experiment.checkpoint_digests import Record

Tree = Any

DAMAGED = "damaged"
"""Folder in `checkpoints/` to which damaged checkpoints are moved."""

STATE, INPUT, SCORES = "state", "input", "metrics"
"""Items of a checkpoint, each a folder, beside that of the digests."""

JSON_FILES = {INPUT: "metadata", SCORES: "metrics", checkpoint_digests.ITEM: "metadata"}
"""The file of each item that is JSON."""

LIST_OF_ITEMS = "_CHECKPOINT_METADATA"
"""Orbax's file in a checkpoint. It names the items, so that one which was lost is noticed."""

LOST_PROCESS_ERRORS = (jax.errors.JaxRuntimeError, TimeoutError)
"""Exceptions, in a run of several processes, when one of them was lost; the files are not at fault."""


class DamagedCheckpoint(UserError):
    """A checkpoint that does not hold what was saved; the message names the file or the array."""


class StepFolder:
    """The folder of a checkpoint.

    Attributes:
      step: the training step.
      path: its path for messages.
    """

    def __init__(self, path: Path, readable: Path | None = None):
        self.step, self.path = int(path.name), path
        self._readable = readable or path  # the same folder, by a path that Orbax can read

    def record(self) -> Record | None:
        """Returns the checkpoint's digests, None if its version wrote none. DamagedCheckpoint if they are lost."""
        if not self._json_path(checkpoint_digests.ITEM).exists():
            if checkpoint_digests.ITEM in self._items():
                raise self._damage(checkpoint_digests.ITEM, "missing")
            return None
        content = self._json(checkpoint_digests.ITEM)
        try:
            return checkpoint_digests.from_json(content, self.step)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._damage(checkpoint_digests.ITEM, reason(error)) from error

    def read_state(self, like: Tree, record: Record | None) -> Tree:
        """Returns the state, with the structure, types and shardings of `like`. Raises as `read_part` does."""
        self._check_entries()
        if record:
            self._check_system(like, record, whole=True)
        if self._is_first(record):
            return self._read_first(like)
        args = ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, like))
        return self._read(ocp.StandardCheckpointHandler(), args, record)

    def read_part(self, like: Tree, restore_args: Tree, record: Record | None) -> Tree:
        """Returns the parts of the state that `like` names, read as `restore_args` say; reads no other part.

        Raises:
          DamagedCheckpoint: an array cannot be read, or is not the one that was saved.
          UserError: the state is of another system, there is too little memory, or another process was lost.
        """
        self._check_entries()
        if record:
            self._check_system(like, record, whole=False)
        if self._is_first(record):
            return self._read_first(like)
        args = ocp.args.PyTreeRestore(item=like, restore_args=restore_args, partial_restore=True)
        return self._read(ocp.PyTreeCheckpointHandler(), args, record)

    def _read(self, handler: ocp.CheckpointHandler, args: Any, record: Record | None) -> Tree:
        """Returns the arrays that a handler reads. Without `record` they are not compared with their digests."""
        try:
            # The handler itself: Orbax's checkpointers would wait for the other processes.
            with contextlib.closing(handler), event_loops.waiting_for_tasks():
                found = handler.restore(epath.Path(self._readable / STATE), args=args)
            leaves = checkpoint_digests.of_leaves(found) if record else {}
        except Exception as error:  # Orbax and TensorStore raise many types for a damaged file
            raise self._read_error(error, record) from error
        for name, leaf in leaves.items():
            if record and leaf != record.leaves[name]:
                raise self._damage(STATE, "not what was saved", name)
        return found

    def _is_first(self, record: Record | None) -> bool:
        return record is None and first_checkpoints.is_one(self._readable / STATE)

    def _read_first(self, like: Tree) -> Tree:
        """Returns what `like` names of a checkpoint of the first days."""
        try:
            with event_loops.waiting_for_tasks():
                return first_checkpoints.read(self._readable / STATE, like)
        except Exception as error:  # as in `_read`
            raise self._read_error(error, None) from error

    def input_state(self, record: Record | None) -> dict[str, Any]:
        """Returns the input state. DamagedCheckpoint if it is not the one that was saved."""
        content = self._json(INPUT)
        if record and digests.of_json(content) != record.input_digest:
            raise self._damage(INPUT, "not what was saved")
        return content

    def scores(self) -> Mapping[str, float] | None:
        """Returns the scores of `metrics/metrics`, None if none were saved. DamagedCheckpoint if they are lost."""
        if not self._json_path(SCORES).exists():
            if SCORES in self._items():
                raise self._damage(SCORES, "missing")
            return None
        scores = self._json(SCORES)
        if not all(isinstance(score, int | float) and not isinstance(score, bool) for score in scores.values()):
            raise self._damage(SCORES, "not numbers")
        return scores

    def scores_damage(self) -> DamagedCheckpoint:
        """Returns the error for scores that are not those of the digests."""
        return self._damage(SCORES, "not what was saved")

    def set_aside(self) -> Path:
        """Renames the folder to `damaged/STEP` beside it, or `damaged/STEP-2` and so on, and returns the new path."""
        folder = self.path.parent / DAMAGED
        folder.mkdir(exist_ok=True)
        names = (self.path.name if number == 1 else f"{self.path.name}-{number}" for number in range(1, 10**6))
        target = next(folder / name for name in names if not (folder / name).exists())
        self.path.rename(target)
        return target

    def _check_entries(self) -> None:
        """DamagedCheckpoint for a pipe, a device or a socket: Orbax would wait for its writer, or read without end."""
        try:
            regular_files.check_tree(self.path)
        except UserError as error:
            raise DamagedCheckpoint(f"{self.path}: damaged ({str(error).removeprefix(f'{self.path}/')})") from error

    def _check_system(self, like: Tree, record: Record, *, whole: bool) -> None:
        """UserError unless the recorded state has the arrays of `like`, and, if it is the whole state, no other."""
        expected = checkpoint_digests.kinds(like)
        found = {name: leaf.kind for name, leaf in record.leaves.items() if whole or name in expected}
        if found != expected:
            name = min(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
            kinds = f"{name} is {found.get(name, 'missing')}, expected {expected.get(name, 'none')}"
            raise UserError(f"{self.path}: of another system or config ({kinds})")

    def _json_path(self, item: str) -> Path:
        return self.path / item / JSON_FILES[item]

    def _json(self, item: str) -> dict[str, Any]:
        """Returns the content of an item that is a JSON object. DamagedCheckpoint if it is not one, or missing."""
        try:
            return json_fields.read(self._json_path(item), finite=False)
        except FileNotFoundError as error:
            raise self._damage(item, "missing") from error
        except (OSError, ValueError, UserError) as error:  # UserError: no regular file, or a huge one
            raise self._damage(item, reason(error).removeprefix(f"{self._json_path(item)}: ")) from error

    def _items(self) -> frozenset[str]:
        """Returns the names of the items that Orbax lists; none without its list, as in a folder that it did not write.

        A damaged list counts as one of all items: what is missing then is taken for lost.
        """
        try:
            return frozenset(json_fields.read(self.path / LIST_OF_ITEMS, finite=False)["item_handlers"])
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValueError, KeyError, TypeError, UserError):
            return frozenset(JSON_FILES)

    def _damage(self, item: str, what: str, leaf: str = "") -> DamagedCheckpoint:
        where = f"{item}/{JSON_FILES[item]}" if item in JSON_FILES else f"{item}: {leaf}" if leaf else item
        return DamagedCheckpoint(f"{self.path}: damaged ({where}: {what})")

    def _read_error(self, error: Exception, record: Record | None) -> UserError:
        if is_out_of_memory(error):
            return UserError(f"{self.path}: not enough memory to read it ({reason(error)})")
        if isinstance(error, LOST_PROCESS_ERRORS) and jax.process_count() > 1:
            return UserError(f"another process was lost while a checkpoint was read ({reason(error)})", TRY_AGAIN)
        kind = "damaged" if record else "damaged or of another system"  # the record names the arrays, which were compared
        return DamagedCheckpoint(f"{self.path}: {kind} ({STATE}{self._where(error)}: {_restore_reason(error)})")

    def _where(self, error: Exception) -> str:
        """Returns the array or the file that could not be read, if the error or a look at the files tells."""
        if found := re.search(_ARRAY_NAME, str(error)):
            return f": {(found[1] or found[2]).replace('.', '/')}"
        folder = self.path / STATE
        files = (folder / "_METADATA", *sorted(folder.glob("array_metadatas/*"))) if folder.is_dir() else ()
        for path in files:
            try:
                json_fields.read(path, finite=False)
            except (OSError, ValueError, UserError):
                return f"/{path.relative_to(folder)}"
        return ""


_ARRAY_ERRORS = ("DATA_LOSS", "FAILED_PRECONDITION", "NOT_FOUND", "OUT_OF_RANGE", "Encountered error while reading array")
"""Beginnings of TensorStore's and Orbax's messages about arrays that are missing or cut short."""

_ARRAY_NAME = r"""(?:"([^"/]+)/[^"/]+" in OCDBT|'path': '([^'/]+)/')"""
"""Where those messages have the name of the array."""


def _restore_reason(error: Exception) -> str:
    """Returns why the state could not be read, in plain words."""
    if isinstance(error, KeyError | FileNotFoundError):
        return "a part is missing"
    return "an array is missing or incomplete" if str(error).startswith(_ARRAY_ERRORS) else reason(error)


def is_out_of_memory(error: Exception) -> bool:
    """Whether the host or a device had too little memory."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
