"""The user's cache folder, for fetched files and compiled programs."""

from pathlib import Path

import platformdirs


def folder() -> Path:
    """Returns `ipmedgan_jax` in $XDG_CACHE_HOME or in the system's cache folder (~/.cache on Linux); it may not exist yet."""
    return platformdirs.user_cache_path("ipmedgan_jax")
