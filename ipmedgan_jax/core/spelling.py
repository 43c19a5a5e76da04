"""Words in messages: suggestions for misspelt ones, and singular or plural."""

import difflib
from collections.abc import Iterable

LIKENESS = 0.6
"""Smallest similarity, 0 to 1 by difflib's SequenceMatcher, at which a word counts as a misspelling of another."""


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Returns the choice most similar to `word`, or None if none is similar.

    The last part of a dotted name may match alone: `steps` matches `train.steps`.
    """
    choices = list(choices)
    by_last_part = {choice.rpartition(".")[2]: choice for choice in reversed(choices)}
    last_part = word.rpartition(".")[2]
    if last_part in by_last_part:
        return by_last_part[last_part]
    if found := difflib.get_close_matches(word, choices, n=1, cutoff=LIKENESS):
        return found[0]
    found = difflib.get_close_matches(last_part, by_last_part, n=1, cutoff=LIKENESS)
    return by_last_part[found[0]] if found else None


def suggestion(word: str, choices: Iterable[str], prefix: str = "") -> str:
    """Returns the end of an error message, `; did you mean PREFIXchoice?`, or an empty string."""
    found = nearest(word, choices)
    return f"; did you mean {prefix}{found}?" if found else ""


def counted(number: int, noun: str) -> str:
    """Returns `1 NOUN` or `2 NOUNs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
