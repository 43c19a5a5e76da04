"""Scores a run, or a classical fill, on the test subjects.

  python -m ipmedgan_jax.evaluate --workdir=runs/mri
  python -m ipmedgan_jax.evaluate --config=configs/mri.py --config.data.dir=data/mri --system=telea --workdir=runs/telea

Writes WORKDIR/evaluation/: metrics.json (means and 95 % intervals over subjects, over the hole and the whole image),
subjects.csv and examples.png. Every system is scored on the same holes. --system: surround_mean, telea, navier_stokes
or biharmonic; without it, the run in --workdir, by its own config.json unless --config is given.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags, logging
from ml_collections import config_flags

from ipmedgan_jax import entry
from ipmedgan_jax.errors import UserError

if TYPE_CHECKING:
    from ipmedgan_jax.experiment import Experiment
    from ipmedgan_jax.scoring import Inpaint, Scored


def main() -> None:
    """Imports what takes long only here, so that --help does not wait for it."""
    from ipmedgan_jax import experiment, train
    from ipmedgan_jax.systems.classical import FILLS

    workdir, config, system = Path(flags.FLAGS.workdir), flags.FLAGS.config, flags.FLAGS.system
    if system is None:
        evaluate_run(experiment.build(config or experiment.from_json(train.read_config(workdir))), workdir)
        return
    if system not in FILLS:
        raise UserError(f"--system={system}: wanted one of {', '.join(FILLS)}; a trained system is named by its --workdir")
    if config is None:
        raise UserError("--system needs --config, which says what data to score it on")
    evaluate_classical(experiment.build(config), system, workdir)


def evaluate_run(built: "Experiment", workdir: Path) -> dict[str, Any]:
    """Scores a run's best or latest checkpoint (`evaluation.checkpoint`) on the test subjects; returns metrics.json."""
    from ipmedgan_jax import scoring, train

    train.check_same_run(built, workdir)
    with train.open_checkpoints(built, workdir, create=False) as checkpoints:
        latest, best = checkpoints.latest_step(), checkpoints.best_step()
        if latest is None:
            raise UserError(f"{workdir}: has no checkpoint yet; train it with python -m ipmedgan_jax.main")
        step = latest if built.evaluation.checkpoint == "latest" or best is None else best
        params, statistics = train.restore_generator(built, checkpoints, step)
    logging.info("evaluating step %d", step)
    inpaint = scoring.LearnedInpaint(built.system).bind(params, statistics)
    return _evaluate(built, inpaint, built.name, step, workdir)


def evaluate_classical(built: "Experiment", system: str, workdir: Path) -> dict[str, Any]:
    """Scores a classical fill on the test subjects; returns metrics.json."""
    from ipmedgan_jax import scoring
    from ipmedgan_jax.systems.classical import FILLS

    return _evaluate(built, scoring.classical_inpaint(FILLS[system]), system, None, workdir)


def _evaluate(built: "Experiment", inpaint: "Inpaint", system: str, step: int | None, workdir: Path) -> dict[str, Any]:
    import statistics

    from tqdm import tqdm

    from ipmedgan_jax import reports, scoring
    from ipmedgan_jax.data import pipeline

    directory = workdir / "evaluation"
    dataset = built.dataset
    slices = pipeline.evaluation_slices(dataset.directory, "test", built.holes)
    scored = list(
        tqdm(
            scoring.score_slices(
                inpaint,
                slices,
                built.features,
                hole_size=built.holes.size,
                modality=dataset.modality,
                batch_size=built.evaluation.batch_size,
            ),
            total=dataset.slices["test"],
            unit="slice",
            disable=None,
        )
    )
    scores = [each.score for each in scored]
    report = reports.report(
        scores,
        system=system,
        step=step,
        data=built.describe_data(),
        holes=built.describe_holes(),
        seconds_per_slice=statistics.median(each.seconds for each in scored) if scored else None,
        resamples=built.evaluation.bootstrap,
    )
    try:
        reports.write_report(directory, report, scores)
        _draw(scored, built, directory / "examples.png", f"{system} on {dataset.modality}, test subjects")
    except OSError as error:
        raise UserError(f"{directory}: cannot be written ({error.strerror})") from error
    print(reports.table([report]))
    print(f"{report['slices']} holes of {report['subjects']} test subject(s); written to {directory}")
    return report


def _draw(scored: "Sequence[Scored]", built: "Experiment", path: Path, title: str) -> None:
    """examples.png: slices evenly spread over the test subjects' slices, whatever their scores."""
    from ipmedgan_jax import figures
    from ipmedgan_jax.data import pipeline

    rows = [
        figures.example_row(
            (each.score.subject, f"slice {each.score.index}", f"{each.score.hole_scores['psnr']:.1f} dB in the hole"),
            image=each.slice.image,
            context=each.slice.context(built.fill),
            inpainted=each.inpainted,
            hole=each.score.hole,
        )
        for each in (scored[i] for i in pipeline.spread(len(scored), built.evaluation.examples))
    ]
    figures.example_grid(rows, path, title=title)


def define_flags() -> None:
    config_flags.DEFINE_config_file("config", None, "settings, FILE.py or FILE.py:SYSTEM; a run has its own")
    flags.DEFINE_string("workdir", None, "the run's folder; for a classical fill, where its evaluation goes")
    flags.DEFINE_string("system", None, "a classical fill: surround_mean, telea, navier_stokes or biharmonic")


if __name__ == "__main__":
    entry.run(main, define_flags, required=["workdir"])
