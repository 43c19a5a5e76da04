"""TensorBoard's event files, written without a thread: each call appends its records whole, or not at all.

tensorboardX has a thread that writes. It ends at the first error of the disk, half a record may stay, and the run then waits
for the thread without end.
"""

import os
import struct
import time
from pathlib import Path

from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary


class EventFile:
    """A new event file in `directory`, which is created if it is missing.

    TensorBoard hides what earlier files have for the step `first` and later ones. All methods raise OSError if the disk is
    full or cannot be written; the file then holds what it held before.
    """

    def __init__(self, directory: Path, first: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"events.out.tfevents.{time.time():.6f}.{os.getpid()}"
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        self._size = 0
        restart = Event(wall_time=time.time(), step=first, session_log=SessionLog(status=SessionLog.START))
        try:
            self._append(Event(wall_time=time.time(), file_version="brain.Event:2"), restart)
        except OSError:
            os.close(self._descriptor)
            path.unlink()
            raise

    def write(self, step: int, *summaries: Summary) -> None:
        """Appends the summaries of a step."""
        now = time.time()
        self._append(*(Event(wall_time=now, step=step, summary=summary) for summary in summaries))

    def _append(self, *events: Event) -> None:
        left = b"".join(_record(event.SerializeToString()) for event in events)
        end = self._size + len(left)
        try:
            while left:
                left = left[os.pwrite(self._descriptor, left, end - len(left)) :]
        except OSError:
            os.ftruncate(self._descriptor, self._size)  # TensorBoard reads no further than half a record
            raise
        self._size = end

    def close(self) -> None:
        os.close(self._descriptor)


def _record(content: bytes) -> bytes:
    """Returns a TFRecord: length, the length's checksum, content, the content's checksum."""
    length = struct.pack("<Q", len(content))
    return length + checksum(length) + content + checksum(content)


def checksum(content: bytes) -> bytes:
    """Returns the CRC-32C, masked as TFRecord has it."""
    checksum = crc32c(content)
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)
