"""Trains a system and evaluates it on the test subjects; resumes the run if it exists.

  python -m ipmedgan_jax.main --config=mri --workdir=runs/mri --config.data.dir=data/mri
  python -m ipmedgan_jax.main --config=configs/ct.py:medgan --workdir=runs/medgan --config.train.batch_size=4

--config=NAME[:SYSTEM] names the settings (configs/base.py explains every one) and the system: ipmedgan (default),
ipmedgan_plus, medgan, context_encoder, glcic, glcic_cited, unet or finder.
A single setting is changed with --config.KEY=VALUE. Without data.dir the built-in head phantom is used. Ctrl-C saves a
checkpoint and exits with 130 (SIGTERM: 143); the same command resumes from there. Results: WORKDIR/evaluation/.
"""

import signal
from pathlib import Path

from absl import flags, logging

from ipmedgan_jax.core import ranks, runtime
from ipmedgan_jax.core.command import Stopped, run_command
from ipmedgan_jax.experiment import config_flag


def main() -> None:
    runtime.set_up()
    from ipmedgan_jax.distributed import processes
    from ipmedgan_jax.evaluation.evaluate_run import evaluate_run
    from ipmedgan_jax.experiment import build, saved_config
    from ipmedgan_jax.training import dry_run, loop

    workdir = Path(flags.FLAGS.workdir or default_workdir()).expanduser()
    if flags.FLAGS.dry_run:
        for line in dry_run.estimate(build.build_experiment(flags.FLAGS.config), workdir):
            print(line, flush=True)
        return
    processes.start(saved_config.shared_settings(flags.FLAGS.config))
    built = processes.run_on_all(lambda: build.build_experiment(flags.FLAGS.config))
    processes.assert_equal(prepared_data=built.dataset.fingerprint, steps=built.training.steps)
    outcome = loop.train(built, workdir)
    if outcome in (loop.Outcome.INTERRUPTED, loop.Outcome.TERMINATED):
        raise Stopped(128 + (signal.SIGINT if outcome is loop.Outcome.INTERRUPTED else signal.SIGTERM))
    if outcome is loop.Outcome.OUT_OF_TIME:
        logging.info("train.minutes are over: the same command goes on; the test subjects have not been looked at")
        return
    evaluate_run(built, workdir)


def default_workdir() -> str:
    """`runs/ct` for configs/ct.py, `runs/ct-medgan` for configs/ct.py:medgan."""
    name, _, system = config_flag.given().rpartition("/")[2].partition(":")
    return f"runs/{name.removesuffix('.py')}{'-' if system else ''}{system}"


def define_flags() -> None:
    config_flag.define()
    ranks.define_flags()
    flags.DEFINE_string("workdir", None, "the run's folder, made if it is not there; default runs/CONFIG[-SYSTEM]")
    flags.DEFINE_boolean("dry_run", False, "print parameters, memory, steps and hours by a few steps, and train nothing")


if __name__ == "__main__":
    run_command(main, define_flags, required=["config"])
