"""Several processes that share out files among them, without JAX between them: `prepare` and `inpaint` on a cluster.

What they make lies on a file system that all see. The first hears from the others what came of their share, and names the
share of one that was lost.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from ipmedgan_jax import meeting
from ipmedgan_jax.errors import TRY_AGAIN, UserError
from ipmedgan_jax.meeting import Connections, Place

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
        """What `work` gives the first process (JSON), in all of them, which wait for it; or its UserError, in all of them."""
        if not self.first:
            said = self._hear_first()
            if said["problem"]:
                raise UserError(said["problem"])
            return said["value"]
        value, problem = None, ""
        try:
            value = work()
        except BaseException as error:
            problem = str(error) or type(error).__name__
            raise
        finally:
            for other in self._others.values():
                with contextlib.suppress(OSError):  # it will be missed by `gather`
                    other.send({"value": value, "problem": problem})
        return value

    def gather(self, items: Sequence[Any], mine: Sequence[Any], name: Callable[[Any], str]) -> list[Any]:
        """What came of each of `items`, as JSON, in their order; of the first process's return alone, the others' is empty.

        `mine` is what came of `share(items)`. UserError where a process was lost, which names its items by `name`.
        """
        if not self.first:
            try:
                self._others[0].send(list(mine))
            except OSError as error:
                raise UserError(f"process 0 was lost ({error}); what this one has made is there", TRY_AGAIN) from error
            return []
        parts, lost = {0: list(mine)}, []
        for index, other in sorted(self._others.items()):
            try:
                parts[index] = other.hear()
            except (OSError, ValueError):
                theirs = [name(item) for item in items[index :: self._count]]
                more = f" and {len(theirs) - NAMED} more" if len(theirs) > NAMED else ""
                lost.append(f"process {index} was lost, and with it what is not done of {', '.join(theirs[:NAMED])}{more}")
        if lost:
            raise UserError("; ".join(lost) + "; the same command does what is missing", TRY_AGAIN)
        return [parts[i % self._count][i // self._count] for i in range(len(items))]

    def _hear_first(self) -> Any:
        try:
            return self._others[0].hear()
        except (OSError, ValueError) as error:
            raise UserError(f"process 0 was lost ({error}); start all again", TRY_AGAIN) from error


@contextlib.contextmanager
def join(settings: Mapping[str, Any]) -> Iterator[Crew]:
    """The processes that this command's flags or environment name, once all are there with the same settings and code."""
    place = meeting.given_place()
    if place is None:
        yield Crew()
        return
    connections = meeting.meet(place, settings)
    for line in connections.values():
        line.beat()
    try:
        yield Crew(place, connections)
    finally:
        meeting.part(place, connections)
