"""Keeps freed memory for the next step, in huge pages: on a CPU, XLA takes and gives back its buffers at every step.

glibc returns large blocks to the kernel at once, and the kernel hands them out anew, zeroed, 4 KiB at a time: a sixth of the
time of a training step.
"""

import ctypes
import ctypes.util
import os

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
"""Names of glibc's <malloc.h>."""

_HUGE_PAGE = 2**21
_MADV_HUGEPAGE = 14


def keep_freed_memory() -> bool:
    """Tells glibc's malloc to use one growing heap and to keep it; says whether it could. Call before threads start."""
    try:
        libc = ctypes.CDLL(ctypes.util.find_library("c"))
        mallopt = libc.mallopt
    except (AttributeError, OSError, TypeError):
        return False  # another C library: nothing is lost but time
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 2**28, _ARENA_MAX: 1}
    kept = [mallopt(name, value) for name, value in settings.items()]
    if all(kept):
        _ask_for_huge_pages(libc)
    return all(kept)


def _ask_for_huge_pages(libc: ctypes.CDLL) -> None:
    """Grows the heap, without touching it, by as much as the machine has, marks that for huge pages, and frees it."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4
    if start := libc.malloc(size):
        first = -(-start // _HUGE_PAGE) * _HUGE_PAGE
        libc.madvise(first, start + size - first, _MADV_HUGEPAGE)
        libc.free(start)
