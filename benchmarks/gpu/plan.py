"""The steps of a session, in order, and their time."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.steps import Step

FULL_MINUTES = 12.0
"""The session that the limits below are for; a shorter one gets as much less, a longer one leaves the rest to training."""

LIMITS = {"unpack": 30, "machine": 30, "correctness": 110, "updates": 110, "peer": 75, "updates_more": 75, "inference": 60}
LIMITS |= {"kernels": 45}
"""Seconds in a session of `FULL_MINUTES`. Training gets what is left."""

REHEARSAL_LIMITS = {"unpack": 15, "machine": 15, "correctness": 45, "updates": 40, "peer": 25, "updates_more": 25}
REHEARSAL_LIMITS |= {"inference": 30, "kernels": 20}
"""Seconds in a rehearsal of `REHEARSAL_MINUTES`, with small networks on two CPU cores."""

REHEARSAL_MINUTES = 5.0

MODULES = {
    "unpack": "benchmarks.gpu.kit",
    "machine": "benchmarks.gpu.ceilings",
    "correctness": "benchmarks.gpu.correctness",
    "updates": "benchmarks.gpu.updates",
    "peer": "benchmarks.gpu.peer",
    "updates_more": "benchmarks.gpu.updates",
    "inference": "benchmarks.gpu.generator",
    "kernels": "benchmarks.gpu.kernels",
    "ipmedgan": "benchmarks.gpu.training",
    "ipmedgan_plus": "benchmarks.gpu.training",
}
NAMES = tuple(MODULES)
PREPARATION = ("unpack", "machine")
"""Steps that every session has, with their whole limits."""

UPDATES = ("bfloat16:16:lax:1", "bfloat16:1:lax:1", "bfloat16:64:lax:1", "float32:1:lax:1")
UPDATES_MORE = (
    *("bfloat16:16:lax:1", "bfloat16:16:matmul:1", "bfloat16:1:lax:8", "float32:16:lax:1"),  # the first one again: its spread
    *("bfloat16:1:matmul:1", "bfloat16:64:matmul:1", "float32:64:lax:1", "bfloat16:16:lax:8"),
    *("float32:1:matmul:1", "float32:16:matmul:1", "bfloat16:64:lax:8", "float32:64:matmul:1"),
)
"""Cases TYPE:BATCH:FORM:STEPS_PER_DISPATCH, the most telling first, for there may be no time for the last."""

PEER = (
    "bf16:16:eager",
    "bf16:16:compile",
    "bf16:1:eager",
    "bf16:64:eager",
    "bf16:1:compile",
    "bf16:64:compile",
    "fp32:16:eager",
)
"""Cases TYPE:BATCH:MODE of the PyTorch peer, in its channels-last layout."""


def steps(minutes: float, rehearsal: bool, kit: Path, *, chosen: Sequence[str] | None = None) -> list[Step]:
    """The steps of a session of so many minutes; with `chosen` only these, after `unpack` and `machine`."""
    limits = REHEARSAL_LIMITS if rehearsal else LIMITS
    scale = min(1.0, minutes / (REHEARSAL_MINUTES if rehearsal else FULL_MINUTES))
    options = {
        "unpack": {"kit": str(kit)},
        "updates": {"cases": UPDATES},
        "peer": {"cases": PEER, "script": str(kit / "peer.py")},
        "updates_more": {"cases": UPDATES_MORE},
        "ipmedgan": {"system": "ipmedgan"},
        "ipmedgan_plus": {"system": "ipmedgan_plus"},
    }
    shares = {"ipmedgan": 0.5, "ipmedgan_plus": 1.0}
    if chosen is not None and "ipmedgan_plus" not in chosen:
        shares["ipmedgan"] = 1.0
    return [
        Step(
            name,
            module,
            seconds=limits.get(name, 0.0) * (1.0 if name in PREPARATION else scale),
            share=shares.get(name),
            least=15.0 if name in shares else 5.0,
            options=options.get(name, {}),
        )
        for name, module in MODULES.items()
        if chosen is None or name in chosen or name in PREPARATION
    ]
