"""The user's cache: what was fetched or made once, compiled programs among it."""

import hashlib
import os
import platform
from pathlib import Path


def folder() -> Path:
    """`ipmedgan_jax` in $XDG_CACHE_HOME or ~/.cache; it may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ipmedgan_jax"


def processor() -> str:
    """Names the machine's instruction set, which compiled programs depend on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        described = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        described = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(described.encode()).hexdigest()[:8]}"
