"""Keeps freed memory for the next step: on a CPU, XLA takes and gives back its buffers at every step.

glibc returns large blocks to the kernel at once, and the kernel hands them out anew page by page; a training step of a small
network spends a sixth of its time on that.
"""

import ctypes
import ctypes.util

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
"""Names of glibc's <malloc.h>."""


def keep_freed_memory() -> bool:
    """Tells glibc's malloc to use one growing heap and to keep it; says whether it could. Call before threads start."""
    try:
        mallopt = ctypes.CDLL(ctypes.util.find_library("c")).mallopt
    except (AttributeError, OSError, TypeError):
        return False  # another C library: nothing is lost but time
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**28, _ARENA_MAX: 1}
    kept = [mallopt(name, value) for name, value in settings.items()]
    return all(kept)
