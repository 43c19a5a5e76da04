"""The bound on the memory that reading one file may take, checked before anything is allocated.

A small file can ask for a large array: by the shape in its header, or by compression. So every reader computes from the
header what it will allocate, and calls `check` first.
"""

import functools
import math
import os
from contextlib import suppress
from pathlib import Path

from ipmedgan_jax.core.errors import UserError

VARIABLE = "IPMEDGAN_MEMORY_GIB"
"""Environment variable with the bound in GiB, in place of the default."""

SHARE = 0.75
"""Default of the bound: this share of the machine's memory, or of the container's or job's limit if that is lower."""

_PROC, _CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def limit() -> int:
    """Returns the bound in bytes; UserError if `VARIABLE` is set to anything but a number above 0."""
    given = os.environ.get(VARIABLE, "").strip()
    if not given:
        return _default()
    try:
        gib = float(given)
    except ValueError:
        gib = math.nan
    if not 0 < gib * 2**30 < math.inf:
        raise UserError(f"{VARIABLE}={given}: expected a number of GiB above 0")
    return int(gib * 2**30)


@functools.cache
def _default() -> int:
    return int(SHARE * total())


def check(path: Path | str, needed: int, what: str) -> None:
    """UserError if reading a file would take more bytes than `limit`.

    Args:
      path: the file, for the message.
      needed: bytes that reading and using it will take at once; any whole number, however large.
      what: what takes them, for example `its shape (512, 512, 900)`.
    """
    if needed > (bound := limit()):
        raise UserError(
            f"{path}: {what} takes {_gib(needed)} GiB of memory to read, {_gib(bound)} GiB are allowed for one file; if the "
            f"file is right and the machine has the memory, set {VARIABLE}"
        )


def total() -> int:
    """Returns the bytes of memory that this process can have: the machine's, or the lowest limit of its control groups."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_group_limits()])


def _group_limits() -> list[int]:
    """Returns the memory limits of this process's control groups (versions 1 and 2) and of the groups above them."""
    limits = []
    with suppress(OSError):
        for line in _PROC.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            root = _CGROUPS / "memory" if controllers else _CGROUPS
            name = "memory.limit_in_bytes" if controllers else "memory.max"
            inner = root / group.lstrip("/")  # in a container it may not be there; its root then is
            for folder in (inner, *inner.parents):
                if folder.is_relative_to(root):
                    with suppress(OSError, ValueError):  # `max`, or no such file
                        limits.append(int((folder / name).read_text()))
    return [value for value in limits if value > 0]


def _gib(size: int) -> str:
    return f"{size / 2**30:.2g}" if size < 100 * 2**30 else f"{size // 2**30:,}"
