"""The user's cache: what was fetched or made once, compiled programs among it."""

import hashlib
import os
import platform
from pathlib import Path

COMPILED_LIMIT = 4 * 2**30
"""Bytes of compiled programs kept; the least recently used go first."""


def folder() -> Path:
    """`ipmedgan_jax` in $XDG_CACHE_HOME or ~/.cache; it may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ipmedgan_jax"


def keep_compiled() -> None:
    """Keeps compiled programs for the next process, unless the user has chosen JAX's own settings for it.

    A program is kept for the kind of processor it was compiled for: homes are shared between machines. A folder that
    cannot be written costs a warning and the time to compile, nothing else. Call before anything is compiled.
    """
    import jax

    if not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(folder() / f"compiled-{_processor()}"))
        jax.config.update("jax_compilation_cache_max_size", COMPILED_LIMIT)


def _processor() -> str:
    """Names the machine's instruction set."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        described = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        described = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(described.encode()).hexdigest()[:8]}"
