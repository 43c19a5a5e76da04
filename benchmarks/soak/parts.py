"""The parts of the soak, by name."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.soak import checkpoints, fuzz, hostile, hostile_programs, kills, long_run, models, records, views
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
    "checkpoints": Part("a fault in the newest of three checkpoints", checkpoints.run, 39, 500),
    "records": Part("single faults in prepared data", records.run, 60, 300),
    "models": Part("single faults in exported models", models.run, 60, 300),
    "hostile": Part("damaged files through each reader", hostile.run, 40, 300),
    "fuzz": Part("seconds of fuzzing each reader's share", fuzz.run, 10, 600),
    "programs": Part("altered compiled programs in signed models", hostile_programs.run, 10, 300),
    "views": Part("damage that one of two or three processes sees", views.run, 2, 12),
    "long_run": Part("steps of one run", long_run.run, 3000, 20_000),
}
