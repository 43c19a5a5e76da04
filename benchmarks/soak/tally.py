"""The result of one part of the soak: how many faults were injected, and what became of each."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """What a part gets: an empty folder of its own, the number of faults (or seconds, or steps), and the seed.

    A part that draws a picture writes it to the folder `pictures`; None: it draws none.
    """

    folder: Path
    count: int
    seed: int
    pictures: Path | None = None


@dataclass
class Tally:
    """Faults by their outcome. Each injected fault is added once, by one of the methods.

    Attributes:
      noticed: reported by one line of the package's own, with nothing lost.
      fell_back: reported, and the work went on with an older whole file.
      harmless: without effect: the result is equal to that without the fault, bit by bit.
      silent: descriptions of faults that changed a result without a word, or ended in another way than by one line.
    """

    noticed: int = 0
    fell_back: int = 0
    harmless: int = 0
    silent: list[str] = field(default_factory=list)

    @property
    def injected(self) -> int:
        """All faults."""
        return self.noticed + self.fell_back + self.harmless + len(self.silent)

    def __str__(self) -> str:
        return (
            f"{self.injected} injected, {self.noticed} noticed, {self.fell_back} fell back, "
            f"{self.harmless} without effect, {len(self.silent)} silent"
        )
