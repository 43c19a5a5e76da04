"""Scores a run, or a classical fill, on the test subjects (or the validation subjects: `evaluation.split`).

  python -m ipmedgan_jax.evaluate --workdir=runs/mri
  python -m ipmedgan_jax.evaluate --config=mri --config.data.dir=data/mri --system=telea --workdir=runs/telea

Writes to WORKDIR/evaluation:
  metrics.json              means and 95 % intervals over subjects, over the hole and over the whole image
  subjects.csv, slices.csv  scores of each subject and of each slice
  fills.npz                 the filled holes
  examples.png              some of the slices
For a run, WORKDIR/report.html gets the scores too.

Every system is scored on the same holes. Without --system, the run in --workdir is scored, with its own config.json unless
--config is given; --data_dir names the new folder of data that have moved. --system scores a classical fill: surround_mean,
telea, navier_stokes, biharmonic, laplace, rbf or shift_map.
"""

from typing import Any

from absl import flags

from ipmedgan_jax.core import checkpoint_choice, ranks, runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.user_paths import user_path
from ipmedgan_jax.experiment import config_flag


def main() -> None:
    """Scores a run or a classical fill; slow imports are here so that --help does not wait for them."""
    runtime.set_up()
    from ipmedgan_jax.distributed import processes
    from ipmedgan_jax.evaluation.evaluate_run import evaluate_classical, evaluate_run
    from ipmedgan_jax.experiment import build, run_folder, saved_config
    from ipmedgan_jax.systems.classical import check_name
    from ipmedgan_jax.training import run_report

    workdir, config, system = user_path(flags.FLAGS.workdir), flags.FLAGS.config, flags.FLAGS.system
    given = {"workdir": str(workdir), "system": system, "checkpoint": flags.FLAGS.checkpoint}
    processes.start(given | (saved_config.shared_settings(config) if config else {}))
    if config and flags.FLAGS.data_dir:
        raise UserError("--data_dir changes a run's own config; with --config, give --config.data.dir")
    if system is not None:
        check_name(system)
    if system is not None and flags.FLAGS.checkpoint is not None:
        raise UserError("--checkpoint chooses a run's checkpoint; a classical fill (--system) has none")
    if system is not None and config is None:
        raise UserError("--system needs --config, which names the data to score it on")
    built = processes.run_on_all(
        lambda: build.build_experiment(config) if config else run_folder.read_experiment(workdir, flags.FLAGS.data_dir)
    )
    processes.assert_equal(prepared_data=built.dataset.fingerprint, vgg19_weights=built.features.source)
    if system is None:
        evaluate_run(built, workdir, flags.FLAGS.checkpoint)
        processes.run_on_first(lambda: run_report.refresh(built, workdir))
    else:
        evaluate_classical(built, system, workdir)


def _read_run_config() -> dict[str, Any]:
    """Returns the config of the run in --workdir, for --print_config."""
    from ipmedgan_jax.experiment import run_folder

    if flags.FLAGS.workdir is None:
        raise UserError("--print_config needs --config, or the --workdir of a run")
    return run_folder.read_config(user_path(flags.FLAGS.workdir))


def define_flags() -> None:
    ranks.define_flags()
    config_flag.define("settings; by default the run's own", saved=_read_run_config)
    flags.DEFINE_string("workdir", None, "the run's folder; for a classical fill, the folder for its evaluation")
    flags.DEFINE_string("data_dir", None, "folder of the run's prepared data, if they have moved")
    checkpoint_choice.define_flag(None, "; by default evaluation.checkpoint")
    flags.DEFINE_string("system", None, "classical fill to score instead of a run, for example telea; the list is above")


if __name__ == "__main__":
    run_command(main, define_flags, required=["workdir"])
