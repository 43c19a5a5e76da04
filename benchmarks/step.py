"""Times one update of any config on random images and prints one JSON line.

  python -m benchmarks.step --config=configs/ct.py --steps=10
  python -m benchmarks.step --config=configs/small.py --config.train.batch_size=8 --config.train.dtype=bfloat16

Images and VGG-19 weights are random, which does not change the work. All local devices are used, as in training. The figures
are:

seconds_per_step            median over `--steps` updates, each waited for, after `--warmup` updates
seconds_per_step_pipelined  mean over `--steps` updates without waiting in between, as in the training loop
compile_seconds             time to compile the update; short if an earlier process compiled it
start_seconds               time from the start of the process to the end of the first update
flops, share_of_peak        operations of the update as written, before the compiler's changes, and their rate as a share of
                            the rate of one large dot of the same type on this machine
bytes, share_of_bandwidth   bytes that the compiled update's kernels read and write (benchmarks/costs.py), and their rate as a
                            share of the rate of one large addition
peak_memory_gib             peak memory of the device; on a CPU, of the whole process
seconds_per_target          with `train.target_cache_gib`, for a system that has targets: time to compute those of one slice,
                            which training does once a slice. The timed updates do without it: they are given the targets,
                            as in the epochs after the first. 0: the update computes what it compares with
"""

import json
import statistics
import time
from functools import partial
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from ipmedgan_jax.core import runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.experiment import config_flag

_STARTED = time.monotonic()

_RANDOM_VGG19 = "random"


def main() -> None:
    runtime.set_up(config_flag.computation_type(flags.FLAGS.config))
    config = flags.FLAGS.config.unlock()
    config.vgg19.weights = _RANDOM_VGG19
    values = flags.FLAGS
    print(json.dumps(measure(config.lock(), warmup=values.warmup, count=values.steps, trace=values.trace)))


def measure(config: ConfigDict, *, warmup: int, count: int, trace: str | None = None) -> dict[str, Any]:
    """Measures the figures of the module's docstring; a profile of one more update is written to the folder `trace`."""
    import jax

    from benchmarks import costs, machine
    from ipmedgan_jax.experiment import build, phases
    from ipmedgan_jax.systems.interface import Batch
    from ipmedgan_jax.systems.state import init_state
    from ipmedgan_jax.systems.update import train_steps
    from ipmedgan_jax.training import devices, target_cache

    size, batch_size = config.data.image_size, config.train.batch_size
    features = build.feature_network(config)
    update = phases.make_update(config, build.make_system(config, features.net))
    state = devices.replicate(jax.jit(partial(init_state, update, image_size=size))(jax.random.key(config.seed)))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.generator.params))
    frozen = devices.replicate(features.params)
    add_targets = target_cache.make_add_targets(
        update.system, features.params, gib=config.train.target_cache_gib, image_size=size, slices=0
    )
    arrays = add_targets(random_batch(batch_size, size, config.holes.size))
    seconds_per_target = 0.0
    if "targets" in arrays:
        start = time.perf_counter()
        add_targets(arrays)  # there is room for no slice: computed again
        seconds_per_target = (time.perf_counter() - start) / batch_size
    batch = Batch(**devices.split_over_devices(arrays))

    start = time.monotonic()
    compiled = devices.map_over_devices(partial(train_steps, update)).lower(state, frozen, batch).compile()
    compile_seconds = time.monotonic() - start
    runtime.give_back_freed_memory()
    state, metrics = jax.block_until_ready(compiled(state, frozen, batch))
    start_seconds = time.monotonic() - _STARTED

    for _ in range(warmup):
        state, metrics = jax.block_until_ready(compiled(state, frozen, batch))
    times = []
    for _ in range(count):
        start = time.perf_counter()
        state, metrics = jax.block_until_ready(compiled(state, frozen, batch))
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    for _ in range(count):
        state, metrics = compiled(state, frozen, batch)
    jax.block_until_ready(state)
    pipelined = (time.perf_counter() - start) / count

    if trace:
        with jax.profiler.trace(trace):
            state, _ = jax.block_until_ready(compiled(state, frozen, batch))
    peak_memory = machine.peak_memory_gib()  # read before the reference measurements below use memory
    seconds = statistics.median(times)
    operations, moved = operations_of(update, size) * batch_size, costs.bytes_moved(compiled.as_text())
    return machine.describe(config, devices=jax.local_device_count()) | {
        "batch_size": batch_size,
        "parameters": parameters,
        "seconds_per_step": seconds,
        "seconds_min_max": [min(times), max(times)],
        "seconds_per_step_pipelined": pipelined,
        "images_per_second": batch_size / seconds,
        "seconds_per_target": seconds_per_target,
        "compile_seconds": compile_seconds,
        "start_seconds": start_seconds,
        "flops": operations,
        "share_of_peak": operations / seconds / machine.dot_rate(config.train.dtype),
        "bytes": moved,
        "share_of_bandwidth": moved / seconds / machine.bandwidth(),
        "peak_memory_gib": peak_memory,
        "last": {name: float(value[-1]) for name, value in metrics.items()},
    }


def random_batch(batch_size: int, size: int, hole: int) -> dict[str, Any]:
    """Makes images of uniform noise `[B, H, W, 1]` with holes `[B, 4]` at random places, on the host."""
    import numpy as np

    rng = np.random.default_rng(0)
    corners = rng.integers(0, size - hole + 1, (batch_size, 2))
    return {
        "image": rng.uniform(-1, 1, (batch_size, size, size, 1)).astype(np.float32),
        "hole": np.concatenate([corners, np.full((batch_size, 2), hole)], axis=1).astype(np.int32),
    }


def operations_of(update: Any, size: int) -> float:
    """Operations of one update on one image of `size` x `size` pixels; those of a batch are as many times more."""
    import jax
    import jax.numpy as jnp

    from benchmarks import costs
    from ipmedgan_jax.networks.layers import DATA_AXIS
    from ipmedgan_jax.networks.vgg19 import VGG19
    from ipmedgan_jax.systems.interface import Batch
    from ipmedgan_jax.systems.state import init_state
    from ipmedgan_jax.systems.update import train_step

    batch = Batch(jax.ShapeDtypeStruct((1, size, size, 1), jnp.float32), jax.ShapeDtypeStruct((1, 4), jnp.int32))
    state = jax.eval_shape(partial(init_state, update, image_size=size), jax.random.key(0))
    frozen = jax.eval_shape(VGG19("caffe").init, jax.random.key(0), batch.image)["params"]
    return costs.operations(jax.make_jaxpr(partial(train_step, update), axis_env=[(DATA_AXIS, 1)])(state, frozen, batch))


def define_flags() -> None:
    config_flag.define()
    flags.DEFINE_integer("steps", 10, "number of timed updates", lower_bound=1)
    flags.DEFINE_string("trace", None, "folder for a TensorBoard profile of one update")
    flags.DEFINE_integer("warmup", 3, "number of untimed updates before them", lower_bound=0)


if __name__ == "__main__":
    run_command(main, define_flags, required=["config"])
