"""Times the training input without training and prints one JSON line.

  python -m benchmarks.input --config=configs/small.py --config.data.dir=data/mri --batches=200

records_per_second   slices per second that the input delivers after `--warmup` batches, with nothing else running
"""

import json
import time
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.experiment import config_flag


def main() -> None:
    print(json.dumps(measure(flags.FLAGS.config, warmup=flags.FLAGS.warmup, count=flags.FLAGS.batches)))


def measure(config: ConfigDict, *, warmup: int, count: int) -> dict[str, Any]:
    """Measures the figure of the module's docstring for the training split of the config's data."""
    from ipmedgan_jax.data import pipeline
    from ipmedgan_jax.experiment.datasets import find_dataset
    from ipmedgan_jax.experiment.settings import hole_settings

    dataset = find_dataset(config)
    batches = pipeline.training_batches(
        dataset.directory,
        hole_settings(config),
        batch_size=config.train.batch_size,
        seed=config.seed,
        threads=config.data.threads,
        prefetch=config.data.prefetch,
    )
    for _ in range(warmup):
        next(batches)
    start = time.perf_counter()
    for _ in range(count):
        next(batches)
    seconds = time.perf_counter() - start
    batches.close()
    return {
        "data": str(dataset.directory),
        "image_size": dataset.image_size,
        "batch_size": config.train.batch_size,
        "threads": config.data.threads,
        "prefetch": config.data.prefetch,
        "records_per_second": count * config.train.batch_size / seconds,
    }


def define_flags() -> None:
    config_flag.define()
    flags.DEFINE_integer("batches", 200, "number of timed batches", lower_bound=1)
    flags.DEFINE_integer("warmup", 20, "number of untimed batches before them", lower_bound=0)


if __name__ == "__main__":
    run_command(main, define_flags, required=["config"])
