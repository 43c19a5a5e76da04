"""What this machine's processor can do, and how XLA is told to use it.

With oneDNN, XLA:CPU from jaxlib 0.11 on multiplies bfloat16 numbers by the processor's own instructions: twice as fast as
float32 on a processor with AVX-512's, several times with AMX. Otherwise XLA converts them to float32, which is slower than to
compute in float32 throughout.
"""

import hashlib
import os
import platform
from importlib import metadata
from pathlib import Path

ONEDNN_FLAGS = ("--xla_cpu_use_onednn=true", "--xla_cpu_experimental_onednn_custom_call=true")
"""XLA's flags for oneDNN, for XLA_FLAGS before JAX is imported. A jaxlib that does not know them ends the process."""

FUSION_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
"""XLA's flag for the kinds of operations that it hands to the library YNNPACK on CPUs."""

DETERMINISTIC_FLAG = "xla_gpu_deterministic_ops"
"""XLA's flag against GPU kernels whose sums depend on the order in which threads end, and a choice of kernels by time."""

RIGHT_FUSIONS = {"0.10.2": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
"""Versions of jaxlib whose default is wrong, and the kinds that are right there."""

_BFLOAT16_FEATURES = {"avx512_bf16", "amx_bf16"}
_CPUINFO = Path("/proc/cpuinfo")


def features() -> set[str]:
    """Returns the names that Linux has for the processor's instruction sets; empty on other systems."""
    try:
        lines = _CPUINFO.read_text().splitlines()
        return set(next(line for line in lines if line.startswith(("flags", "Features"))).partition(":")[2].split())
    except (OSError, StopIteration):
        return set()


def name() -> str:
    """Returns a name for the processor's instruction sets, which compiled programs depend on."""
    known = " ".join(sorted(features())) or platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(known.encode()).hexdigest()[:8]}"


def multiplies_bfloat16() -> bool:
    """Says whether processor and jaxlib together multiply bfloat16 numbers faster than float32 numbers."""
    version = tuple(int(part) for part in metadata.version("jaxlib").split(".")[:2])
    return (0, 11) <= version <= (0, 12) and bool(features() & _BFLOAT16_FEATURES)


def request_onednn() -> bool:
    """Adds `ONEDNN_FLAGS` to XLA_FLAGS if `multiplies_bfloat16`; returns whether they are there. Call it before JAX starts.

    Flags that the user has set stay. JAX cannot store programs with oneDNN's convolutions in its cache: they are compiled
    by every process.
    """
    if multiplies_bfloat16():
        _add_unless_given("xla_cpu_use_onednn", *ONEDNN_FLAGS)
    return uses_onednn()


def uses_onednn() -> bool:
    """Says whether XLA_FLAGS turn oneDNN on."""
    return set(ONEDNN_FLAGS) <= set(os.environ.get("XLA_FLAGS", "").split())


def avoid_wrong_fusions() -> None:
    """Turns off XLA's fusions that compute wrong values on CPUs, unless the user has set the flag. Call it before JAX starts.

    In jaxlib 0.10.2, the last one for Python 3.11, sums of products of more than 32,768 rows are wrong for some shapes
    (jax-ml/jax#39103).
    """
    if right := RIGHT_FUSIONS.get(metadata.version("jaxlib")):
        _add_unless_given(FUSION_FLAG, f"{FUSION_FLAG}={right}")


def compiler_options() -> dict[str, str]:
    """Returns options for `jax.jit` that keep one program from wrong fusions, for a process in which JAX may have started.

    They are empty where `avoid_wrong_fusions`, or the user, has set the flag for the whole process.
    """
    right = RIGHT_FUSIONS.get(metadata.version("jaxlib"))
    given = FUSION_FLAG in os.environ.get("XLA_FLAGS", "")
    return {FUSION_FLAG.removeprefix("--"): right} if right and not given else {}


def request_determinism() -> None:
    """Tells XLA to use only kernels on GPUs that give the same bits every time, unless the user has set the flag.

    Call it before JAX starts. On a CPU the flag is known and changes nothing.
    """
    _add_unless_given(DETERMINISTIC_FLAG, f"--{DETERMINISTIC_FLAG}=true")


def _add_unless_given(name: str, *xla_flags: str) -> None:
    """Adds flags to XLA_FLAGS unless the user has set the one of this name."""
    given = os.environ.get("XLA_FLAGS", "")
    if name not in given:
        os.environ["XLA_FLAGS"] = " ".join([given, *xla_flags]).strip()
