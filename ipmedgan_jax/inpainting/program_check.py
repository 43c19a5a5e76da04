"""Checks a compiled program of others before this process reads it.

JAX asks for programs that are trusted: `jax.export.deserialize` says so. A program may call any function that jaxlib knows by
a name, among them those that call back into Python. Its reader, MLIR, can crash on altered bytes: 19 of 2,500 programs with 1
to 16 changed bytes ended the process (JAX 0.10.2). So a second process, with bounds on its time and memory, reads the program
first and reports what is in it. A crash there is an error here. Only programs of plain arithmetic pass.

This keeps accidents and simple attacks away. It is no sandbox: see SECURITY.md.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipmedgan_jax.core import json_fields
from ipmedgan_jax.core.errors import UserError

SECONDS = 20
"""Processor time for reading a program; this package's take 2 s, most of it to start Python and JAX."""

MEMORY = 4 * 2**30
"""Bytes for reading a program; this package's take less than 1 GiB."""

_PER_CORE = 2**25
"""Bytes for the threads of each core."""

DIALECTS = ("builtin", "func", "stablehlo", "chlo")
"""Sets of operations that a program may use."""

REFUSED = {f"stablehlo.{name}" for name in ("custom_call", "infeed", "outfeed", "send", "recv")}
"""Operations that reach outside the program: into jaxlib's functions and Python, or to another process."""


@dataclass(frozen=True)
class Contents:
    """What a program says of itself.

    Attributes:
      calling_convention: version of the form of its entry.
      platforms: kinds of machine that it was made for.
      devices: number of devices that it runs on at once.
      effects: number of its side effects.
      inputs: shape and type of each input; a side that is not a number has its formula as a text.
      outputs: the same of each output.
      operations: names of its operations.
    """

    calling_convention: int
    platforms: tuple[str, ...]
    devices: int
    effects: int
    inputs: tuple[tuple[tuple[int | str, ...], str], ...]
    outputs: tuple[tuple[tuple[int | str, ...], str], ...]
    operations: tuple[str, ...]


def inspect(path: Path, content: bytes) -> Contents:
    """Has another process read a program, and returns its report.

    UserError, which names the file, if the program cannot be read, crashes its reader, takes too much time or memory, or does
    anything but arithmetic.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "JAX_PLATFORMS": "cpu"}
    command = _main_command()
    try:
        # Ten times the processor time, because a busy machine gives less of it.
        done = subprocess.run(command, input=content, capture_output=True, env=environment, check=False, timeout=10 * SECONDS)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{path}: its program takes more than {10 * SECONDS} s to read; {_ADVICE}") from error
    except OSError as error:
        raise UserError(f"{path}: its program cannot be checked: no second process starts ({error.strerror})") from error
    if -done.returncode in (signal.SIGXCPU, signal.SIGKILL):
        raise UserError(f"{path}: its program takes more than {SECONDS} s or {MEMORY >> 30} GiB to read; {_ADVICE}")
    if done.returncode < 0:
        raise UserError(f"{path}: its program crashes its reader (signal {-done.returncode}); {_ADVICE}")
    try:
        lines = done.stdout.splitlines()
        report = json_fields.parse(lines[-1] if lines else b"")
        if isinstance(report, dict) and isinstance(problem := report.get("problem"), str):
            raise UserError(f"{path}: its program cannot be read ({problem}); {_ADVICE}")
        contents = json_fields.build(Contents, report)
    except ValueError as error:
        raise UserError(f"{path}: its program cannot be checked (exit code {done.returncode}); {_ADVICE}") from error
    _check(path, contents)
    return contents


def _main_command() -> list[str]:
    """Returns the command of the second process, which finds modules where this one does and not in the working directory."""
    return [sys.executable, "-P", "-m", __name__]


_ADVICE = "export the model again, and use compiled models of people you trust only"


def _check(path: Path, found: Contents) -> None:
    """UserError if a program does anything but arithmetic on one device."""
    for name in found.operations:
        if name in REFUSED or name.partition(".")[0] not in DIALECTS:
            reaches = f"its program has the operation {name[:80]}, which reaches outside it"
            raise UserError(f"{path}: {reaches}: refused, nothing was run")
    if found.effects or found.devices != 1:
        raise UserError(f"{path}: its program has side effects, or is for {found.devices} devices: refused, nothing was run")


# ------------------------------------------------------------------ the second process


def _main() -> None:
    """Reads a program from the standard input and prints its `Contents`, or its problem, as JSON."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    memory = MEMORY + _PER_CORE * (os.cpu_count() or 1)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    try:
        report = _contents(sys.stdin.buffer.read())
    except BaseException as error:  # whatever it is, it is the program's fault
        report = {"problem": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    print(json.dumps(report), flush=True)
    os._exit(0)  # so that nothing of the program is torn down


def _contents(content: bytes) -> dict[str, Any]:
    import jax.export
    from jaxlib.mlir import ir
    from jaxlib.mlir.dialects import chlo, stablehlo

    exported = jax.export.deserialize(bytearray(content))
    operations = set()

    def note(operation: Any) -> Any:
        operations.add(str(operation.name))
        return ir.WalkResult.ADVANCE

    with ir.Context() as context:
        chlo.register_dialect(context)
        module = stablehlo.deserialize_portable_artifact(context, exported.mlir_module_serialized)
        module.operation.walk(note)
        if not module.operation.verify():
            raise ValueError("not a program")
    return {
        "calling_convention": exported.calling_convention_version,
        "platforms": exported.platforms,
        "devices": exported.nr_devices,
        "effects": len(exported.ordered_effects) + len(exported.unordered_effects),
        "inputs": [_array(value) for value in exported.in_avals],
        "outputs": [_array(value) for value in exported.out_avals],
        "operations": sorted(operations),
    }


def _array(value: Any) -> list[Any]:
    return [[side if isinstance(side, int) else str(side) for side in value.shape], str(value.dtype)]


if __name__ == "__main__":
    _main()
