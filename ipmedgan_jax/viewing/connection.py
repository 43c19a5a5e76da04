"""The bytes of one connection, with a bound on their time and on their number."""

import io
import socket
import time
from http.client import HTTPException
from typing import Any

HEADER_SECONDS = 10.0
"""Time for a request's line and headers."""

HEADER_BYTES = 2**17
"""Bytes of a request's line and headers; those of a body that came with them count too, of which a few KiB are read ahead."""

IDLE_SECONDS = 20.0
"""Time for the next bytes of a body, and for a piece of an answer to be taken."""

SLOWEST = 2**14
"""Bytes a second that a body has at least, on the whole."""

PIECE = 2**20
"""Bytes that are read or written at once, so that no file is ever in memory as a whole."""

_DRAIN_BYTES, _DRAIN_SECONDS = 2**22, 1.0


class TooManyBytes(HTTPException):
    """The headers are too long; the standard library answers with 431."""


class BoundedStream(io.RawIOBase):
    """Reads from a connection. TimeoutError after the time is over, TooManyBytes after the number of bytes."""

    def __init__(self, connection: socket.socket):
        self._connection = connection
        self.allow(HEADER_SECONDS, HEADER_BYTES)

    def allow(self, seconds: float, count: int) -> None:
        """Sets the time from now, and the number of bytes, that may come."""
        self._end, self._left = time.monotonic() + seconds, count

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        if self._left <= 0:
            raise TooManyBytes(f"more than {HEADER_BYTES} bytes")
        self._connection.settimeout(min(seconds, IDLE_SECONDS))
        count = self._connection.recv_into(memoryview(buffer)[: self._left])
        self._left -= count
        return count

    def drain(self) -> None:
        """Takes what the client still sends, up to a bound; unread bytes would reset the connection, and lose the answer."""
        self._connection.shutdown(socket.SHUT_WR)
        self.allow(_DRAIN_SECONDS, _DRAIN_BYTES)
        while self.read(PIECE):
            pass
