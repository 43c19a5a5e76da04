"""The protocol of an evaluation task: filling holes, or finding damage. Validation and `evaluate` use tasks through it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from ipmedgan_jax.evaluation.detection import DamageFinding
from ipmedgan_jax.evaluation.figures import Row
from ipmedgan_jax.evaluation.filling import HoleFilling
from ipmedgan_jax.experiment.build import Experiment
from ipmedgan_jax.systems.interface import Tree


class Network(Protocol):
    """A network without weights: `bind` adds them and returns the function of NumPy batches that is evaluated."""

    def bind(self, params: Tree, statistics: Tree) -> Callable[..., Any]: ...


class Result(Protocol):
    """The result of one slice. `row` is its row of a figure, None for a slice that is not shown."""

    @property
    def row(self) -> Row | None: ...


class Task(Protocol):
    """An evaluation task. Slices belong to one split; results have the order of the slices."""

    @property
    def title(self) -> str:
        """Heading of examples.png."""

    @property
    def no_slices(self) -> str:
        """Message for a split that has no slice to evaluate."""

    def network(self) -> Network:
        """Returns the system's network, without weights."""

    def count(self, split: str) -> int:
        """Returns the largest number of slices that `slices` can yield."""

    def slices(self, split: str, *, at_most: int | None = None) -> Iterator[Any]:
        """Yields the split's slices in order; with `at_most`, no more than that number, evenly spread over the split."""

    def results(self, predict: Callable[..., Any], slices: Iterable[Any], is_shown: Callable[[int], bool]) -> Iterator[Any]:
        """Evaluates the slices and yields their results. `is_shown(i)` tells whether the i-th of them gets a row."""

    def subject_scores(self, results: Iterable[Any]) -> dict[str, dict[str, float]]:
        """Returns {subject: {score: value over the subject's slices}}."""

    def report(self, results: Sequence[Any], **about: Any) -> dict[str, Any]:
        """Returns the content of metrics.json, with the entries `about`. Raises UserError without results."""

    def write(self, directory: Path, report: dict[str, Any], results: Sequence[Any]) -> None:
        """Writes the tables and, last, metrics.json."""

    def summary(self, report: dict[str, Any]) -> str:
        """Returns a table for the terminal and a line that says what was evaluated."""


def make_task(experiment: Experiment) -> Task:
    """Returns the task that the experiment's system is trained for."""
    return DamageFinding(experiment) if experiment.is_finder else HoleFilling(experiment, experiment.name)
