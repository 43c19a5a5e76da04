"""One fold of a cross-validation, as the setting `data.fold` names it: `2 of 5`."""

import re
from dataclasses import dataclass

SMALLEST = 3
"""The fewest folds: one for the test, one for validation, and the others for training."""


@dataclass(frozen=True)
class Fold:
    """Fold `index` of `count`; the first is 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index} of {self.count}"


def parse(text: str) -> Fold | None:
    """Returns the fold that a text `k of n` names; None for any other text, for n below 3, and for k outside 1 to n."""
    found = re.fullmatch("([1-9][0-9]{0,5}) of ([1-9][0-9]{0,5})", text)
    return _valid(*map(int, found.groups())) if found else None


def suggestion(text: str) -> str:
    """Returns the end of an error message, `; did you mean '2 of 5'?`, for a text such as `2/5`; otherwise nothing."""
    numbers = re.findall("[0-9]{1,6}", text)
    fold = _valid(*map(int, numbers)) if len(numbers) == 2 else None
    return f"; did you mean '{fold}'?" if fold else ""


def _valid(index: int, count: int) -> Fold | None:
    return Fold(index, count) if count >= SMALLEST and 1 <= index <= count else None
