"""Every single change of a JSON value, for tests of its readers."""

import json
from collections.abc import Iterator
from typing import Any

REMOVED = object()

OTHERS = (REMOVED, None, "x", -1, 10**30, 0.5, True, [], {}, [0, 1], [1.5, "a", None], {"a": 1}, "\ud800")
"""What a value may be changed to."""


def places(value: Any, place: tuple = ()) -> Iterator[tuple]:
    """Yields the keys that lead to each value inside a JSON value, objects and lists included."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*place, key)
        yield from places(inner, (*place, key))


def changed(content: Any, place: tuple, value: Any) -> str:
    """Returns the content as JSON with another value at a place, or with nothing there."""
    copy = json.loads(json.dumps(content))
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    if value is REMOVED:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return json.dumps(copy)
