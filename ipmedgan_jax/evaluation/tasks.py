"""What a network is evaluated on: holes to fill, or damage to find. Validation and `evaluate` know tasks by this protocol."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from ipmedgan_jax.evaluation.detection import DamageFinding
from ipmedgan_jax.evaluation.figures import Row
from ipmedgan_jax.evaluation.filling import HoleFilling
from ipmedgan_jax.experiment.build import Experiment
from ipmedgan_jax.systems.interface import Tree


class Network(Protocol):
    """A network whose weights are still to be given: `bind` returns the function of NumPy batches that is evaluated."""

    def bind(self, params: Tree, statistics: Tree) -> Callable[..., Any]: ...


class Result(Protocol):
    """What is kept of one slice. `row` shows it; None for a slice that is not shown."""

    @property
    def row(self) -> Row | None: ...


class Task(Protocol):
    """One way to evaluate. Slices are of one split; results are in the slices' order."""

    @property
    def title(self) -> str:
        """The heading of examples.png."""

    @property
    def no_slices(self) -> str:
        """What to tell a user whose split has no slice to evaluate."""

    def network(self) -> Network:
        """The system's network, not yet with weights."""

    def count(self, split: str) -> int:
        """How many slices `slices` gives at most."""

    def slices(self, split: str, *, at_most: int | None = None) -> Iterator[Any]: ...

    def results(self, predict: Callable[..., Any], slices: Iterable[Any], is_shown: Callable[[int], bool]) -> Iterator[Any]:
        """Evaluates the slices. `is_shown(i)` says whether the i-th of these slices gets a row."""

    def subject_scores(self, results: Iterable[Any]) -> dict[str, dict[str, float]]:
        """{subject: {score: mean over the subject's slices}}."""

    def report(self, results: Sequence[Any], **about: Any) -> dict[str, Any]:
        """The content of metrics.json; `about` is passed on. UserError without results."""

    def write(self, directory: Path, report: dict[str, Any], results: Sequence[Any]) -> None:
        """Writes the tables and, last, metrics.json."""

    def summary(self, report: dict[str, Any]) -> str:
        """A table for the terminal, and a line on what was evaluated."""


def task_of(experiment: Experiment) -> Task:
    """The task that the experiment's system learns."""
    return DamageFinding(experiment) if experiment.is_finder else HoleFilling(experiment, experiment.name)
