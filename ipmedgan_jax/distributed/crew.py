"""Several processes that share out files among them, without JAX between them: `prepare` and `inpaint` on a cluster.

What they make lies on a file system that all see. The first hears from the others what came of their share, and names the
share of one that was lost.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from ipmedgan_jax.core.errors import TRY_AGAIN, UserError
from ipmedgan_jax.distributed import meeting
from ipmedgan_jax.distributed.meeting import Connections, Place

T = TypeVar("T")

NAMED = 5
"""So many of a lost process's items are named."""


class Crew:
    """This process among the others; without a place it is alone."""

    def __init__(self, place: Place | None = None, connections: Connections | None = None):
        self._index, self._count = (place.index, place.count) if place else (0, 1)
        self._others = connections or {}

    @property
    def first(self) -> bool:
        return self._index == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part: every n-th item, from its own number on."""
        return items[self._index :: self._count]

    def decide(self, work: Callable[[], Any]) -> Any:
        """What `work` gives the first process (JSON), in all of them, which wait for it."""
        if not self.first:
            return self._hear(0)
        value = work()
        for other in self._others:
            self._tell(other, value)
        return value

    def gather(self, items: Sequence[Any], mine: Sequence[Any], name: Callable[[Any], str]) -> list[Any]:
        """What came of each of `items`, as JSON, in their order; of the first process's return alone, the others' is empty.

        `mine` is what came of `share(items)`. UserError, which says why: where another process could not do its share, or
        was lost; what is then not done is named by `name`.
        """
        if not self.first:
            self._hear(0)  # that it listens
            self._tell(0, list(mine))
            self._hear(0)  # that it has heard: what is still on its way is lost with the connection
            return []
        parts, problems = {0: list(mine)}, []
        for index in sorted(self._others):
            self._tell(index, None)
            try:
                parts[index] = self._hear(index)
            except UserError as error:
                theirs = [name(item) for item in items[index :: self._count]]
                more = f" and {len(theirs) - NAMED} more" if len(theirs) > NAMED else ""
                what = f"{error}; not all is done of {', '.join(theirs[:NAMED])}{more}"
                problems.append(UserError(what, error.exit_code))
            self._tell(index, None)
        if problems:
            raise UserError("; ".join(map(str, problems)), problems[0].exit_code)
        return [parts[i % self._count][i // self._count] for i in range(len(items))]

    def give_up(self, error: UserError) -> None:
        """Tells the others why this process ends."""
        for other in self._others:
            self._tell(other, None, error)

    def _tell(self, other: int, value: Any, problem: UserError | None = None) -> None:
        said = {"value": value, "problem": str(problem or ""), "exit_code": problem.exit_code if problem else 0}
        with contextlib.suppress(OSError):  # where it is gone: it is listened to sooner or later
            self._others[other].send(said)

    def _hear(self, other: int) -> Any:
        """UserError: the other's own, or that it is gone."""
        try:
            said = self._others[other].hear()
            value, problem, exit_code = said["value"], said["problem"], said["exit_code"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"process {other} was lost ({error}); start all again", TRY_AGAIN) from error
        if problem:
            raise UserError(f"process {other}: {problem}", exit_code)
        return value


@contextlib.contextmanager
def join(settings: Mapping[str, Any]) -> Iterator[Crew]:
    """The processes that this command's flags or environment name, once all are there with the same settings and code."""
    place = meeting.given_place()
    with joined(place, settings) if place else contextlib.nullcontext(Crew()) as everyone:
        yield everyone


@contextlib.contextmanager
def joined(place: Place, settings: Mapping[str, Any]) -> Iterator[Crew]:
    """The process at this place among the others; they hear of a UserError that ends it."""
    connections = meeting.meet(place, settings)
    for line in connections.values():
        line.beat()
    everyone = Crew(place, connections)
    try:
        yield everyone
    except UserError as error:
        everyone.give_up(error)
        raise
    finally:
        meeting.part(place, connections)
