"""Reads a run's TensorBoard files back, as TensorBoard shows them: what a resumed run repeats is there once."""

import struct
from array import array
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from tensorboardX.proto.event_pb2 import Event, SessionLog

from ipmedgan_jax.core import regular_files
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.training.event_file import checksum

LARGEST_RECORD = 2**16
"""Bytes of a record that is read; a larger one is a picture."""


@dataclass
class Points:
    """The values of one scalar by step, in ascending order: steps, values as float32, and seconds since 1970."""

    steps: array = field(default_factory=lambda: array("q"))
    values: array = field(default_factory=lambda: array("f"))
    times: array = field(default_factory=lambda: array("d"))

    def add(self, step: int, value: float, time: float) -> None:
        self.steps.append(step)
        self.values.append(value)
        self.times.append(time)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns copies of the steps and values as int64 and float32 `[N]`."""
        return np.array(self.steps, np.int64), np.array(self.values, np.float32)

    def remove_from(self, first: int) -> None:
        """Removes the values of the step `first` and later ones."""
        kept = np.array(self.steps, np.int64) < first
        for name, column in vars(self).items():
            setattr(self, name, array(column.typecode, np.array(column)[kept].tobytes()))


class EventReader:
    """The scalars and texts in a folder of event files, by name. `update` reads what was appended since its last call.

    A record that is cut off or damaged ends its file, as it does for TensorBoard.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ends: dict[str, int] = {}
        self.scalars: dict[str, Points] = {}
        self.texts: dict[str, list[tuple[int, str]]] = {}
        self.starts: list[int] = []
        """First steps of the processes that trained."""

    def update(self) -> None:
        """Reads on. A missing folder or a file that cannot be read counts as empty."""
        for path in sorted(self._directory.glob("*tfevents*")):
            with suppress(OSError, UserError), regular_files.open_file(path) as file:
                file.seek(self._ends.get(path.name, 0))
                for end, event in _events(file):
                    self._ends[path.name] = end
                    if event is not None:
                        self._add(event)

    def _add(self, event: Event) -> None:
        if event.session_log.status == SessionLog.START:
            self._restart(event.step)
        for value in event.summary.value:
            kind = value.WhichOneof("value")
            if kind == "simple_value":
                self.scalars.setdefault(value.tag, Points()).add(event.step, value.simple_value, event.wall_time)
            elif kind == "tensor" and value.tensor.string_val:
                text = value.tensor.string_val[0].decode("utf-8", "replace")
                self.texts.setdefault(value.tag.removesuffix("/text_summary"), []).append((event.step, text))

    def _restart(self, first: int) -> None:
        """Forgets the step `first` and later ones: a process starts with it."""
        for points in self.scalars.values():
            points.remove_from(first)
        for name, texts in self.texts.items():
            self.texts[name] = [(step, text) for step, text in texts if step < first]
        self.starts = [*(start for start in self.starts if start < first), first]


def _events(file: BufferedReader):
    """Yields the end of each record and its event, None for a picture, to the last whole record."""
    end = file.tell()
    while len(header := file.read(12)) == 12:
        (length,) = struct.unpack_from("<Q", header)
        if header[8:] != checksum(header[:8]):
            return
        if length > LARGEST_RECORD:
            file.seek(end + 12 + length + 3)
            if not file.read(1):
                return
            end += 16 + length
            yield end, None
            continue
        record = file.read(length + 4)
        if len(record) < length + 4 or record[length:] != checksum(record[:length]):
            return
        try:
            event = Event.FromString(record[:length])
        except DecodeError:
            return
        end += 16 + length
        yield end, event
