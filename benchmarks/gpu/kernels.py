"""The step `kernels`: a profile of five updates at batch 1 and 16, and its longest kernels as text."""

import shutil
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.gpu.context import Context, given
from benchmarks.gpu.updates import Case, first_line, lower

UPDATES, TOP = 5, 20
KERNELS_FILE = "kernels.txt"


def main() -> None:
    context, _ = given()
    for batch in (16, 1):
        try:
            profile(context, Case("bfloat16", batch, "lax", 1))
        except Exception as error:
            context.report(event="failed", batch=batch, reason=first_line(error))


def profile(context: Context, case: Case) -> None:
    """Traces the updates of a case, which the step `updates` has left in the cache of compiled programs."""
    import jax

    states: dict[str, Any] = {}
    start = time.time()
    lowered, batch = lower(context, case, states)
    program = lowered.compile()
    context.report(event="compiled", **case.fields(), seconds=time.time() - start)
    state = states.pop("state")
    for _ in range(2):
        state, _ = jax.block_until_ready(program(state, states["frozen"], batch))
    folder = Path(context.scratch) / f"trace_{case.batch}"
    shutil.rmtree(folder, ignore_errors=True)
    start = time.perf_counter()
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # it would slow the host down
    with jax.profiler.trace(str(folder), profiler_options=options):
        for _ in range(UPDATES):
            state, metrics = program(state, states["frozen"], batch)
        jax.block_until_ready((state, metrics))
        wall = time.perf_counter() - start
    report(context, case, folder, wall)
    shutil.rmtree(folder, ignore_errors=True)


def report(context: Context, case: Case, folder: Path, wall: float) -> None:
    """Adds the table of the longest kernels to `KERNELS_FILE`; the results get the five longest."""
    kernels = kernel_times(next(folder.rglob("*.xplane.pb")))
    total = sum(seconds for seconds, _ in kernels.values())
    if not kernels:
        raise ValueError("the profile has no kernels")
    longest = sorted(kernels.items(), key=lambda item: -item[1][0])[:TOP]
    lines = [
        f"{case.dtype}, batch {case.batch}, {case.form}: {UPDATES} updates, {1e3 * wall / UPDATES:.3f} ms each on the clock, "
        f"{1e3 * total / UPDATES:.3f} ms each in {len(kernels)} kernels",
        "   ms/update  share  calls  kernel",
    ]
    for name, (seconds, calls) in longest:
        share = seconds / max(total, 1e-12)
        lines.append(f"{1e3 * seconds / UPDATES:12.4f} {share:6.1%} {calls / UPDATES:6.1f}  {name[:160]}")
    with (Path(context.output) / KERNELS_FILE).open("a") as file:
        file.write("\n".join(lines) + "\n\n")
    short = [[name[:80], 1e3 * seconds / UPDATES] for name, (seconds, _) in longest[:5]]
    fields = {"wall_ms": 1e3 * wall / UPDATES, "kernel_ms": 1e3 * total / UPDATES, "kernels": len(kernels)}
    context.report(event="profile", **case.fields(), **fields, longest_ms=short)


def kernel_times(path: Path) -> dict[str, tuple[float, int]]:
    """Seconds and calls of each kernel: of the GPU's streams, or of XLA's threads on a CPU."""
    import jax

    planes = list(jax.profiler.ProfileData.from_file(str(path)).planes)
    gpus = [plane for plane in planes if plane.name.startswith("/device:GPU")]
    seconds: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    host = [plane for plane in planes if plane.name == "/host:CPU"]
    for plane in gpus or host:
        for line in plane.lines:
            if not (line.name.startswith("Stream") if gpus else "XLA" in line.name):
                continue
            for event in line.events:
                if not gpus and ("::" in event.name or event.name.startswith("end: ")):
                    continue  # the runtime of XLA:CPU itself, and what it finds in the trace twice
                seconds[event.name] += event.duration_ns * 1e-9
                calls[event.name] += 1
    return {name: (seconds[name], calls[name]) for name in seconds}


if __name__ == "__main__":
    main()
