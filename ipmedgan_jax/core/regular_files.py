"""Opening of input files that are files: a pipe, a socket, a device or a folder is refused at once.

To open a pipe waits for its writer, and a device such as /dev/zero has no end.
"""

import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from ipmedgan_jax.core import memory
from ipmedgan_jax.core.errors import UserError, reason

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def regular_file(path: Path) -> Path:
    """Returns the path of a file; UserError, without opening it, for anything else that exists.

    A path that does not exist is returned too, so that the reader's own message says what was expected there.
    """
    try:
        _refuse_other(path, path.stat())
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # ValueError: a null byte
        raise UserError(f"{path}: cannot be read ({reason(error)})") from error
    return path


def open_file(path: Path) -> BufferedReader:
    """Opens a file for reading, in binary; UserError as `regular_file`, OSError as `open`."""
    stream = open(regular_file(path), "rb", opener=_without_waiting)  # noqa: SIM115, the caller closes it
    try:
        _refuse_other(path, os.fstat(stream.fileno()))  # again, because another process may have replaced it
    except BaseException:
        stream.close()
        raise
    return stream


def read_bytes(path: Path) -> bytes:
    """Reads a whole file; UserError as `open_file`, and if it is larger than `memory.limit`. OSError as `open`."""
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        memory.check(path, size, "the file")
        return file.read(size)


def read_text(path: Path) -> str:
    """Reads a whole file as UTF-8; UnicodeDecodeError, and errors as `read_bytes`."""
    return read_bytes(path).decode("utf-8")


def check_tree(folder: Path) -> None:
    """UserError, without opening it, for anything in a folder that is neither a file nor a folder; follows links.

    A folder that does not exist has no such entry.
    """
    for path in _entries(folder, set()):
        try:
            status = path.stat()
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({reason(error)})") from error
        if not stat.S_ISDIR(status.st_mode):
            _refuse_other(path, status)


def _entries(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Yields the paths in a folder and in those below, each of which is entered once, whatever links lead to it."""
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            found = [(entry.is_dir(), Path(entry.path)) for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({reason(error)})") from error
    for is_folder, path in sorted(found):
        yield path
        if is_folder:
            yield from _entries(path, seen)


def _refuse_other(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path}: is {_KINDS.get(stat.S_IFMT(status.st_mode), 'no regular file')}; expected a file")


def _without_waiting(path: str, mode: int) -> int:
    return os.open(path, mode | os.O_NONBLOCK)
