"""The step `correctness`: a small update and a fill here, against float64 on the CPU.

For each system and type, one program gives: the generator's output, VGG-19's features and a fill; each term of the
generator's loss and its gradient by the output; each discriminator's loss and its gradient by the parameters; the gradient
of the whole loss by the generator's parameters; and the metrics of `train_step`. Errors are ||a - b|| / ||b|| of each of
these, b in float64.
"""

import contextlib
import functools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from typing import Any

from benchmarks.gpu.context import Context, given
from benchmarks.gpu.sizes import make_update, random_vgg19, small_config
from benchmarks.gpu.updates import first_line

MODES = {"float32": "float32", "tf32": "float32", "bfloat16": "bfloat16"}
"""Type of the computation; `float32` asks for full-precision products, `tf32` leaves them to the platform."""

LIMITS = {"float32": (1e-4, 1e-3), "tf32": (2e-2, 1e-1), "bfloat16": (1e-1, 4e-1)}
"""Largest errors of values and of gradients.

XLA:CPU's own errors at 64x64 pixels: at most 5e-6 and 3e-4 in float32 (the style term's gradient), 0.04 and 0.18 in bfloat16
(the generator's gradient, through two dozen normalisations). A gradient that is wrong is off by about 1.
"""


def main() -> None:
    context, options = given()
    import jax

    here, cpu = jax.devices()[0], jax.local_devices(backend="cpu")[0]
    with ThreadPoolExecutor(max(2, (os.cpu_count() or 2) // 2)) as pool:
        jobs: dict[Any, tuple[str, str]] = {}
        references: dict[str, Any] = {}
        for system, mode in options["cases"]:
            if context.left() < 5:
                break
            try:
                if system not in references:
                    references[system] = None  # not tried twice
                    references[system] = pool.submit(run, trace(context, system, "float64", cpu))
                if references[system] is not None:
                    jobs[pool.submit(run, trace(context, system, mode, here))] = (system, mode)
            except Exception as error:
                context.report(event="failed", system=system, mode=mode, reason=first_line(error))
            for job in [job for job, (name, _) in jobs.items() if job.done() and references[name].done()]:
                compare(context, job, *jobs.pop(job), references)
        for job in as_completed(jobs):
            compare(context, job, *jobs[job], references)


def compare(context: Context, job: Any, system: str, mode: str, references: dict[str, Any]) -> None:
    """Reports the errors of a job's results against its system's reference, for which it waits."""
    try:
        report(context, system, mode, errors(job.result(), references[system].result()))
    except Exception as error:
        context.report(event="failed", system=system, mode=mode, reason=first_line(error))


def report(context: Context, system: str, mode: str, found: dict[str, float]) -> None:
    limits = {name: LIMITS[mode][name.endswith("gradient")] for name in found}
    worst = max(found, key=lambda name: found[name] / limits[name])
    within = all(found[name] <= limit for name, limit in limits.items())
    fields = {"system": system, "mode": mode, "worst": found[worst], "of": worst, "limit": limits[worst], "within": within}
    context.report(event="error", **fields, errors=found)


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """What is traced inside computes in float64, where the package's own code says float32 too."""
    import jax
    import jax.numpy as jnp

    float32 = jnp.float32
    with jax.enable_x64(True):
        jnp.float32 = jnp.float64  # type: ignore[assignment, misc]
        try:
            yield
        finally:
            jnp.float32 = float32  # type: ignore[misc]


def trace(context: Context, system: str, mode: str, device: Any) -> tuple[Any, Any, bool]:
    """Lowers `everything` of a system for a device; returns it with its arguments, and whether they are float64."""
    import jax
    import numpy as np

    config = small_config(context, system, MODES.get(mode, mode))
    wide, precision = mode == "float64", "highest" if mode == "float32" else None
    arguments = jax.device_get(_arguments(context, system))
    with in_float64() if wide else jax.default_matmul_precision(precision):
        if wide:
            wider = {np.dtype(np.float32): np.float64, np.dtype(np.int32): np.int64}
            arguments = jax.tree.map(lambda x: x.astype(wider.get(x.dtype, x.dtype)), arguments)
        arguments = jax.device_put(arguments, device)
        return jax.jit(partial(everything, config)).lower(*arguments), arguments, wide


def run(traced: tuple[Any, Any, bool]) -> dict[str, Any]:
    """Compiles and calls a traced function; returns its results on the host."""
    import jax

    lowered, arguments, wide = traced
    with jax.enable_x64(wide):
        return jax.device_get(lowered.compile()(*arguments))


@functools.cache
def _arguments(context: Context, system: str) -> tuple[Any, ...]:
    """State, VGG-19's weights, a batch with the mapped axis, an image in place of an output, and a gradient of it."""
    import jax
    import numpy as np

    from benchmarks.step import random_batch
    from ipmedgan_jax.systems.interface import Batch
    from ipmedgan_jax.systems.state import init_state

    config = small_config(context, system, "float32")
    update = make_update(config)
    size, count = config.data.image_size, config.train.batch_size
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        state = jax.jit(partial(init_state, update, image_size=size))(jax.random.key(config.seed))
        state = state.replace(key=jax.random.key_data(state.key))
        batch = {name: value[None] for name, value in random_batch(count, size, config.holes.size).items()}
        rng = np.random.default_rng(1)
        output = rng.uniform(-1, 1, (1, count, size, size, 1)).astype(np.float32)
        return jax.device_get((state, random_vgg19(), Batch(**batch), output, rng.standard_normal(output.shape, np.float32)))


def everything(config: Any, state: Any, frozen: Any, batch: Any, output: Any, cotangent: Any) -> dict[str, Any]:
    """All values and gradients of the docstring; `batch` and what follows have a leading axis of 1, which is mapped."""
    import jax

    from ipmedgan_jax.networks.layers import DATA_AXIS

    state = state.replace(key=jax.random.wrap_key_data(state.key))
    mapped = jax.vmap(partial(_everything, config, state, frozen), axis_name=DATA_AXIS)
    return jax.tree.map(lambda x: x[0], mapped(batch, output, cotangent))


def _everything(config: Any, state: Any, frozen: Any, batch: Any, output: Any, cotangent: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from ipmedgan_jax.networks.vgg19 import VGG19
    from ipmedgan_jax.systems import update as updates

    update = make_update(config)
    system, results = update.system, {}

    made, pullback, _ = updates.run_generator(system, state.generator, batch, jax.random.fold_in(state.key, 0))
    results["generator"] = made
    results["generator, gradient"] = pullback(cotangent.astype(made.dtype))[0]
    variables = {"params": state.generator.params, "batch_stats": state.generator.statistics}
    fill = system.generator.apply(variables, system.generator_input(batch), train=False)
    results["fill"] = batch.inpainted(fill)
    vgg19 = VGG19("caffe", dtype=jnp.dtype(config.train.dtype))
    maps, pullback = jax.vjp(lambda image: vgg19.apply({"params": frozen}, image), batch.image)
    results["VGG-19"] = maps
    results["VGG-19, gradient"] = pullback(jax.tree.map(jnp.ones_like, maps))[0]

    for name, net in state.discriminators.items():
        gradient, _, metrics = updates.discriminator_gradients(system, name, net, frozen, batch, output)
        results[f"discriminator {name}"] = metrics
        results[f"discriminator {name}, gradient"] = gradient

    def discriminate(name: str, image: Any) -> Any:
        net, shown = state.discriminators[name], system.discriminator_input(name, batch, image, frozen)
        return updates.apply(system.discriminators[name], net, shown)[0]

    def terms(output: Any) -> dict[str, Any]:
        return {name: term.value for name, term in system.generator_loss(frozen, batch, output, discriminate).items()}

    values, pullback = jax.vjp(terms, output)
    for name, value in values.items():
        only = {other: jnp.ones_like(value) * (other == name) for other in values}
        results[f"loss {name}"] = value
        results[f"loss {name}, gradient"] = pullback(only)[0]
    results["train_step"] = updates.train_step(update, state, frozen, batch)[1]
    return results


def errors(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, float]:
    """Relative errors of each result, over all its arrays together; infinite where a number is not finite."""
    import jax
    import numpy as np

    def of(name: str) -> float:
        pairs = zip(jax.tree.leaves(found[name]), jax.tree.leaves(expected[name]), strict=True)
        wide = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs]
        if name == "train_step":  # scalars of unlike size
            return max(float(abs(a - b) / max(abs(b), 1e-3)) for a, b in wide)
        difference = sum(float(np.square(a - b).sum()) for a, b in wide)
        error = (difference / max(sum(float(np.square(b).sum()) for _, b in wide), 1e-30)) ** 0.5
        return error if np.isfinite(error) else float("inf")

    return {name: of(name) for name in expected}


if __name__ == "__main__":
    main()
