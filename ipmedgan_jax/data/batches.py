"""What a batch of slices is on the host, and the two kinds of functions that take one."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

Inpaint = Callable[[dict[str, Any]], np.ndarray]
"""A batch, as `data.pipeline` has them -> inpainted images `[B, H, W, 1]`, bit-equal to the batch's outside the holes."""


Find = Callable[[np.ndarray], np.ndarray]
"""Slices `[B, H, W, 1]` in [-1, 1] -> how likely each pixel is damaged, of the same shape, 0 to 1."""


T = TypeVar("T")


NumpyBatch = dict[str, Any]


def in_groups(items: Iterable[T], size: int) -> Iterator[tuple[list[T], list[T]]]:
    """Items in groups of `size`, each beside itself at full size: the last repeats its last item."""
    iterator = iter(items)
    while group := list(itertools.islice(iterator, size)):
        yield group, group + group[-1:] * (size - len(group))
