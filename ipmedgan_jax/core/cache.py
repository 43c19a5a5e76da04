"""The user's cache folder, for fetched files and compiled programs."""

import hashlib
import platform
from pathlib import Path

import platformdirs


def folder() -> Path:
    """Returns `ipmedgan_jax` in $XDG_CACHE_HOME or in the system's cache folder (~/.cache on Linux); it may not exist yet."""
    return platformdirs.user_cache_path("ipmedgan_jax")


def processor() -> str:
    """Returns a name for the processor's instruction set, which compiled programs depend on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        features = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"
