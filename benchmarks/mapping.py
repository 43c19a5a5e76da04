"""What mapping over devices costs where there is one: the pmapped update beside `jax.jit` of the same update, in turn.

  python -m benchmarks.mapping --config=configs/small.py --steps=10 --turns=3

Run on one device (no `--xla_force_host_platform_device_count`). Prints one JSON line: each turn's median seconds, the ratio
of the medians of all steps, and that of the fastest steps, which a noisy host disturbs least.
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
    runtime.set_up()
    import jax

    from benchmarks import step as update_times
    from ipmedgan_jax.experiment import build
    from ipmedgan_jax.systems.interface import Batch
    from ipmedgan_jax.systems.update import init_state, train_steps
    from ipmedgan_jax.training import devices

    given = flags.FLAGS
    if jax.device_count() > 1:
        raise UserError(f"{jax.device_count()} devices: wanted one")
    config = given.config.unlock()
    config.vgg19.weights = "random"
    size = config.data.image_size
    features = build.feature_network(config)
    update = build.make_update(config, build.make_system(config, features.net))
    frozen = devices.replicate(features.params)
    batch = Batch(**devices.split_over_devices(update_times.random_batch(config.train.batch_size, size, config.holes.size)))
    alone = jax.tree.map(lambda x: x[0], batch)

    def fresh() -> Any:
        return devices.replicate(jax.jit(partial(init_state, update, image_size=size))(jax.random.key(config.seed)))

    state = fresh()
    work = partial(train_steps, update)
    mapped = devices.map_over_devices(work).lower(state, frozen, batch).compile()
    # The update asks for its place on the mapped axis: without one it is the first of one.
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
    ratios = {what: each["mapped"] / each["plain"] for what, each in (("ratio", overall), ("fastest", fastest))}
    print(json.dumps({"seconds": medians} | ratios))


def define_flags() -> None:
    config_flag.define()
    flags.DEFINE_integer("warmup", 1, "steps before those that count", lower_bound=0)
    flags.DEFINE_integer("steps", 10, "steps a turn", lower_bound=1)
    flags.DEFINE_integer("turns", 3, "of each", lower_bound=1)


if __name__ == "__main__":
    run_command(main, define_flags, required=["config"])
