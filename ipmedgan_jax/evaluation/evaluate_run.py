"""Evaluates a run, or a classical fill, on the test or validation subjects.

Each process evaluates its share of the slices. The first process writes the results of all.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import logging
from tqdm import tqdm

from ipmedgan_jax.core import links, provenance
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.lines import one_line
from ipmedgan_jax.data import pipeline
from ipmedgan_jax.distributed import processes
from ipmedgan_jax.evaluation import figures, scoring
from ipmedgan_jax.evaluation.filling import HoleFilling
from ipmedgan_jax.evaluation.tasks import Task, make_task
from ipmedgan_jax.experiment import run_folder
from ipmedgan_jax.experiment.build import Experiment
from ipmedgan_jax.systems.classical import FILLS
from ipmedgan_jax.systems.interface import Tree


def evaluate_run(experiment: Experiment, workdir: Path, checkpoint: str | None = None) -> dict[str, Any]:
    """Evaluates a checkpoint of a run, by default `evaluation.checkpoint`, and returns the content of metrics.json.

    The report names the checkpoint as it was chosen (`best`, `latest` or a step), beside its step.

    Raises UserError if the run has another config or no such whole checkpoint, or if the results cannot be written.
    """

    choice = checkpoint or experiment.evaluation.checkpoint

    def restore() -> tuple[int, Tree, Tree]:
        run_folder.check_same_run(experiment, workdir, resumes=False)
        with run_folder.open_checkpoints(experiment.training, workdir, create=False) as checkpoints:
            step = run_folder.chosen_step(checkpoints, choice)
            size = experiment.dataset.image_size
            return step, *run_folder.restore_generator(
                experiment.system, size, uses_ema=experiment.uses_ema, checkpoints=checkpoints, step=step
            )

    step, params, statistics = processes.run_on_all(restore)
    processes.assert_equal(checkpoint=step)
    logging.info("evaluating step %d", step)
    task = make_task(experiment)
    predict = task.network().bind(params, statistics)
    about = {
        "step": step,
        "checkpoint": choice,
        "images_seen": step * experiment.training.batch_size,
        "parameters": run_folder.parameter_count(params),
    }
    weights = provenance.digest_of_arrays(jax.tree.leaves((params, statistics)))
    return evaluate(task, predict, experiment, workdir, weights_sha256=weights, **about)


def evaluate_classical(experiment: Experiment, system: str, workdir: Path) -> dict[str, Any]:
    """Evaluates the classical fill `system` and returns the content of metrics.json.

    Raises UserError if the folder holds a trained run, or if the results cannot be written.
    """
    if (workdir / run_folder.CONFIG_FILE).exists():
        raise UserError(f"{workdir}: holds a trained run, whose scores would be lost; choose another --workdir")
    task = HoleFilling(experiment, system)
    return evaluate(task, scoring.classical_inpaint(FILLS[system]), experiment, workdir, step=None)


def evaluate(
    task: Task,
    predict: Callable[..., Any],
    experiment: Experiment,
    workdir: Path,
    *,
    weights_sha256: str | None = None,
    **about: Any,
) -> dict[str, Any]:
    """Evaluates `predict` on all slices of the split, writes `WORKDIR/evaluation`, and returns the content of metrics.json.

    The entries `about`, the digest of the network's weights and the provenance go into the report. The slices of
    examples.png are spread evenly over the split, whatever their scores.
    """
    directory, split = workdir / "evaluation", experiment.evaluation.split
    # First of all: a folder that cannot be written must not cost a whole evaluation.
    _write_on_first(lambda: _make_folder(directory), directory)
    shown = set(pipeline.spread(task.count(split), experiment.evaluation.examples))

    def evaluate_share() -> list[Any]:
        slices = processes.share(task.slices(split))
        results = task.results(predict, slices, lambda i: processes.global_index(i) in shown)
        return list(tqdm(results, total=task.count(split) // jax.process_count(), unit="slice", disable=None))

    results = processes.gather_lists(processes.run_on_all(evaluate_share))
    report = task.report(results, **about) | {"weights_sha256": weights_sha256}
    report[provenance.KEY] = provenance.provenance(jax.devices())

    def write() -> None:
        task.write(directory, report, results)
        rows = [result.row for result in results if result.row]
        figures.example_grid(rows, directory / "examples.png", title=task.title)
        print(f"{task.summary(report)}; written to {one_line(str(directory))}")

    _write_on_first(write, directory)
    return report


def _make_folder(directory: Path) -> None:
    """Makes the folder of the results. UserError if a link is in its place: it could lead to another run's results."""
    links.refuse_links(directory.parent, [directory.name])
    directory.mkdir(parents=True, exist_ok=True)


def _write_on_first(write: Callable[[], None], directory: Path) -> None:
    """Lets the first process write to the folder while the others wait. Raises UserError, in all, if it cannot write."""

    def work() -> None:
        try:
            write()
        except OSError as error:
            raise UserError(f"{directory}: cannot be written ({error.strerror or error})") from error

    processes.run_on_first(work)
