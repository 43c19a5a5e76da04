"""The user's cache: what was fetched or made once, compiled programs among it."""

import hashlib
import platform
from pathlib import Path

import platformdirs


def folder() -> Path:
    """`ipmedgan_jax` in $XDG_CACHE_HOME, or in the system's place for caches, on Linux ~/.cache; it may not exist yet."""
    return platformdirs.user_cache_path("ipmedgan_jax")


def processor() -> str:
    """Names the machine's instruction set, which compiled programs depend on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        described = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        described = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(described.encode()).hexdigest()[:8]}"
