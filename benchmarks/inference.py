"""Times the filling of slices by a generator of any config and prints one JSON line.

  python -m benchmarks.inference --config=configs/ct.py --batch_sizes=1,8
  python -m benchmarks.inference --config=configs/ct.py --config.train.dtype=bfloat16

Only the generator is loaded, with random weights; images are random. The figures for each batch size are:

seconds_per_batch  median over `--steps` fills from host array to host array, after `--warmup` fills
slices_per_second  batch size divided by seconds_per_batch
compile_seconds    time to compile and first run the function; short if an earlier process compiled it (JAX's cache)
"""

import json
import statistics
import time
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from ipmedgan_jax.core import runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.experiment import config_flag


def main() -> None:
    runtime.set_up()
    sizes = [int(size) for size in flags.FLAGS.batch_sizes]
    print(json.dumps(measure(flags.FLAGS.config, sizes, warmup=flags.FLAGS.warmup, count=flags.FLAGS.steps)))


def measure(config: ConfigDict, batch_sizes: list[int], *, warmup: int, count: int) -> dict[str, Any]:
    """Measures the figures of the module's docstring for one config."""
    import jax

    from benchmarks import machine
    from benchmarks.step import random_batch
    from ipmedgan_jax.experiment import build
    from ipmedgan_jax.networks.vgg19 import VGG19
    from ipmedgan_jax.systems.inference import LearnedInpaint
    from ipmedgan_jax.systems.state import init_generator

    size = config.data.image_size
    system = build.make_system(config, VGG19("caffe"))
    fresh = jax.jit(lambda key: init_generator(system, key, size))(jax.random.key(config.seed))
    inpaint = LearnedInpaint(system).bind(*fresh)
    figures = []
    for batch_size in batch_sizes:
        batch = random_batch(batch_size, size, config.holes.size)
        start = time.monotonic()
        inpaint(batch)
        compile_seconds = time.monotonic() - start
        times = []
        for _ in range(warmup + count):
            start = time.perf_counter()
            inpaint(batch)
            times.append(time.perf_counter() - start)
        seconds = statistics.median(times[warmup:])
        figures.append(
            {
                "batch_size": batch_size,
                "seconds_per_batch": seconds,
                "seconds_min_max": [min(times[warmup:]), max(times[warmup:])],
                "slices_per_second": batch_size / seconds,
                "compile_seconds": compile_seconds,
            }
        )
    return machine.describe(config, devices=1) | {
        "seconds_per_step": figures[0]["seconds_per_batch"],
        "batches": figures,
        "peak_memory_gib": machine.peak_memory_gib(),
    }


def define_flags() -> None:
    config_flag.define()
    flags.DEFINE_list("batch_sizes", ["1"], "batch sizes in slices, for example 1,8")
    flags.DEFINE_integer("steps", 10, "number of timed fills of each size", lower_bound=1)
    flags.DEFINE_integer("warmup", 3, "number of untimed fills before them", lower_bound=0)


if __name__ == "__main__":
    run_command(main, define_flags, required=["config"])
