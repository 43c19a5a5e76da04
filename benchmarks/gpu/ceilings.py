"""The step `machine`: what the machine is, and the two ceilings that the other figures are shares of."""

import importlib.metadata
import os
import subprocess
import sys
import time
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu.context import NO_GPU, Context, given
from benchmarks.gpu.kit import STAND_INS

BF16_PRODUCT, FLOAT32_PRODUCT = "matrix product bfloat16", "matrix product float32"
COPY = "copy, bytes read and written"
"""What the ceilings are of, in the results."""

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "torch")


def main() -> None:
    context, _ = given()
    start = time.time()
    try:
        import jax

        device = jax.devices()[0]
    except Exception as error:  # no driver, or a plugin that does not fit it
        context.report(event="no GPU", reason=str(error).splitlines()[0][:200])
        sys.exit(NO_GPU)
    if device.platform not in ("gpu", "cuda") and not context.rehearsal:
        context.report(event="no GPU", reason=f"JAX finds {device.platform} only")
        sys.exit(NO_GPU)
    context.report(
        event="machine",
        device=device.device_kind,
        gpu=_nvidia_smi(),
        cores=os.cpu_count(),
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        device_memory_gib=(device.memory_stats() or {}).get("bytes_limit", 0) / 2**30,
        python=sys.version.split()[0],
        versions={name: _version(name) for name in PACKAGES},
        import_seconds=time.time() - start,
    )
    context.report(event="requirements", unmet=unmet_requirements(Path("pyproject.toml")))
    measured = found(context)  # by an earlier session on this machine
    ceilings = {BF16_PRODUCT: partial(matrix_rate, dtype="bfloat16"), COPY: bandwidth, FLOAT32_PRODUCT: matrix_rate}
    for what, measure in ceilings.items():
        if what not in measured:
            context.report(event="ceiling", what=what, per_second=measure(context))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def unmet_requirements(pyproject: Path) -> list[str]:
    """The package's requirements that this environment does not meet, each with the version found."""
    from packaging.requirements import Requirement

    required = [Requirement(text) for text in tomllib.loads(pyproject.read_text())["project"]["dependencies"]]
    names = {item.name: _version(item.name) for item in required}
    for name, other in STAND_INS.items():
        names[name] = _version(other) if names.get(name) == "none" else names.get(name, "none")
    unmet = [item for item in required if names[item.name] == "none" or not item.specifier.contains(names[item.name])]
    return [f"{item}: {names[item.name]}" for item in unmet]


def _nvidia_smi() -> str:
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.sm,power.limit", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "none"


def matrix_rate(context: Context, dtype: str = "float32") -> float:
    """Operations a second of one large product of random numbers, over ten products without waiting.

    The product has the operands' type, as the layers' have; sums are in float32. On a GPU float32 is TF32.
    """
    import jax
    import jax.numpy as jnp

    side = 512 if context.rehearsal else 8192
    keys = jax.random.split(jax.random.key(0))
    a, b = (jax.random.normal(key, (side, side), jnp.dtype(dtype)) for key in keys)
    dot = jax.jit(jnp.dot)
    return 2 * side**3 / seconds_pipelined(dot, a, b)


def bandwidth(context: Context) -> float:
    """Bytes a second of adding one to a large array, read and written."""
    import jax
    import jax.numpy as jnp

    array = jnp.zeros(2**22 if context.rehearsal else 2**29, jnp.float32)
    return 2 * array.nbytes / seconds_pipelined(jax.jit(lambda x: x + 1), array)


def seconds_pipelined(function: Any, *arguments: Any, count: int = 10) -> float:
    """Seconds a call, the best of three rows of `count` calls that are not waited for."""
    import jax

    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(count):
            result = function(*arguments)
        jax.block_until_ready(result)
        times.append((time.perf_counter() - start) / count)
    return min(times)


def found(context: Context) -> dict[str, float]:
    """The ceilings of this session by `what`; empty where the step failed."""
    return {line["what"]: line["per_second"] for line in context.results() if line.get("event") == "ceiling"}


if __name__ == "__main__":
    main()
