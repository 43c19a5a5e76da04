"""Batches of slices on the host, and the types of the functions that fill holes or find damage in them."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

Inpaint = Callable[[dict[str, Any]], np.ndarray]
"""A batch of `data.pipeline` -> inpainted images `[B, H, W, 1]`, bit-equal to the batch's images outside the holes."""


Find = Callable[[np.ndarray], np.ndarray]
"""Slices `[B, H, W, 1]` in [-1, 1] -> the likelihood, 0 to 1, that a pixel is damaged, in the shape of the slices."""


T = TypeVar("T")


NumpyBatch = dict[str, Any]


def in_groups(items: Iterable[T], size: int) -> Iterator[tuple[list[T], list[T]]]:
    """Yields the items in groups of `size`, each as (group, padded); `padded` repeats the last item to reach `size`."""
    iterator = iter(items)
    while group := list(itertools.islice(iterator, size)):
        yield group, group + group[-1:] * (size - len(group))
