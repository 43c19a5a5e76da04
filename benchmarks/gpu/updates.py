"""The steps `updates` and `updates_more`: one update at full size, in several types, batch sizes and forms.

The first case is compiled alone and timed, because a program at full size may compile for minutes. How many of the others
are compiled beside each other then depends on how long the first one took. Nothing else is on the GPU while a case is timed.
"""

import statistics
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.gpu import ceilings
from benchmarks.gpu.context import Context, given
from benchmarks.gpu.sizes import full_config, make_update, random_vgg19, strided_form

AT_ONCE = 4
"""Cases that are compiled beside each other, at most."""

LONG_COMPILE_S = 60.0
"""Seconds for which a wave of cases should compile. They compete: cuDNN's kernels are tried one after the other."""

TIMED_S = 1.2
"""Seconds for which a case is timed, waiting for each call; as long again without waiting."""

MEASURED_S = 4.0
"""Seconds that timing one case takes in all."""

SMALL_BATCHES = {16: 2, 64: 4}
"""Batch sizes of a rehearsal."""


@dataclass(frozen=True)
class Case:
    """One way to run the update; `per_dispatch` updates are one program."""

    dtype: str
    batch: int
    form: str
    per_dispatch: int

    @classmethod
    def parse(cls, text: str) -> "Case":
        dtype, batch, form, per_dispatch = text.split(":")
        return cls(dtype, int(batch), form, int(per_dispatch))

    def fields(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "batch": self.batch, "form": self.form, "per_dispatch": self.per_dispatch}


@dataclass
class Compiled:
    """A case's program; `moved` is what one update reads and writes in bytes."""

    case: Case
    program: Any
    batch: Any
    seconds: float
    moved: float
    undisturbed: bool = True


def main() -> None:
    context, options = given()
    cases = [Case.parse(text) for text in options["cases"]]
    states: dict[str, Any] = {}
    compiling, a_case, count = 0.0, 0.0, 1
    while cases and count:
        start = time.time()
        wave, cases = cases[:count], cases[count:]
        compiling = run_wave(context, wave, states)
        a_case = (time.time() - start) / len(wave)
        count = wave_size(context.left(), compiling, a_case)
    if cases:
        reason = f"{context.left():.0f} s left, a case takes {a_case:.0f}"
        context.report(event="skipped", reason=reason, cases=[case.fields() for case in cases])


def wave_size(left: float, compiling: float, a_case: float) -> int:
    """How many cases to compile beside each other, where one compiles for `compiling` seconds; 0 if time is left for none.

    `a_case` is the seconds that the wave before took for each of its cases.
    """
    most = max(1, min(AT_ONCE, int(LONG_COMPILE_S / max(compiling, 1.0))))
    return next((count for count in range(most, 0, -1) if left > 1.2 * max(compiling + MEASURED_S, count * a_case)), 0)


def run_wave(context: Context, wave: list[Case], states: dict[str, Any]) -> float:
    """Traces the cases one after the other, compiles them beside each other, and times them; `states` is reused.

    Returns the mean of the seconds that they compiled.
    """
    pool = ThreadPoolExecutor(AT_ONCE)
    jobs: dict[Future, tuple[Case, Any]] = {}
    for case in wave:
        try:
            lowered, batch = lower(context, case, states)
            jobs[pool.submit(compile_case, lowered, case)] = case, batch
        except Exception as error:
            context.report(event="failed", **case.fields(), reason=first_line(error))
    if "operations" not in states:  # counted while the first case compiles
        states["operations"] = operations_of(context)
    _, late = wait(jobs, timeout=max(1.0, context.left() - MEASURED_S * len(jobs)))
    ready = []
    for job, (case, batch) in jobs.items():
        if job in late:  # what is ready is timed all the same, beside it
            context.report(event="failed", **case.fields(), reason=f"still compiling, {context.left():.0f} s left")
            continue
        try:
            program, seconds, moved = job.result()
        except Exception as error:
            context.report(event="failed", **case.fields(), reason=first_line(error))
        else:
            context.report(event="compiled", **case.fields(), seconds=seconds)
            ready.append(Compiled(case, program, batch, seconds, moved, undisturbed=not late))
    for compiled in ready:
        try:
            context.report(event="update", **measure(context, compiled, states))
        except Exception as error:
            context.report(event="failed", **compiled.case.fields(), reason=first_line(error))
            states.pop("state", None)  # the program that failed was given it; the next case makes another
    return sum(compiled.seconds for compiled in ready) / max(len(ready), 1)


