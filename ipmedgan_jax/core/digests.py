"""Fast digests (XXH3, 128 bits) of arrays and of JSON, which find damage in files of our own; provenance uses SHA-256."""

import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import xxhash

ALGORITHM = "xxh3_128"
"""Name of the digest in files. It finds damage; it does not withstand an attacker."""

THREADS = min(4, os.cpu_count() or 1)
"""Threads that compute digests: XXH3 lets other threads run, and two of them use most of a machine's memory bandwidth."""


def of_array(array: np.ndarray) -> str:
    """Returns the digest of an array's type, shape and bytes in row-major order; copies nothing that is contiguous."""
    digest = xxhash.xxh3_128(f"{array.dtype} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def of_arrays(arrays: Iterable[Callable[[], np.ndarray]]) -> list[str]:
    """Returns the digest of the array that each function returns; threads call them, so that few arrays exist at a time."""
    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(lambda array: of_array(array()), arrays))


def of_json(content: Any) -> str:
    """Returns the digest of JSON content, whatever the order of its keys, and whether or not it was read from a file."""
    return xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())
