"""What training sees of its validation subjects: scores that choose the best checkpoint, and a few slices drawn."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from absl import logging

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import pipeline
from ipmedgan_jax.distributed import processes
from ipmedgan_jax.evaluation import detection, figures, scoring
from ipmedgan_jax.experiment.build import Experiment
from ipmedgan_jax.systems.inference import LearnedFind, LearnedInpaint
from ipmedgan_jax.systems.interface import Tree
from ipmedgan_jax.systems.update import TrainState
from ipmedgan_jax.training.summaries import Summaries

EXAMPLE_SLICES = 4
"""Slices in the picture of each validation."""

Look = Callable[[Tree, Tree], tuple[dict[str, float], list[np.ndarray]]]
"""(parameters, statistics) of a generator -> scores on the validation subjects, and images of some slices, three each."""


def make_validation(
    experiment: Experiment, workdir: Path, summaries: Summaries
) -> Callable[[int, TrainState], dict[str, float]]:
    """A function (step, state) -> scores on the validation subjects; it also draws a few of their slices.

    Each process looks at its share of the slices; all get all scores.
    """
    look = _look_at_finds(experiment) if experiment.is_finder else _look_at_fills(experiment)

    def validate(step: int, state: TrainState) -> dict[str, float]:
        scores, tiles = look(*generator_variables(state))

        def draw() -> None:
            picture = figures.image_grid(tiles, columns=3)
            summaries.image(step, "validation/examples", picture)
            figures.save_image(picture, workdir / "examples" / f"step_{step:07d}.png")

        summaries.scalars(step, scores, prefix="validation/")
        processes.by_first(draw)
        text = "  ".join(f"{name} {value:.4g}" for name, value in scores.items())
        logging.info("validation  step %d: %s", step, text)
        return scores

    return validate


def _look_at_fills(experiment: Experiment) -> Look:
    """Holes' scores; image, context and inpainted image of some."""
    slices = list(
        pipeline.evaluation_slices(
            experiment.dataset.directory, "validation", experiment.holes, at_most=experiment.training.validation_slices
        )
    )
    if not slices:
        raise UserError("no validation slice has a place for a hole: lower holes.evaluation_min_foreground")
    shown = set(pipeline.spread(len(slices), EXAMPLE_SLICES))
    mine = list(processes.share(slices))
    inpaint = LearnedInpaint(experiment.system)

    def look(params: Tree, statistics: Tree) -> tuple[dict[str, float], list[np.ndarray]]:
        scored = scoring.score_slices(
            inpaint.bind(params, statistics),
            mine,
            experiment.features,
            hole_size=experiment.holes.size,
            modality=experiment.dataset.modality,
            batch_size=experiment.evaluation.batch_size,
        )
        seen = []
        for i, each in enumerate(scored):
            tiles = [each.slice.image, each.slice.context(experiment.fill), each.inpainted]
            seen.append((each.score, tiles if processes.number(i) in shown else []))
        everything = processes.gather_lists(seen)
        return scoring.mean_over_subjects(score for score, _ in everything), [tile for _, some in everything for tile in some]

    return look


def _look_at_finds(experiment: Experiment) -> Look:
    """Scores of what is found; damaged slice, damage and its likelihood of some."""
    slices = list(
        pipeline.damaged_slices(
            experiment.dataset.directory, "validation", experiment.holes, at_most=experiment.training.validation_slices
        )
    )
    if not slices:
        raise UserError("no validation slice to find damage in")
    shown = pipeline.spread(len(slices), EXAMPLE_SLICES)
    mine = list(processes.share(slices))
    find = LearnedFind(experiment.system)

    def look(params: Tree, statistics: Tree) -> tuple[dict[str, float], list[np.ndarray]]:
        found = detection.find_in_slices(find.bind(params, statistics), mine, batch_size=experiment.evaluation.batch_size)
        seen = [(each.count, detection.tiles(each) if processes.number(i) in shown else []) for i, each in enumerate(found)]
        everything = processes.gather_lists(seen)
        scores = detection.mean_over_subjects(count for count, _ in everything)
        return scores, [tile for _, some in everything for tile in some]

    return look


def generator_variables(state: TrainState) -> tuple[Tree, Tree]:
    """The parameters that fill images at test (their average where one is kept), and the running statistics."""
    net = state.generator if state.average is None else state.average
    return jax.device_put((net.params, net.statistics), jax.local_devices()[0])