def lower(context: Context, case: Case, states: dict[str, Any]) -> tuple[Any, Any]:
    """Traces and lowers the update of a case; returns it with a batch on the device."""
    import jax

    from benchmarks.step import random_batch
    from ipmedgan_jax.systems.interface import Batch
    from ipmedgan_jax.systems.update import train_steps
    from ipmedgan_jax.training import devices

    size = SMALL_BATCHES.get(case.batch, case.batch) if context.rehearsal else case.batch
    config = full_config(context, train__dtype=case.dtype, train__batch_size=size)
    if "frozen" not in states:
        states["frozen"] = devices.replicate(random_vgg19())
    prepare_state(context, states)
    images = random_batch(size * case.per_dispatch, config.data.image_size, config.holes.size)
    batch = Batch(**jax.device_put(devices.split_over_devices(images, case.per_dispatch)))  # there, as the peer's are
    update = partial(train_steps, make_update(config))
    with strided_form(case.form):
        return devices.map_over_devices(update).lower(states["state"], states["frozen"], batch), batch


def operations_of(context: Context) -> float:
    """Operations of one update on one image, in the form `lax`; 0 where they cannot be counted."""
    from benchmarks import step

    config = full_config(context)
    try:
        with strided_form("lax"):
            return step.operations_of(make_update(config), config.data.image_size)
    except Exception as error:  # JAX changes; the times are worth more
        context.report(event="failed", what="operations", reason=first_line(error))
        return 0.0


def prepare_state(context: Context, states: dict[str, Any]) -> None:
    """Puts a fresh training state on the device if there is none; its arrays are equal for every type and batch size."""
    if "state" not in states:
        states["state"] = initial_state(full_config(context))


def initial_state(config: Any) -> Any:
    """A fresh training state on the device; its arrays are the same for every type and batch size."""
    import jax

    from ipmedgan_jax.systems.state import init_state
    from ipmedgan_jax.training import devices

    initial = jax.jit(partial(init_state, make_update(config), image_size=config.data.image_size))
    return devices.replicate(initial(jax.random.key(0)))


def timed_compile(lowered: Any) -> tuple[Any, float]:
    """Compiles; returns the program and the seconds that took."""
    start = time.time()
    return lowered.compile(), time.time() - start


def compile_case(lowered: Any, case: Case) -> tuple[Any, float, float]:
    """Compiles; returns the program, the seconds that took, and the bytes that one update moves (0 if unknown)."""
    from benchmarks import costs

    program, seconds = timed_compile(lowered)
    return program, seconds, costs.bytes_moved(program.as_text() or "") / case.per_dispatch


def measure(context: Context, compiled: Compiled, states: dict[str, Any]) -> dict[str, Any]:
    """The figures of one case."""
    import jax

    from benchmarks import machine

    case, program = compiled.case, compiled.program
    prepare_state(context, states)
    state = states.pop("state")

    def call(state: Any) -> tuple[Any, Any]:
        return program(state, states["frozen"], compiled.batch)

    for _ in range(2):
        start = time.perf_counter()
        state, metrics = jax.block_until_ready(call(state))
        once = time.perf_counter() - start
    count = max(3, min(50, int(TIMED_S / once)))
    times = []
    for _ in range(count):
        start = time.perf_counter()
        state, metrics = jax.block_until_ready(call(state))
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    for _ in range(count):
        state, metrics = call(state)
    jax.block_until_ready(state)
    pipelined = (time.perf_counter() - start) / count / case.per_dispatch
    states["state"] = state
    seconds = statistics.median(times) / case.per_dispatch
    best, size, peak = min(seconds, pipelined), compiled.batch.image.shape[2], ceilings.found(context)
    operations = states.get("operations", 0.0) * size
    return case.fields() | {
        "seconds_per_update": seconds,
        "seconds_min_max": [min(times) / case.per_dispatch, max(times) / case.per_dispatch],
        "seconds_pipelined": pipelined,
        "images_per_second": size / best,
        "operations": operations,
        "share_of_peak": _share(operations / best, peak.get(ceilings.BF16_PRODUCT)),
        "bytes": compiled.moved,
        "share_of_bandwidth": _share(compiled.moved / best, peak.get(ceilings.COPY)),
        "program_gib": _program_gib(program),
        "peak_memory_gib": machine.peak_memory_gib(),  # of all cases so far in this process, and of choosing kernels
        "compile_seconds": compiled.seconds,
        "undisturbed": compiled.undisturbed,
        "finite": all(bool(abs(float(value[-1])) < float("inf")) for value in metrics.values()),
    }


def _program_gib(program: Any) -> float | None:
    """Arguments and buffers of a program, which are what it needs; None where XLA does not tell."""
    memory = program.memory_analysis()
    return memory and (memory.argument_size_in_bytes + memory.temp_size_in_bytes) / 2**30


def _share(rate: float, ceiling: float | None) -> float | None:
    """A rate as a share of its ceiling; None where one of the two is unknown."""
    return rate / ceiling if rate and ceiling else None


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"


if __name__ == "__main__":
    main()
