"""A run, or a classical fill, scored on the test or validation subjects."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from tqdm import tqdm

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import pipeline
from ipmedgan_jax.data.batches import Find, Inpaint
from ipmedgan_jax.distributed import processes
from ipmedgan_jax.evaluation import detection, figures, fills, metrics, reports, scoring
from ipmedgan_jax.evaluation.figures import Row
from ipmedgan_jax.evaluation.reports import SliceScore
from ipmedgan_jax.evaluation.scoring import Scored
from ipmedgan_jax.experiment import run_folder
from ipmedgan_jax.experiment.build import Experiment
from ipmedgan_jax.systems.classical import FILLS
from ipmedgan_jax.systems.inference import LearnedFind, LearnedInpaint


def evaluate_run(built: Experiment, workdir: Path) -> dict[str, Any]:
    """Scores a run's best or latest checkpoint (`evaluation.checkpoint`); returns metrics.json."""

    def restore() -> tuple[int, Any, Any]:
        run_folder.check_same_run(built, workdir)
        with run_folder.open_checkpoints(built.training, workdir, create=False) as checkpoints:
            step = run_folder.chosen_step(checkpoints, built.evaluation.checkpoint)
            return step, *run_folder.restore_generator(
                built.system, built.dataset.image_size, uses_ema=built.uses_ema, checkpoints=checkpoints, step=step
            )

    step, params, statistics = processes.together(restore)
    processes.agree(checkpoint=step)
    logging.info("evaluating step %d", step)
    learned = {
        "step": step,
        "images_seen": step * built.training.batch_size,
        "parameters": run_folder.parameter_count(params),
    }
    if built.is_finder:
        return _evaluate_finder(built, LearnedFind(built.system).bind(params, statistics), learned, workdir)
    inpaint = LearnedInpaint(built.system).bind(params, statistics)
    return _evaluate(built, inpaint, built.name, learned, workdir)


def evaluate_classical(built: Experiment, system: str, workdir: Path) -> dict[str, Any]:
    """Scores a classical fill; returns metrics.json."""

    if (workdir / run_folder.CONFIG_FILE).exists():
        raise UserError(f"{workdir}: holds a trained run, whose scores would be lost; choose another --workdir")
    return _evaluate(built, scoring.classical_inpaint(FILLS[system]), system, {"step": None}, workdir)


def _evaluate(built: Experiment, inpaint: Inpaint, system: str, learned: dict[str, Any], workdir: Path) -> dict[str, Any]:

    directory, split = workdir / "evaluation", built.evaluation.split
    _by_the_first(lambda: directory.mkdir(parents=True, exist_ok=True), directory)  # before the work, not after it
    # Of several processes each has done its share; the first writes what all have made.
    done = processes.gather_lists(processes.together(lambda: list(_scored_slices(built, inpaint))))
    scores = [each.score for each in done]
    features, subjects = [each.features for each in done], [each.subject for each in scores]
    report = reports.report(
        scores,
        system=system,
        data=built.describe_data(),
        holes=built.describe_holes(),
        seconds_per_slice=statistics.median(each.seconds for each in done) if done else None,
        resamples=built.evaluation.bootstrap,
        kid=metrics.kernel_inception_distance(np.stack(features), subjects) if done else None,
        **learned,
    )
    kept = fills.Writer()
    for each in done:
        kept.add(each.score, each.fill, image=each.image)

    def write() -> None:
        kept.write(directory / fills.FILE)
        reports.write_report(directory, report, scores)
        title = f"{system} on {built.dataset.modality}, {split} subjects"
        figures.example_grid([each.row for each in done if each.row], directory / "examples.png", title=title)
        print(reports.table([report]))
        print(f"{report['slices']} holes of {report['subjects']} {split} subject(s); written to {directory}")

    _by_the_first(write, directory)
    return report


def _by_the_first(write: Callable[[], None], directory: Path) -> None:
    """The first process writes to the folder, and all wait for it. UserError, in all, where it cannot."""

    def work() -> None:
        try:
            write()
        except OSError as error:
            raise UserError(f"{directory}: cannot be written ({error.strerror or error})") from error

    processes.by_first(work)


def _evaluate_finder(built: Experiment, find: Find, learned: dict[str, Any], workdir: Path) -> dict[str, Any]:

    directory, split = workdir / "evaluation", built.evaluation.split
    _by_the_first(lambda: directory.mkdir(parents=True, exist_ok=True), directory)
    slices = pipeline.damaged_slices(built.dataset.directory, split, built.holes)
    bar = tqdm(slices, total=2 * built.dataset.slices[split], unit="slice", disable=None)  # damaged and intact
    shown = set(pipeline.spread(2 * built.dataset.slices[split], built.evaluation.examples))

    def mine() -> list[tuple[detection.Count, Row | None]]:
        found = detection.find_in_slices(find, processes.share(bar), batch_size=built.evaluation.batch_size)
        numbered = ((processes.number(i), each) for i, each in enumerate(found))
        return [(each.count, detection.example_row(each) if i in shown else None) for i, each in numbered]

    done = processes.gather_lists(processes.together(mine))
    counts = [count for count, _ in done]
    report = detection.report(
        counts,
        resamples=built.evaluation.bootstrap,
        system=built.name,
        data=built.describe_data(),
        damage=built.describe_damage(),
        **learned,
    )

    def write() -> None:
        detection.write_report(directory, report, counts)
        title = f"{built.name} on {built.dataset.modality}, {split} subjects, simulated damage"
        figures.example_grid([row for _, row in done if row], directory / "examples.png", title=title)
        print(detection.table(report))
        print(
            f"{report['slices']} slices, damaged or not, of {report['subjects']} {split} subject(s); written to {directory}"
        )

    _by_the_first(write, directory)
    return report


@dataclass(frozen=True, eq=False)
class _Done:
    """What is kept of a scored slice; `row`, and its whole `image`, of the few that examples.png shows."""

    score: SliceScore
    seconds: float
    features: np.ndarray
    fill: np.ndarray
    image: np.ndarray | None
    row: Row | None


def _scored_slices(built: Experiment, inpaint: Inpaint) -> Iterator[_Done]:
    """This process's share of the slices, in their order; shown are a few, evenly spread whatever their scores."""

    dataset, split = built.dataset, built.evaluation.split
    mine = processes.share(pipeline.evaluation_slices(dataset.directory, split, built.holes))
    scored = scoring.score_slices(
        inpaint,
        mine,
        built.features,
        hole_size=built.holes.size,
        modality=dataset.modality,
        batch_size=built.evaluation.batch_size,
    )
    shown = set(pipeline.spread(dataset.slices[split], built.evaluation.examples))
    bar = tqdm(scored, total=dataset.slices[split] // processes.count(), unit="slice", disable=None)
    for i, each in enumerate(bar):
        row = _example_row(each, built.fill) if processes.number(i) in shown else None
        yield _Done(each.score, each.seconds, each.features, each.fill, each.slice.image if row else None, row)


def _example_row(each: Scored, fill: float) -> Row:

    return figures.example_row(
        (each.score.subject, f"slice {each.score.index}", f"{each.score.hole_scores['psnr']:.1f} dB in the hole"),
        image=each.slice.image,
        context=each.slice.context(fill),
        inpainted=each.inpainted.copy(),
        hole=each.score.hole,
    )
