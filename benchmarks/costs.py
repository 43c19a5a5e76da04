"""Operations and bytes of a function, counted the same way on every platform.

XLA's own account (`cost_analysis`) is of no use on a GPU: before compilation there is none, and after it the convolutions,
which cuDNN runs, count as nothing.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from jax.interpreters import partial_eval

# ------------------------------------------------------------------ operations, of the function as written


def operations(traced: Any) -> float:
    """Floating-point operations of the matrix products and convolutions of a function that `jax.make_jaxpr` has traced.

    A multiplication and its addition are two. Products with padding are none, a loop counts as often as it runs, and of a
    choice (the forms of a layer for several platforms) the costliest counts. What the result does not need is left out.
    """
    needed, _ = partial_eval.dce_jaxpr(traced.jaxpr, [True] * len(traced.jaxpr.outvars))
    return _of_jaxpr(needed)


def _of_jaxpr(jaxpr: Any) -> float:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> float:
    name = equation.primitive.name
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        return _of_convolution(equation)
    inner = [_of_jaxpr(jaxpr) for jaxpr in _inner(equation.params.values())]
    if name == "cond":
        return max(inner)
    return sum(inner) * (equation.params["length"] if name == "scan" else 1)


def _inner(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _inner(value)
        elif hasattr(value, "jaxpr"):  # a closed one
            yield value.jaxpr
        elif hasattr(value, "eqns"):
            yield value


def _of_convolution(equation: Any) -> float:
    image, kernel = (variable.aval.shape for variable in equation.invars)
    result, settings = equation.outvars[0].aval.shape, equation.params
    numbers = settings["dimension_numbers"]
    lengths = [
        [shape[axis] for axis in axes[2:]]
        for shape, axes in ((image, numbers.lhs_spec), (kernel, numbers.rhs_spec), (result, numbers.out_spec))
    ]
    pairs = 1
    for n, taps, positions, stride, (before, _), spread, gap in zip(
        *lengths,
        settings["window_strides"],
        settings["padding"],
        settings["lhs_dilation"],
        settings["rhs_dilation"],
        strict=True,
    ):
        place = stride * np.arange(positions)[:, None] + gap * np.arange(taps) - before
        pairs *= int(((place >= 0) & (place < spread * (n - 1) + 1) & (place % spread == 0)).sum())
    features, inputs = (kernel[axis] for axis in numbers.rhs_spec[:2])
    return 2.0 * result[numbers.out_spec[0]] * features * inputs * pairs


# ------------------------------------------------------------------ bytes, of the compiled program

_WIDTHS = {"pred": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8}
"""Bytes an element. Arrays of 8 bits, which are scratch memory, do not count."""

_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id"}

_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\(([^)]*)\)(.*)$")
_CALLED = re.compile(r"(?:to_apply|body)=%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


def bytes_moved(text: str) -> float:
    """Bytes that a compiled program (its HLO as text) reads and writes: operands and results of all that is not fused.

    A loop counts as often as it runs, where the compiler knows that. What a kernel reads in part counts in full, and what
    it finds in a cache counts too.
    """
    computations: dict[str, list[tuple[float, str, int]]] = {}
    entry, sizes, current = "", dict[str, int](), list[tuple[float, str, int]]()
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            current = computations[header[2]] = []
            entry = header[2] if header[1] else entry
        elif found := _INSTRUCTION.match(line):
            name, shape, kind, operands, rest = found.groups()
            sizes[name] = bytes_of(shape)
            called = _CALLED.search(rest) if kind in ("while", "call") else None
            if called:
                trips = _TRIPS.search(rest)
                current.append((0.0, called[1], int(trips[1]) if trips else 1))
            elif kind not in _FREE and not kind.endswith("-done"):
                read = sum(sizes.get(operand.strip().lstrip("%"), 0) for operand in operands.split(","))
                current.append((float(sizes[name] + read), "", 1))

    def total(name: str) -> float:
        return sum(count * (total(called) if called else moved) for moved, called, count in computations.get(name, ()))

    return total(entry)


def bytes_of(shape: str) -> int:
    """Returns the bytes of all arrays in the text of a shape, but of those of 8 bits."""
    return sum(
        _WIDTHS.get(dtype, 0) * math.prod(int(length) for length in lengths.split(",") if length)
        for dtype, lengths in _SHAPE.findall(shape)
    )
