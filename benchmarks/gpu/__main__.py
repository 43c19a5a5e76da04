"""A session on a machine with a GPU, within a number of minutes; launch/gpu.sh, which runs it, explains its arguments.

The session itself imports the standard library alone: packages are unpacked first, and only its steps use the GPU.
"""

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.gpu import kit, plan, summary
from benchmarks.gpu.context import LOG_FILE, NO_GPU, RESULTS_FILE, Context, read
from benchmarks.gpu.steps import Interrupted, run_steps

LOG_BYTES = 8 * 2**20
"""Of the session's log, at most: it may hold a compiler's warnings."""

CLOSING_S = 8.0
"""Seconds kept back for the end of the session itself."""

TUNING = "--xla_gpu_autotune_level=2"
"""XLA tries kernels as always, but does not compare their results (its level 4), which would take as long again."""

SHARED_MEMORY = Path("/dev/shm")
RUN_GIB = 24
"""Free GiB with which runs go to shared memory: a checkpoint at full size has 5 GiB, and a disk may be slow."""


def main() -> None:
    start = time.time()
    given = parse(sys.argv[1:])
    output, scratch = Path(given.output).absolute(), Path(given.scratch).absolute()
    scratch = scratch / "rehearsal" if given.rehearsal else scratch  # its figures and data are others
    if (output / RESULTS_FILE).exists():
        fail(f"{output}: holds the results of another session; choose another --output")
    for folder in (output, scratch):
        folder.mkdir(parents=True, exist_ok=True)
    end = start + 60 * given.minutes - CLOSING_S
    context = Context("session", str(output), str(scratch), start, end, given.rehearsal)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    code, environment = 1, environment_of(scratch, given.rehearsal)
    try:
        steps = plan.steps(given.minutes, given.rehearsal, Path(given.kit).absolute(), chosen=given.steps)
        context.report(event="start", minutes=given.minutes, rehearsal=given.rehearsal, steps=[step.name for step in steps])
        began = time.time()
        packages = kit.unpack_wheels(Path(given.kit), scratch)
        own = [str(packages), str(Path.cwd()), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, own))
        context.report(event="unpacked packages", seconds=time.time() - began)
        code = 0 if run_steps(steps, context, environment) else 1
    except Interrupted as error:
        context.report(event="interrupted", signal=str(error))
        code = 143
    except kit.KitError as error:
        fail(str(error))
    finally:
        summary.write(output)
        shorten(output / LOG_FILE)
    lines = read(output / RESULTS_FILE)
    if any(line["step"] == "machine" and line.get("exit_code") == NO_GPU for line in lines):
        reason = next((line["reason"] for line in lines if line.get("event") == "no GPU"), "see session.log")
        print(f"error: no CUDA GPU here ({reason}); --rehearsal runs small networks on the CPU", file=sys.stderr)
        code = NO_GPU
    print(summary.closing_lines(lines))
    sys.exit(code)


def shorten(log: Path) -> None:
    """Leaves out the middle of a log that is too large to come back."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        with log.open("rb+") as file:
            first = file.read(LOG_BYTES // 2)
            file.seek(-LOG_BYTES // 2, os.SEEK_END)
            last = file.read()
            file.seek(0)
            file.write(first + b"\n\n[...]\n\n" + last)
            file.truncate()


def parse(arguments: list[str]) -> Any:
    parser = argparse.ArgumentParser("launch/gpu.sh", description="Checks, times and trains on a machine with a GPU.")
    parser.add_argument("--output", required=True, help="folder of the results")
    parser.add_argument("--minutes", type=float, default=12.0, help="for everything (12)")
    parser.add_argument("--kit", default="gpu_kit", help="folder that launch/gpu_kit.sh made (gpu_kit)")
    parser.add_argument("--scratch", default="/tmp/ipmedgan_gpu", help="folder for everything that does not come back")
    parser.add_argument(
        "--steps", type=lambda text: text.split(","), default=None, help=f"only these: {' '.join(plan.NAMES)}"
    )
    parser.add_argument("--rehearsal", action="store_true", help="small networks on the CPU")
    given = parser.parse_args(arguments)
    if not 0.05 <= given.minutes <= 120:
        parser.error(f"--minutes={given.minutes:g}: expected 0.05 to 120")
    if unknown := set(given.steps or ()) - set(plan.NAMES):
        parser.error(f"--steps: {min(unknown)} is none of {' '.join(plan.NAMES)}")
    return given


def environment_of(scratch: Path, rehearsal: bool) -> dict[str, str]:
    """The steps' environment: every cache in scratch, no download, and most of the GPU's memory for the one process."""
    own = {
        "JAX_COMPILATION_CACHE_DIR": str(scratch / "compiled"),
        "XDG_CACHE_HOME": str(scratch / "cache"),
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"),
        "TRITON_CACHE_DIR": str(scratch / "triton"),
        "PYTHONPYCACHEPREFIX": str(scratch / "pycache"),
        "PIP_NO_INDEX": "1",
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "1",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.9",  # one process at a time has the GPU
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # later steps, and a second session, compile nothing again
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {TUNING}".strip(),
    }
    if rehearsal:
        own |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    else:
        own |= {"JAX_PLATFORMS": "cuda,cpu"}  # the CPU computes the references
    shm = SHARED_MEMORY if SHARED_MEMORY.is_dir() and os.access(SHARED_MEMORY, os.W_OK) else None
    roomy = shm is not None and not rehearsal and shutil.disk_usage(shm).free > RUN_GIB * 2**30
    own["IPMEDGAN_GPU_RUNS"] = str((shm if roomy and shm else scratch) / "ipmedgan_gpu_runs")
    return dict(os.environ) | own


def _interrupt(number: int, _: Any) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise Interrupted(signal.Signals(number).name)


def fail(text: str) -> NoReturn:
    print(f"error: {text}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
