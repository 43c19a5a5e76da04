"""Reads damaged files in a child process: bounded in memory, and watched for anything that a reader must not do."""

import os
import resource
import shutil
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.soak.readers import Reader
from ipmedgan_jax.core import memory
from ipmedgan_jax.core.errors import UserError

BOUND_GIB = 0.25
"""`IPMEDGAN_MEMORY_GIB` of the child."""

_SPARE = 2**28
"""Bytes of address space above the bound: libraries reserve more than they use."""

_STARTS = ("os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen", "socket.", "pty.spawn")
_CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate", "shutil.")
"""Beginnings of audit events: of other programs and connections, and of changes to files, whose first argument is a path."""


class Watch:
    """Notes what is done inside it and must not be: programs, connections, code run from a file, changes to other files."""

    def __init__(self, folder: Path):
        self.folder = str(folder.resolve())
        self.noted: list[str] = []
        self.active = False
        sys.addaudithook(self._hook)

    def __enter__(self) -> None:
        self.active = True

    def __exit__(self, *_: object) -> None:
        self.active = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event.startswith(_STARTS):
            self.noted.append(event)
        elif event == "open" and _is_writing(arguments) and not self._is_inside(arguments[0]):
            self.noted.append(f"open {arguments[0]!r} for writing")
        elif event.startswith(_CHANGES) and not (_in_open_folder(arguments) or self._is_inside(arguments[0])):
            self.noted.append(f"{event} {arguments[0]!r}")
        elif event == "exec" and not _is_of_a_module(arguments[0]):
            self.noted.append(f"exec of {arguments[0]!r}")

    def _is_inside(self, path: Any) -> bool:
        if isinstance(path, int) or path == os.devnull:
            return True
        return os.path.abspath(os.fsdecode(path)).startswith(self.folder)  # noqa: PTH100, inside an audit hook


def _in_open_folder(arguments: tuple[Any, ...]) -> bool:
    """Whether a path is relative to an open folder, as those in `shutil.rmtree`, which reports the folder itself."""
    return any(type(argument) is int and argument >= 0 for argument in arguments[1:])


def _is_writing(arguments: tuple[Any, ...]) -> bool:
    path, mode, flags = arguments
    if isinstance(path, int):
        return False
    return bool(set(mode or "") & set("wax+")) or bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _is_of_a_module(code: Any) -> bool:
    """Whether code is of an imported module; libraries make classes from strings while they are imported."""
    frame = sys._getframe(2)
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def judge(reader: Reader, content: bytes, folder: Path, watch: Watch | None = None) -> tuple[str, str]:
    """Reads a content in an empty folder; returns `noticed`, `harmless` or `silent`, and what was wrong.

    `harmless` is a file that can still be read, with a usable result.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with watch or nullcontext():
            reader.read(content, folder)
        kind, text = "harmless", ""
    except UserError as error:
        kind, text = "noticed", str(error)
        if _is_of_memory(error):
            kind, text = "silent", f"took more memory than the bound: {error}"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        kind, text = "silent", f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
    if watch is not None and watch.noted:
        kind, text = "silent", f"did {', '.join(watch.noted)}"
        watch.noted.clear()
    return kind, " ".join(text.split())[:300]


def _is_of_memory(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, MemoryError):
        cause = cause.__cause__
    return cause is not None


def prepare(reader: Reader, folder: Path) -> tuple[Sequence[bytes], Watch]:
    """Reads the valid samples, so that all modules are imported, then bounds the process and starts to watch it.

    Returns the samples. ValueError if one cannot be read.
    """
    sys.dont_write_bytecode = True
    os.environ[memory.VARIABLE] = str(BOUND_GIB)
    samples = reader.samples()
    warnings.simplefilter("error", UserWarning)
    warnings.simplefilter("error", RuntimeWarning)
    for content in samples:
        kind, text = judge(reader, content, folder)
        if kind != "harmless":
            raise ValueError(f"a valid sample was {kind}: {text}")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + int(BOUND_GIB * 2**30) + _SPARE
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return samples, Watch(folder.parent)


def read_damaged(reader: Reader, folder: Path, seed: int, indices: Sequence[int], outcomes: Connection) -> None:
    """Damages and reads one file for each index. Sends (index, `begun`, ``) before each, then its outcome."""
    samples, watch = prepare(reader, folder / "files")
    for i in indices:
        content = reader.damage(samples[i % len(samples)], np.random.default_rng([seed, i]))
        (folder / f"content-{i}").write_bytes(content)  # the parent removes it; a crash or a hang leaves it behind
        outcomes.send((i, "begun", ""))
        outcomes.send((i, *judge(reader, content, folder / "files", watch)))
    outcomes.close()
