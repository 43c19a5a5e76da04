"""The steps `ipmedgan` and `ipmedgan_plus`: training on real slices, with a validation every minute, then the test's scores.

The batch size is the smallest whose images a second reached 90 % of the best in the step `updates`: more updates in the
same time. Settings are those of configs/mri.py, but for holes inside the head and a moving average of the weights, as
configs/small.py has them for short runs.
"""

import logging as python_logging
import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.gpu.context import Context, given
from benchmarks.gpu.updates import first_line

SCORING_S, SMALL_SCORING_S = 40.0, 20.0
"""Seconds kept for the last checkpoint and the scores of the test slices."""

SCORED_BATCH = 32
"""Slices at once in validations and in the scoring, which so have the same programs."""

MOST_THREADS = 4
"""Threads of the training input; more of them read no faster, for Python runs one at a time."""

LARGEST_FILE_MIB = 15.0
"""Of the generator's weights that come back."""

GUESSED_RATE = 300.0
"""Images a second where the step `updates` gave none."""


def main() -> None:
    context, options = given()
    start = time.time()
    from absl import logging

    logging.set_verbosity(logging.INFO)
    logging.use_absl_handler()
    logging.get_absl_handler().addFilter(lambda record: "orbax" not in record.pathname)  # dozens of lines a checkpoint
    logging.get_absl_logger().addHandler(LogLines(context, start))
    from ipmedgan_jax.experiment import build
    from ipmedgan_jax.training import loop, start

    batch, rate = fastest(context)
    reserve = SMALL_SCORING_S if context.rehearsal else SCORING_S
    workdir = Path(os.environ["IPMEDGAN_GPU_RUNS"]) / options["system"]
    shutil.rmtree(workdir, ignore_errors=True)
    compile_phases(build.build_experiment(make_config(context, options["system"], batch, rate, context.left() - reserve)))
    config = make_config(context, options["system"], batch, rate, context.left() - reserve)
    experiment = build.build_experiment(config)
    context.report(event="training", system=options["system"], batch=batch, steps=config.train.steps, guessed_rate=rate)
    # SIGTERM lets the loop save a checkpoint and return; it is sent when the time that is left is needed for the scores.
    timer = threading.Timer(max(context.left() - reserve, 1.0), os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    try:
        outcome = loop.train(experiment, workdir)
        timer.cancel()
        context.report(event="trained", system=options["system"], seconds=time.time() - start, outcome=outcome.value)
        score(context, experiment, workdir, time.time() - start)
        export_if_small(context, experiment, workdir)
    except Exception as error:
        context.report(event="failed", system=options["system"], reason=first_line(error))
        raise
    finally:
        shutil.rmtree(workdir, ignore_errors=True)


def compile_phases(experiment: Any) -> None:
    """Compiles the update of every phase at once, so that the training loop finds them in the cache of compiled programs."""
    from ipmedgan_jax.training import loop, start

    initial = start.InitialState(experiment)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda phase: loop.compile_update(experiment, phase.update, initial), experiment.phases))


class LogLines(python_logging.Handler):
    """Writes the training loop's lines on compilation, validations and its end to the results."""

    def __init__(self, context: Context, start: float):
        super().__init__()
        self.context, self.start = context, start

    def emit(self, record: python_logging.LogRecord) -> None:
        kind, _, text = record.getMessage().partition(" ")
        if kind in ("validation", "compiled", "phase", "stopped", "evaluating"):
            self.context.report(event=kind, seconds=time.time() - self.start, text=text.strip())


def fastest(context: Context) -> tuple[int, float]:
    """The batch size to train with, and images a second at it."""
    rates: dict[int, float] = {}
    for line in context.results():
        if line.get("event") == "update" and (line["dtype"], line["form"]) == ("bfloat16", "lax"):
            rates[line["batch"]] = max(line["images_per_second"], rates.get(line["batch"], 0.0))
    if context.rehearsal:
        return 2, max(rates.values(), default=1.0)
    if not rates:
        return 16, GUESSED_RATE
    batch = min(size for size, rate in rates.items() if rate >= 0.9 * max(rates.values()))
    return batch, rates[batch]


def make_config(context: Context, system: str, batch: int, rate: float, seconds: float) -> Any:
    """The run's settings; `seconds` are left for start and training."""
    from benchmarks.gpu.sizes import narrow
    from ipmedgan_jax.configs import mri

    config = mri.get_config(system).unlock()
    per_minute = max(1, round(60 * rate / batch))
    config.data.dir = f"{context.scratch}/data"
    cores = len(os.sched_getaffinity(0))
    config.data.threads, config.data.prefetch = min(max(2, cores - 2), MOST_THREADS), 8 * batch
    config.vgg19.weights = f"{context.scratch}/vgg19.npz"
    config.holes.min_foreground = 0.5
    config.train.batch_size, config.train.dtype = batch, "bfloat16"
    config.train.ema = 0.995
    # ip-MedGAN plus has phases that are shares of its length, so the length must be near what there is time for.
    config.train.steps = max(4, round(0.7 * max(seconds, 10) * rate / batch)) if system == "ipmedgan_plus" else 10**6
    config.train.validate_every, config.train.checkpoint_every = per_minute, 10**7
    config.train.validation_slices, config.train.keep = 96, 1
    config.evaluation.batch_size, config.evaluation.checkpoint = SCORED_BATCH, "latest"
    if context.rehearsal:
        narrow(config)
        config.train.dtype = "float32"
        config.train.validate_every, config.train.validation_slices, config.train.ema = 20, 4, 0.9
        config.train.steps = 6 if system == "ipmedgan_plus" else 10**6
    return config.lock()


def score(context: Context, experiment: Any, workdir: Path, seconds: float) -> None:
    """Scores the latest checkpoint on the test slices and keeps the picture of examples."""
    from ipmedgan_jax.evaluation.evaluate_run import evaluate_run

    report = evaluate_run(experiment, workdir)
    shutil.copy(workdir / "evaluation" / "examples.png", Path(context.output) / f"examples_{experiment.name}.png")
    hole = report["region"]["hole"]
    context.report(
        event="score",
        system=experiment.name,
        training_seconds=seconds,
        steps=report["step"],
        slices_seen=report["images_seen"],
        test_slices=report["slices"],
        **{name: value["mean"] for name, value in hole.items() if isinstance(value, dict)},
        ci95={name: value["ci95"] for name, value in hole.items() if isinstance(value, dict)},
    )


def export_if_small(context: Context, experiment: Any, workdir: Path) -> None:
    """Writes the generator's weights in bfloat16 if they fit into what comes back."""
    import jax
    import jax.numpy as jnp
    from safetensors.flax import save_file

    from ipmedgan_jax.experiment import run_folder

    with run_folder.open_checkpoints(experiment.training, workdir, create=False) as checkpoints:
        params, _ = run_folder.restore_generator(
            experiment.system,
            experiment.dataset.image_size,
            uses_ema=experiment.uses_ema,
            checkpoints=checkpoints,
            step=run_folder.chosen_step(checkpoints, "latest"),
        )
    leaves = jax.tree.leaves_with_path(params)
    mib = 2 * sum(leaf.size for _, leaf in leaves) / 2**20
    fits = mib <= LARGEST_FILE_MIB
    if fits:
        named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf.astype(jnp.bfloat16) for path, leaf in leaves}
        save_file(named, str(Path(context.output) / f"generator_{experiment.name}.safetensors"))
    context.report(event="weights", system=experiment.name, mib_in_bfloat16=mib, kept=fits)


if __name__ == "__main__":
    main()
