"""Strategies for files of others: altered bytes, and JSON with a value of another kind in some place."""

import copy

from hypothesis import strategies as st

VALUES = (
    *(None, True, 0, -1, 1, 3.5, 2**31, 2**63, 10**30, 1e308, float("nan"), float("inf"), "", "x", "1", "\x00", "\udce9"),
    *([], [1], [[]], {}, {"x": 1}, [0] * 50),
)
"""Values to put where others are expected."""


@st.composite
def altered(draw, content):
    """Changes bytes, cuts, or copies a piece of a file to another place of it."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(found) - 1))
        kind = draw(st.sampled_from(["byte", "word", "cut", "copy"]))
        if kind == "cut":
            found = found[: max(place, 1)]
        elif kind == "copy":
            start = draw(st.integers(0, len(found) - 1))
            piece = found[start : start + draw(st.integers(1, 64))]
            found[place : place + len(piece)] = piece
        else:
            replacement = draw(st.binary(min_size=1, max_size=1 if kind == "byte" else 8))
            found[place : place + len(replacement)] = replacement
    return bytes(found)


def _places(value, path=()):
    """Yields the way to each value in nested dicts and lists."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


@st.composite
def replaced(draw, content, places=1):
    """Puts one of `VALUES` in some places of a nested dict, removes a key, or adds one."""
    found = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, places))):
        *way, key = draw(st.sampled_from([path for path in _places(found) if path]))
        inner = found
        for step in way:
            inner = inner[step]
        change = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
        if change == "replace":
            inner[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))  # the next change may be inside it
        elif change == "remove":
            del inner[key]
        elif isinstance(inner, dict):
            inner["unheard_of"] = copy.deepcopy(draw(st.sampled_from(VALUES)))
        if not found:
            return found
    return found
