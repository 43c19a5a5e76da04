"""Files that the page sends, in pieces, to folders of their own until they are opened as a scan."""

import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from ipmedgan_jax.viewing.requests import Refusal, check_name

_SPARE = 2**28
"""Bytes of the disk that uploads leave free."""

_IDLE_SECONDS = 60.0
"""Time without a request after which an upload makes room for another."""


@dataclass(frozen=True)
class Limits:
    """What uploads may take.

    Attributes:
      bytes: of all files of all uploads that are not opened yet, and of one mask.
      files: of one upload.
      uploads: that are not opened yet.
    """

    bytes: int = 2 * 2**30
    files: int = 20_000
    uploads: int = 4


@dataclass
class Upload:
    """The files of one upload.

    Attributes:
      folder: where they lie.
      names: the names that the page gave, by the names on the disk; they are labels only.
      bytes: announced so far.
      pending: number of files whose bytes still come.
      count: number of files that were begun; it names them on the disk.
      opened: whether it is being opened, so that it takes no more files.
      used: time of the last request for it, in seconds of `time.monotonic`.
    """

    folder: Path
    names: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    pending: int = 0
    count: int = 0
    opened: bool = False
    used: float = field(default_factory=time.monotonic)

    @property
    def waits(self) -> bool:
        """Whether no request works with its files."""
        return not (self.pending or self.opened)


class Uploads:
    """All uploads of one session; safe between threads."""

    def __init__(self, folder: Path, limits: Limits):
        self.folder, self.limits = folder, limits
        self._uploads: dict[str, Upload] = {}
        self._lock = threading.Lock()

    def begin(self) -> str:
        """Returns the name of a new upload; the oldest of too many is dropped."""
        with self._lock:
            while len(self._uploads) >= self.limits.uploads:
                oldest = next((key for key, upload in self._uploads.items() if upload.waits), None)
                if oldest is None:
                    raise Refusal(HTTPStatus.CONFLICT, "too many uploads at once; wait until one is done")
                shutil.rmtree(self._uploads.pop(oldest).folder, ignore_errors=True)
            key = secrets.token_urlsafe(9)
            folder = self.folder / f"upload-{secrets.token_hex(8)}"
            folder.mkdir()
            self._uploads[key] = Upload(folder)
            return key

    def add(self, key: str, name: str, length: int, body: Iterable[bytes]) -> tuple[int, int]:
        """Writes one file; returns the number of files and of bytes of the upload. Nothing is read of what is refused."""
        check_name(name)
        with self._lock:
            upload = self._find(key)
            stored = self._reserve(upload, name, length)
        path, complete = upload.folder / stored, False
        try:
            with path.open("xb") as file:
                for piece in body:
                    file.write(piece)
            complete = True
        finally:
            with self._lock:
                upload.pending -= 1
                upload.used = time.monotonic()
                if complete:
                    upload.names[stored] = name
                else:
                    upload.bytes -= length
                    with suppress(OSError):
                        path.unlink(missing_ok=True)
                found, dropped = (len(upload.names), upload.bytes), key not in self._uploads
            if dropped:
                shutil.rmtree(upload.folder, ignore_errors=True)
        return found

    def _reserve(self, upload: Upload, name: str, length: int) -> str:
        """Returns the name on the disk for a file; refuses what is too much."""
        if upload.opened:
            raise Refusal(HTTPStatus.CONFLICT, "this upload is being opened; begin another")
        if upload.count >= self.limits.files:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {self.limits.files:,} files")
        if upload.bytes + length > self.limits.bytes:
            raise too_large(self.limits.bytes)
        self._make_room(upload, length)
        if length + _SPARE > shutil.disk_usage(self.folder).free:
            raise Refusal(HTTPStatus.INSUFFICIENT_STORAGE, "the disk with the temporary files is full")
        upload.count += 1
        upload.pending += 1
        upload.bytes += length
        suffix = "".join(re.findall(r"\.[a-z0-9]{1,8}$", name.lower()))
        return f"{'.' if name.startswith('.') else ''}{upload.count:05}{suffix}"

    def _make_room(self, upload: Upload, length: int) -> None:
        """Drops idle uploads, the oldest first, until some more bytes fit; refuses if they do not."""
        for key, other in list(self._uploads.items()):
            taken = sum(one.bytes for one in self._uploads.values())
            if taken + length <= self.limits.bytes:
                return
            if other is not upload and other.waits and other.used + _IDLE_SECONDS < time.monotonic():
                shutil.rmtree(self._uploads.pop(key).folder, ignore_errors=True)
        others = sum(other.bytes for other in self._uploads.values() if other is not upload)
        if upload.bytes + others + length > self.limits.bytes:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"other uploads that were not opened hold {others:,} of at most {self.limits.bytes:,} bytes together "
                f"(--limit_mib of view); open them, or try again in {_IDLE_SECONDS:.0f} seconds",
            )

    def take(self, key: str) -> Upload:
        """Returns an upload to be opened; no more files are added until `release`."""
        with self._lock:
            upload = self._find(key)
            if not upload.waits:
                raise Refusal(HTTPStatus.CONFLICT, "files of this upload still come")
            if not upload.names:
                raise Refusal(HTTPStatus.BAD_REQUEST, "this upload has no file")
            upload.opened = True
            return upload

    def release(self, key: str) -> None:
        """Lets an upload be opened again, for example with another series."""
        with self._lock:
            if key in self._uploads:
                self._uploads[key].opened, self._uploads[key].used = False, time.monotonic()

    def keep(self, key: str) -> None:
        """Forgets an upload and leaves its files, which became the scan."""
        with self._lock:
            self._uploads.pop(key, None)

    def discard(self, key: str) -> None:
        """Drops an upload that the page gives up, also while its files come; refuses while it is opened."""
        with self._lock:
            if self._find(key).opened:
                raise Refusal(HTTPStatus.CONFLICT, "this upload is being opened")
        self.drop(key)

    def drop(self, key: str) -> None:
        """Forgets an upload and removes its files."""
        with self._lock:
            upload = self._uploads.pop(key, None)
        if upload is not None:
            shutil.rmtree(upload.folder, ignore_errors=True)

    def _find(self, key: str) -> Upload:
        if key not in self._uploads:
            raise Refusal(HTTPStatus.NOT_FOUND, "no such upload")
        return self._uploads[key]


def too_large(limit: int) -> Refusal:
    """Returns the refusal of what exceeds the limit of bytes."""
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"larger than {limit:,} bytes, the limit (--limit_mib of view)")
