"""Compares results of this machine's accelerator with the CPU's; prints one JSON line; exit code 1 if they differ too much.

  python -m benchmarks.check --config=configs/small.py
  python -m benchmarks.check --config=configs/small.py --config.train.dtype=bfloat16

layers  largest error of each layer form and of its gradients against float64 on the CPU, relative to the largest value
update  relative differences of each loss term and gradient norm of two updates against float32 on the CPU

The limit is 1e-4 in float32 with full-precision products and 3e-2 in bfloat16. `--precision=highest` requests full-precision
products; without it GPUs round to TF32, and the limit is 3e-2.
"""

import json
import sys
from functools import partial
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.experiment import config_flag

LIMITS = {"float32": 1e-4, "bfloat16": 3e-2}

UPDATES = 2
"""The second update depends on the first one's optimiser step."""


def main() -> None:
    import jax

    jax.config.update("jax_default_matmul_precision", flags.FLAGS.precision)
    config, precision = flags.FLAGS.config, flags.FLAGS.precision
    dtype = config.train.dtype
    limit = LIMITS[dtype] if precision == "highest" or dtype == "bfloat16" else LIMITS["bfloat16"]
    found = {"layers": check_layers(dtype), "update": check_update(config)}
    strays = [name for errors in found.values() for name, error in errors.items() if not error <= limit]
    described = {"device": jax.devices()[0].device_kind, "dtype": dtype, "precision": precision, "limit": limit}
    print(json.dumps(described | found | {"strays": strays}))
    sys.exit(bool(strays))


def check_layers(dtype: str) -> dict[str, float]:
    """Returns the errors by layer form and gradient, for the shapes of a small and of a wide layer."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from ipmedgan_jax.networks import strided

    rng = np.random.default_rng(0)
    errors: dict[str, float] = {}
    for side, fine, coarse in ((64, 3, 16), (8, 64, 96)):
        shapes = {"downsample": (2, side, side, fine), "upsample": (2, side // 2, side // 2, coarse)}
        kernel = rng.normal(0, 0.1, (4, 4, fine, coarse))
        for name, shape in shapes.items():
            x = rng.normal(0, 1, shape)
            out_shape = shapes["upsample" if name == "downsample" else "downsample"]
            weight = rng.normal(0, 1, out_shape)

            def value_and_gradients(function: Any, *arguments: Any) -> tuple[Any, ...]:
                output, pullback = jax.vjp(function, *arguments[:2])
                return (output, *pullback(arguments[2]))

            with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
                plain = getattr(strided, f"_{name}_lax")
                expected = [np.asarray(array) for array in value_and_gradients(plain, *map(jnp.asarray, (x, kernel, weight)))]
            arguments = [jnp.asarray(array, dtype) for array in (x, kernel, weight)]
            found = jax.jit(partial(value_and_gradients, getattr(strided, name)))(*arguments)
            for part, a, b in zip(("value", "by_input", "by_kernel"), found, expected, strict=True):
                error = np.abs(np.asarray(a, np.float64) - b).max() / np.abs(b).max()
                errors[f"{name}_{side}x{fine}_{part}"] = float(error)
    return errors


def check_update(config: ConfigDict) -> dict[str, float]:
    """Returns the differences between the metrics of updates here and on the CPU in float32, relative to the CPU's."""
    import jax

    devices = {"here": jax.devices()[0], "cpu": jax.local_devices(backend="cpu")[0]}
    plain = ConfigDict(config.to_dict())
    plain.train.dtype = "float32"
    with jax.default_device(devices["cpu"]):
        expected = updates(plain)
    with jax.default_device(devices["here"]):
        found = updates(config)
    return {name: abs(found[name] - value) / max(abs(value), 1e-6) for name, value in expected.items()}


def updates(config: ConfigDict) -> dict[str, float]:
    """Returns the metrics of `UPDATES` updates from the initial state, on a batch of noise and the default device alone."""
    import jax

    from benchmarks.step import random_batch
    from ipmedgan_jax.experiment import build, phases
    from ipmedgan_jax.networks.layers import DATA_AXIS
    from ipmedgan_jax.systems.interface import Batch
    from ipmedgan_jax.systems.state import init_state
    from ipmedgan_jax.systems.update import train_step

    config = ConfigDict(config.to_dict())
    config.vgg19.weights = "random"
    size = config.data.image_size
    features = build.feature_network(config)
    update = phases.make_update(config, build.make_system(config, features.net))
    state = jax.jit(partial(init_state, update, image_size=size))(jax.random.key(config.seed))
    batch = Batch(**random_batch(config.train.batch_size, size, config.holes.size))

    @jax.jit
    def step(state: Any, frozen: Any, batch: Any) -> Any:
        mapped = jax.vmap(partial(train_step, update), in_axes=(None, None, 0), axis_name=DATA_AXIS)
        return jax.tree.map(lambda x: x[0], mapped(state, frozen, jax.tree.map(lambda x: x[None], batch)))

    metrics: dict[str, float] = {}
    for i in range(UPDATES):
        state, last = step(state, features.params, batch)
        metrics |= {f"{name}_{i + 1}": float(value) for name, value in last.items()}
    return metrics


def define_flags() -> None:
    config_flag.define()
    flags.DEFINE_enum("precision", "highest", ["highest", "default"], "precision of float32 products on the accelerator")


if __name__ == "__main__":
    run_command(main, define_flags, required=["config"])
