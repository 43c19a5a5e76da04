"""Measures the cost of mapping over one device: times the pmapped update and `jax.jit` of the same update in alternation.

  python -m benchmarks.mapping --config=configs/small.py --steps=10 --turns=3

Needs exactly one device (no `--xla_force_host_platform_device_count`). Prints one JSON line: the median seconds of each turn,
the ratio of the medians of all steps, and the ratio of the fastest steps, which a noisy host disturbs least.
"""

import itertools
import json
import statistics
import time
from functools import partial
from typing import Any
from unittest import mock

from absl import flags

from ipmedgan_jax.core import runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.experiment import config_flag


def main() -> None:
    runtime.set_up(config_flag.computation_type(flags.FLAGS.config))
    import jax

    from benchmarks import step as update_times
    from ipmedgan_jax.experiment import build, phases
    from ipmedgan_jax.systems.interface import Batch
    from ipmedgan_jax.systems.state import init_state
    from ipmedgan_jax.systems.update import train_steps
    from ipmedgan_jax.training import devices

    given = flags.FLAGS
    if jax.device_count() > 1:
        raise UserError(f"{jax.device_count()} devices: expected one")
    config = given.config.unlock()
    config.vgg19.weights = "random"
    size = config.data.image_size
    features = build.feature_network(config)
    update = phases.make_update(config, build.make_system(config, features.net))
    frozen = devices.replicate(features.params)
    batch = Batch(**devices.split_over_devices(update_times.random_batch(config.train.batch_size, size, config.holes.size)))
    alone = jax.tree.map(lambda x: x[0], batch)

    def fresh() -> Any:
        return devices.replicate(jax.jit(partial(init_state, update, image_size=size))(jax.random.key(config.seed)))

    state = fresh()
    work = partial(train_steps, update)
    mapped = devices.map_over_devices(work).lower(state, frozen, batch).compile()
    # The update asks for its index on the mapped axis. Without an axis it gets index 0 of size 1.
    with mock.patch("jax.lax.axis_index", return_value=0), mock.patch("jax.lax.axis_size", return_value=1):
        plain = jax.jit(work, donate_argnums=0).lower(state, frozen, alone).compile()
    runtime.give_back_freed_memory()

    times: dict[str, list[list[float]]] = {"mapped": [], "plain": []}
    for turn in range(given.turns):
        order = [("mapped", mapped, batch), ("plain", plain, alone)]
        for name, compiled, images in order if turn % 2 == 0 else order[::-1]:
            taken = []
            for _ in range(given.warmup + given.steps):
                start = time.perf_counter()
                state, _ = jax.block_until_ready(compiled(state, frozen, images))
                taken.append(time.perf_counter() - start)
            times[name].append(taken[given.warmup :])
    medians = {name: [statistics.median(turn) for turn in turns] for name, turns in times.items()}
    overall = {name: statistics.median(itertools.chain(*turns)) for name, turns in times.items()}
    fastest = {name: min(itertools.chain(*turns)) for name, turns in times.items()}
    ratios = {name: seconds["mapped"] / seconds["plain"] for name, seconds in (("ratio", overall), ("fastest", fastest))}
    print(json.dumps({"seconds": medians} | ratios))


def define_flags() -> None:
    config_flag.define()
    flags.DEFINE_integer("warmup", 1, "number of untimed steps at the start of each turn", lower_bound=0)
    flags.DEFINE_integer("steps", 10, "number of timed steps per turn", lower_bound=1)
    flags.DEFINE_integer("turns", 3, "number of turns of each", lower_bound=1)


if __name__ == "__main__":
    run_command(main, define_flags, required=["config"])
