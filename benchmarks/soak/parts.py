"""The parts of the soak, by name."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.soak import models, records
from benchmarks.soak.tally import Plan, Tally


@dataclass(frozen=True)
class Part:
    """One part: what it does, its function, and its counts (faults, seconds or steps) in a short and in a full soak."""

    text: str
    run: Callable[[Plan], Tally]
    short: int
    full: int


PARTS: dict[str, Part] = {
    "records": Part("single faults in prepared data", records.run, 60, 300),
    "models": Part("single faults in exported models", models.run, 60, 300),
}
