"""Process settings: fusions, heap, cache of compiled programs, CPU dispatch. Commands that run networks call `set_up` first.

On a CPU, XLA allocates and frees its buffers at every step. By default glibc returns large blocks to the kernel at once, and
the kernel hands them out again zeroed, 4 KiB at a time. This takes a sixth of the time of a training step.
"""

import ctypes
import ctypes.util
import os
import warnings

from ipmedgan_jax.core import cache, processor

COMPILED_LIMIT = 4 * 2**30
"""Largest size of the cache of compiled programs, in bytes; the least recently used are removed first."""

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
"""Parameters of `mallopt` in glibc's <malloc.h>."""

_HUGE_PAGE = 2**21
_MADV_HUGEPAGE = 14


def set_up(dtype: str = "float32", *, deterministic: bool = False) -> None:
    """Sets up the process; must be called before JAX is imported and threads start.

    Results do not change, but for the rounding of networks in bfloat16 (`dtype`): they use oneDNN where the processor has
    bfloat16 instructions, and compute in float32 on other CPUs. With `deterministic`, GPUs use only kernels that give the
    same bits every time.
    """
    processor.avoid_wrong_fusions()
    if deterministic:
        processor.request_determinism()
    keep_freed_memory()
    if dtype == "bfloat16" and processor.request_onednn():
        # JAX warns whenever it cannot store a program with oneDNN's convolutions in its cache, which is known.
        warnings.filterwarnings("ignore", "Error writing persistent compilation cache entry.*bad_alloc")
    import jax

    keep_compiled()
    # On a CPU two steps at once would only compete for the cores, and take twice the memory.
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def keep_compiled() -> None:
    """Turns on the cache of compiled programs, unless the user has set JAX's own cache folder.

    The cache has one folder per kind of processor, because home folders are shared between machines. If the folder cannot be
    written, JAX warns and compiles again; nothing else is lost.
    """
    import jax

    if not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(cache.folder() / f"compiled-{processor.name()}"))
        jax.config.update("jax_compilation_cache_max_size", COMPILED_LIMIT)


def give_back_freed_memory() -> None:
    """Returns free memory to the system; called after start-up, whose blocks differ from those of the steps."""
    if libc := _load_glibc():
        libc.malloc_trim(0)  # this releases the end of the heap too, with its huge-page advice
        _ask_for_huge_pages(libc)


def keep_freed_memory() -> bool:
    """Makes glibc's malloc use one growing heap of huge pages and keep freed memory; returns whether it could."""
    libc = _load_glibc()
    if libc is None:
        return False
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 2**28, _ARENA_MAX: 1}
    kept = all(libc.mallopt(name, value) for name, value in settings.items())
    if kept:
        _ask_for_huge_pages(libc)
    return kept


def _load_glibc() -> ctypes.CDLL | None:
    """Returns the C library if it is glibc, else None; another library only costs time."""
    try:
        libc = ctypes.CDLL(ctypes.util.find_library("c"))
        return libc if libc.mallopt and libc.malloc_trim else None
    except (AttributeError, OSError, TypeError):
        return None


def _ask_for_huge_pages(libc: ctypes.CDLL) -> None:
    """Advises huge pages for the heap: grows it by most of the machine's memory, untouched, advises, and frees it."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4
    if start := libc.malloc(size):
        first = -(-start // _HUGE_PAGE) * _HUGE_PAGE
        libc.madvise(first, start + size - first, _MADV_HUGEPAGE)
        libc.free(start)
