"""The parts of the soak, by name."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.soak import kills, long_run
from benchmarks.soak.tally import Plan, Tally


@dataclass(frozen=True)
class Part:
    """One part: what it does, its function, and its counts (faults, seconds or steps) in a short and in a full soak."""

    text: str
    run: Callable[[Plan], Tally]
    short: int
    full: int


PARTS: dict[str, Part] = {
    "kills": Part("kills of a training, restarted", kills.run, 6, 50),
    "long_run": Part("steps of one run", long_run.run, 3000, 20_000),
}
