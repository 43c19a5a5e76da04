"""Validation during training: scores for checkpoint selection, and example images."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from absl import logging

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import pipeline
from ipmedgan_jax.distributed import processes
from ipmedgan_jax.evaluation import figures, reports
from ipmedgan_jax.evaluation.tasks import make_task
from ipmedgan_jax.experiment.build import Experiment
from ipmedgan_jax.systems.interface import Tree
from ipmedgan_jax.systems.state import TrainState
from ipmedgan_jax.training import step_files
from ipmedgan_jax.training.summaries import Summaries

EXAMPLE_SLICES = 4
"""Slices in the example picture of a validation."""

KEPT_EXAMPLES = 20
"""Newest pictures that are kept in `examples/`, beside the first one."""


def make_validation(
    experiment: Experiment, workdir: Path, summaries: Summaries
) -> Callable[[int, TrainState], dict[str, float]]:
    """Returns a function (step, state) -> scores on the validation subjects.

    The function also writes the scores to TensorBoard and draws a few of the slices. A score is the mean over subjects of
    each subject's score over its slices. Each process evaluates its share of the slices; all processes get all scores.
    Raises UserError if the validation subjects have no slice to evaluate.
    """
    task = make_task(experiment)
    slices = list(task.slices("validation", at_most=experiment.training.validation_slices))
    if not slices:
        raise UserError(f"validation subjects: {task.no_slices}")
    shown = set(pipeline.spread(len(slices), EXAMPLE_SLICES))
    share = list(processes.share(slices))
    network = task.network()

    def validate(step: int, state: TrainState) -> dict[str, float]:
        predict = network.bind(*generator_variables(state))
        results = processes.gather_lists(list(task.results(predict, share, lambda i: processes.global_index(i) in shown)))
        scores = reports.mean_over_subjects(task.subject_scores(results))

        def draw() -> None:
            rows = [result.row for result in results if result.row]
            picture = figures.image_grid([image for row in rows for _, image in row.tiles[:3]], columns=3)
            summaries.image(step, "validation/examples", picture)
            save_example(picture, workdir / "examples", step)

        summaries.scalars(step, scores, prefix="validation/")
        processes.run_on_first(draw)
        text = "  ".join(f"{name} {value:.4g}" for name, value in scores.items())
        logging.info("validation  step %d: %s", step, text)
        return scores

    return validate


def save_example(picture: np.ndarray, folder: Path, step: int) -> None:
    """Writes the picture of a step, and removes those between the folder's first and its `KEPT_EXAMPLES` newest.

    A folder that cannot be written costs a warning: a picture is no reason to end a run.
    """
    path = step_files.path_of(folder, step, ".png")
    try:
        figures.save_image(picture, path)
        step_files.remove_old(folder, ".png", newest=KEPT_EXAMPLES)
    except OSError as error:
        logging.warning("%s: cannot be written (%s); the run goes on", path, error.strerror or error)


def generator_variables(state: TrainState) -> tuple[Tree, Tree]:
    """Returns the parameters and running statistics for test time, on one device: their averages if the run keeps them."""
    net = state.generator if state.average is None else state.average
    return jax.device_put((net.params, net.statistics), jax.local_devices()[0])
