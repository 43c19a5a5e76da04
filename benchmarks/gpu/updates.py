"""The steps `updates` and `updates_more`: one update at full size, in several types, batch sizes and forms.

Several cases are compiled at once, beside each other, then timed one after the other with nothing else on the GPU.
"""

import os
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
"""Cases that are compiled beside each other."""

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
    """A case's program; `operations` of one update by XLA's account before it compiles."""

    case: Case
    program: Any
    operations: float
    batch: Any
    seconds: float


def main() -> None:
    context, options = given()
    cases = [Case.parse(text) for text in options["cases"]]
    waves = [cases[i : i + AT_ONCE] for i in range(0, len(cases), AT_ONCE)]
    states: dict[str, Any] = {}
    longest = 0.0
    for wave in waves:
        if context.left() < 1.2 * longest:
            context.report(event="skipped", reason=f"{context.left():.0f} s left", cases=[case.fields() for case in wave])
            continue
        start = time.time()
        run_wave(context, wave, states)
        longest = max(longest, time.time() - start)


def run_wave(context: Context, wave: list[Case], states: dict[str, Any]) -> None:
    """Traces the cases one after the other, compiles them beside each other, and times them; `states` is reused."""
    pool = ThreadPoolExecutor(min(AT_ONCE, os.cpu_count() or 1))
    jobs: dict[Future, tuple[Case, float, Any]] = {}
    for case in wave:
        try:
            lowered, operations, batch = lower(context, case, states)
            jobs[pool.submit(timed_compile, lowered)] = case, operations, batch
        except Exception as error:
            context.report(event="failed", **case.fields(), reason=first_line(error))
    _, late = wait(jobs, timeout=max(1.0, context.left() - MEASURED_S * len(jobs)))
    ready = []
    for job, (case, operations, batch) in jobs.items():
        if job in late:  # what is ready is timed all the same, beside it
            context.report(event="failed", **case.fields(), reason=f"still compiling, {context.left():.0f} s left")
            continue
        try:
            program, seconds = job.result()
        except Exception as error:
            context.report(event="failed", **case.fields(), reason=first_line(error))
        else:
            context.report(event="compiled", **case.fields(), seconds=seconds, undisturbed=not late)
            ready.append(Compiled(case, program, operations, batch, seconds))
    for compiled in ready:
        try:
            context.report(event="update", **measure(context, compiled, states))
        except Exception as error:
            context.report(event="failed", **compiled.case.fields(), reason=first_line(error))
            states.pop("state", None)  # the program that failed was given it
            if compiled is not ready[-1]:
                states["state"] = initial_state(full_config(context))


def lower(context: Context, case: Case, states: dict[str, Any]) -> tuple[Any, float, Any]:
    """Traces and lowers the update of a case; returns it with one update's operations and a batch on the device."""
    import jax

    from benchmarks.step import costs, random_batch
    from ipmedgan_jax.systems.interface import Batch
    from ipmedgan_jax.systems.update import train_steps
    from ipmedgan_jax.training import devices

    size = SMALL_BATCHES.get(case.batch, case.batch) if context.rehearsal else case.batch
    config = full_config(context, train__dtype=case.dtype, train__batch_size=size)
    update = make_update(config)
    if "frozen" not in states:
        states["frozen"] = devices.replicate(random_vgg19())
    if "state" not in states:
        states["state"] = initial_state(config)
    images = random_batch(size * case.per_dispatch, config.data.image_size, config.holes.size)
    batch = Batch(**jax.device_put(devices.split_over_devices(images, case.per_dispatch)))  # there, as the peer's are
    with strided_form(case.form):
        lowered = devices.map_over_devices(partial(train_steps, update)).lower(states["state"], states["frozen"], batch)
    operations = costs(lowered)["flops"]  # a loop's body counts once
    return lowered, operations, batch


def initial_state(config: Any) -> Any:
    """A fresh training state on the device; its arrays are the same for every type and batch size."""
    import jax

    from ipmedgan_jax.systems.update import init_state
    from ipmedgan_jax.training import devices

    initial = jax.jit(partial(init_state, make_update(config), image_size=config.data.image_size))
    return devices.replicate(initial(jax.random.key(0)))


def timed_compile(lowered: Any) -> tuple[Any, float]:
    start = time.time()
    return lowered.compile(), time.time() - start


def measure(context: Context, compiled: Compiled, states: dict[str, Any]) -> dict[str, Any]:
    """The figures of one case."""
    import jax

    from benchmarks import machine
    from benchmarks.step import costs

    case, program = compiled.case, compiled.program
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
    peak, moved = ceilings.found(context), costs(program)["bytes accessed"]  # a loop's body counts once, here too
    seconds = statistics.median(times) / case.per_dispatch
    best, memory = min(seconds, pipelined), program.memory_analysis()
    size = compiled.batch.image.shape[2]
    return case.fields() | {
        "seconds_per_update": seconds,
        "seconds_min_max": [min(times) / case.per_dispatch, max(times) / case.per_dispatch],
        "seconds_pipelined": pipelined,
        "images_per_second": size / best,
        "operations": compiled.operations,
        "share_of_peak": _share(compiled.operations / best, peak.get("matrix product bfloat16")),
        "bytes": moved,
        "share_of_bandwidth": _share(moved / best, peak.get("copy, bytes read and written"))
        if case.per_dispatch == 1
        else None,
        "program_gib": memory and (memory.argument_size_in_bytes + memory.temp_size_in_bytes) / 2**30,
        "peak_memory_gib": machine.peak_memory_gib(),  # of all cases so far in this process
        "compile_seconds": compiled.seconds,
        "finite": all(bool(abs(float(value[-1])) < float("inf")) for value in metrics.values()),
    }


def _share(rate: float, ceiling: float | None) -> float | None:
    return rate / ceiling if ceiling else None


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"


if __name__ == "__main__":
    main()
