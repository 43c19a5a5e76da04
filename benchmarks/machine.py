"""Reference figures for the other benchmarks: the machine's peak rates, and the memory that a process used."""

import resource
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict


def describe(config: ConfigDict, devices: int) -> dict[str, Any]:
    """Returns the description of machine and config that every line of figures has."""
    return {
        "system": config.system,
        "device": f"{devices} x {jax.local_devices()[0].device_kind}",
        "jax": jax.__version__,
        "dtype": config.train.dtype,
        "image_size": config.data.image_size,
        "blocks": config.generator.blocks,
        "width": config.generator.width,
    }


def peak_memory_gib() -> float | None:
    """Returns the peak memory so far in GiB, of the first device or, if it has no statistics (CPU), of the process.

    None if the device's statistics have no peak.
    """
    found = jax.local_devices()[0].memory_stats()
    if not found:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30
    return found["peak_bytes_in_use"] / 2**30 if "peak_bytes_in_use" in found else None


def dot_rate(dtype: str) -> float:
    """Returns the operations per second of one large dot, best of 5; used as the peak rate.

    Its result has the operands' type or float32, whichever is faster.
    """
    rows, inner, columns = 4096, 1024, 1024
    a, b = jnp.ones((rows, inner), dtype), jnp.ones((inner, columns), dtype)
    dots = [jax.jit(partial(jnp.dot, preferred_element_type=result)) for result in (dtype, jnp.float32)]
    return 2 * rows * inner * columns / min(_best_seconds(dot, a, b) for dot in dots)


def bandwidth() -> float:
    """Returns the bytes per second of adding one to a large array, best of 5."""
    array = jnp.zeros(2**26, jnp.float32)
    return 2 * array.nbytes / _best_seconds(jax.jit(lambda x: x + 1), array)


def _best_seconds(function: Any, *arguments: Any) -> float:
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return min(times)
