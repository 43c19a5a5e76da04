"""Trains a system and evaluates it on the test subjects; resumes the run if it exists.

  python -m ipmedgan_jax.main --config=mri --workdir=runs/mri --config.data.dir=data/mri
  python -m ipmedgan_jax.main --config=configs/ct.py:medgan --workdir=runs/medgan --config.train.batch_size=4

--config=NAME[:SYSTEM] names the settings (configs/base.py explains each) and the system: ipmedgan (default), ipmedgan_plus,
casnet_plus, medgan, context_encoder, glcic, glcic_cited, unet or finder. --config.KEY=VALUE changes one setting. Without
data.dir the run uses the built-in head phantom.

Ctrl-C saves a checkpoint and exits with 130 (SIGTERM: 143); the same command resumes from it. Results are written to
WORKDIR/evaluation.
"""

import signal

from absl import flags, logging

from ipmedgan_jax.core import interruption, ranks, runtime
from ipmedgan_jax.core.command import Stopped, run_command
from ipmedgan_jax.core.lines import print_line
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.experiment import config_flag


def main() -> None:
    config = flags.FLAGS.config
    runtime.set_up(config_flag.computation_type(config), deterministic=config_flag.is_deterministic(config))
    from ipmedgan_jax.distributed import processes
    from ipmedgan_jax.evaluation.evaluate_run import evaluate_run
    from ipmedgan_jax.experiment import build, saved_config
    from ipmedgan_jax.training import dry_run, loop, run_report

    workdir = user_path(flags.FLAGS.workdir or default_workdir())
    if flags.FLAGS.dry_run:
        for line in dry_run.estimate(build.build_experiment(flags.FLAGS.config), workdir):
            print_line(line)
        return
    processes.start(saved_config.shared_settings(flags.FLAGS.config))
    built = processes.run_on_all(lambda: build.build_experiment(flags.FLAGS.config))
    processes.assert_equal(
        prepared_data=built.dataset.fingerprint,
        lesion_shapes=built.config[saved_config.LESION_SHAPES],
        vgg19_weights=built.features.source,
        steps=built.training.steps,
    )
    outcome = loop.train(built, workdir)
    if outcome in (loop.Outcome.INTERRUPTED, loop.Outcome.TERMINATED):
        raise Stopped(128 + (signal.SIGINT if outcome is loop.Outcome.INTERRUPTED else signal.SIGTERM))
    if outcome is loop.Outcome.OUT_OF_TIME:
        logging.info("train.minutes are over; the same command resumes the run; the test subjects have not been evaluated")
        return
    scoring = f"the run is trained and saved; python -m ipmedgan_jax.evaluate --workdir={workdir} scores it"
    with interruption.if_interrupted(scoring):
        evaluate_run(built, workdir)
        processes.run_on_first(lambda: run_report.refresh(built, workdir))


def default_workdir() -> str:
    """Returns `runs/ct` for configs/ct.py and `runs/ct-medgan` for configs/ct.py:medgan."""
    name, _, system = config_flag.given().rpartition("/")[2].partition(":")
    return f"runs/{name.removesuffix('.py')}{'-' if system else ''}{system}"


def define_flags() -> None:
    config_flag.define()
    ranks.define_flags()
    flags.DEFINE_string("workdir", None, "the run's folder, created if missing; by default runs/CONFIG[-SYSTEM]")
    flags.DEFINE_boolean("dry_run", False, "time a few steps and print parameters, memory, steps and hours; save nothing")


if __name__ == "__main__":
    run_command(main, define_flags, required=["config"])
