"""The steps of a session, in order, and their time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.steps import Step

FULL_MINUTES, REHEARSAL_MINUTES = 12.0, 12.0
"""The sessions that the limits below are for; a shorter one gets as much less.

A longer session leaves the rest to training; a longer rehearsal has longer limits, for a CPU may be busy.
"""

LIMITS: dict[str, tuple[Any, ...]] = {
    "machine": ("ceilings", 45, 20),
    "unpack": ("kit", 30, 20),
    "peer_compile": ("peer", 90, 200),
    "correctness": ("correctness", 90, 200),
    "updates": ("updates", 150, 80),
    "peer": ("peer", 90, 90),
    "updates_more": ("updates", 60, 80),
    "inference": ("generator", 50, 40),
    "kernels": ("kernels", 35, 40),
    "ipmedgan": ("training", 0, 0),
    "ipmedgan_plus": ("training", 0, 0),
}
"""Module, and seconds in a full session and in a rehearsal (small networks on two CPU cores). Training has the rest.

A program at full size compiles for a minute or more on a GPU, most of it in trying cuDNN's kernels one after the other.
"""

BACKGROUND = ("peer_compile",)
"""Steps that run beside the next one and are ended with it."""

NAMES = tuple(LIMITS)
PREPARATION = ("machine", "unpack")
"""Steps that every session has, with their whole limits."""

SHARES = {"ipmedgan": 0.5, "ipmedgan_plus": 1.0}
"""Of what is left when a training begins."""

TRAINED_S, REHEARSED_S = 75.0, 15.0
"""Seconds without which a training is not begun; where half of the rest is less, the last system has all of it."""

CHECKED = (
    *(("ipmedgan", mode) for mode in ("float32", "bfloat16", "tf32")),
    *(("ipmedgan_plus", mode) for mode in ("float32", "bfloat16", "tf32")),
    *((system, mode) for system in ("glcic", "context_encoder", "unet", "finder") for mode in ("float32", "bfloat16")),
)
REHEARSED = (("ipmedgan", "float32"), ("ipmedgan", "bfloat16"), ("ipmedgan_plus", "float32"))
"""Systems and types of the step `correctness`, in order."""

UPDATES = ("bfloat16:16:lax:1", "bfloat16:1:lax:1", "bfloat16:64:lax:1", "float32:1:lax:1")
UPDATES_MORE = (
    *("bfloat16:16:lax:1", "bfloat16:16:matmul:1", "bfloat16:1:lax:8", "float32:16:lax:1"),  # the first one again: its spread
    *("bfloat16:1:matmul:1", "bfloat16:64:matmul:1", "float32:64:lax:1", "bfloat16:16:lax:8"),
    *("float32:1:matmul:1", "float32:16:matmul:1", "bfloat16:64:lax:8", "float32:64:matmul:1"),
)
"""Cases TYPE:BATCH:FORM:STEPS_PER_DISPATCH, the most telling first, for there may be no time for the last."""

PEER_COMPILED = ("bf16:16:compile", "bf16:1:compile", "bf16:64:compile")
PEER = ("bf16:16:eager", "bf16:1:eager", "bf16:64:eager", *PEER_COMPILED, "fp32:16:eager")
"""Cases TYPE:BATCH:MODE of the PyTorch peer, in its channels-last layout."""


def steps(minutes: float, rehearsal: bool, kit: Path, *, chosen: Sequence[str] | None = None) -> list[Step]:
    """The steps of a session of so many minutes; with `chosen` only these, after those of `PREPARATION`.

    Without a training, the chosen steps share all of the time.
    """
    options: dict[str, dict[str, Any]] = {
        "unpack": {"kit": str(kit)},
        "correctness": {"cases": REHEARSED if rehearsal else CHECKED},
        "updates": {"cases": UPDATES},
        "peer_compile": {"cases": PEER_COMPILED[: 1 if rehearsal else None], "script": str(kit / "peer.py"), "timed": False},
        "peer": {"cases": PEER, "script": str(kit / "peer.py"), "timed": True},
        "updates_more": {"cases": UPDATES_MORE},
        "ipmedgan": {"system": "ipmedgan"},
        "ipmedgan_plus": {"system": "ipmedgan_plus"},
    }
    column = 2 if rehearsal else 1
    scale = minutes / REHEARSAL_MINUTES if rehearsal else min(1.0, minutes / FULL_MINUTES)
    if chosen is not None and not set(chosen) & SHARES.keys():
        preparing = sum(LIMITS[name][column] for name in PREPARATION)
        shared = sum(LIMITS[name][column] for name in chosen if name not in BACKGROUND)
        scale = max(60 * minutes - preparing, 5) / max(shared, 1)
    planned = []
    for name, limits in LIMITS.items():
        if chosen is not None and name not in (*chosen, *PREPARATION):
            continue
        least, share = 5.0, SHARES.get(name)
        if share is not None:
            least = REHEARSED_S if rehearsal else TRAINED_S
            share = 1.0 if chosen is not None and "ipmedgan_plus" not in chosen else share
        factor = scale if name not in PREPARATION else max(1.0, scale) if rehearsal else 1.0
        seconds = limits[column] * factor
        module, own = f"benchmarks.gpu.{limits[0]}", options.get(name, {})
        small = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.3"} if name == "correctness" else {}  # PyTorch is beside it
        background = name in BACKGROUND
        planned.append(Step(name, module, seconds, share, least, own, small, background))
    return planned
