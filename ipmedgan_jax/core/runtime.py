"""How a process runs: its heap, its compiled programs, its order of work. Every command calls `set_up` first.

On a CPU, XLA takes and gives back its buffers at every step. glibc would return large blocks to the kernel at once, and the
kernel hand them out anew, zeroed, 4 KiB at a time: a sixth of the time of a training step.
"""

import ctypes
import ctypes.util
import os

from ipmedgan_jax.core import cache

COMPILED_LIMIT = 4 * 2**30
"""Bytes of compiled programs kept; the least recently used go first."""

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
"""Names of glibc's <malloc.h>."""

_HUGE_PAGE = 2**21
_MADV_HUGEPAGE = 14


def set_up() -> None:
    """Call before JAX is imported and threads start. Nothing here changes a result."""
    keep_freed_memory()
    import jax

    keep_compiled()
    # One step after the other on a CPU: two at once would only take turns there, with twice the memory.
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def keep_compiled() -> None:
    """Keeps compiled programs for the next process, unless the user has chosen JAX's own settings for it.

    A program is kept for the kind of processor it was compiled for: homes are shared between machines. A folder that
    cannot be written costs a warning and the time to compile, nothing else.
    """
    import jax

    if not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(cache.folder() / f"compiled-{cache.processor()}"))
        jax.config.update("jax_compilation_cache_max_size", COMPILED_LIMIT)


def give_back_freed_memory() -> None:
    """Gives what is free now back to the system: after a start that needed other blocks than the steps will."""
    if libc := _glibc():
        libc.malloc_trim(0)  # the heap's end too, with the mark it had
        _ask_for_huge_pages(libc)


def keep_freed_memory() -> bool:
    """Tells glibc's malloc to use one growing heap of huge pages and to keep it; says whether it could."""
    libc = _glibc()
    if libc is None:
        return False
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 2**28, _ARENA_MAX: 1}
    kept = all(libc.mallopt(name, value) for name, value in settings.items())
    if kept:
        _ask_for_huge_pages(libc)
    return kept


def _glibc() -> ctypes.CDLL | None:
    """The C library, if it is glibc; with another nothing is lost but time."""
    try:
        libc = ctypes.CDLL(ctypes.util.find_library("c"))
        return libc if libc.mallopt and libc.malloc_trim else None
    except (AttributeError, OSError, TypeError):
        return None


def _ask_for_huge_pages(libc: ctypes.CDLL) -> None:
    """Grows the heap, without touching it, by most of what the machine has, marks that for huge pages, and frees it."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4
    if start := libc.malloc(size):
        first = -(-start // _HUGE_PAGE) * _HUGE_PAGE
        libc.madvise(first, start + size - first, _MADV_HUGEPAGE)
        libc.free(start)
