"""Predicts the share of many GPUs' throughput that a run keeps, from one GPU's step time and published rates.

  python -m benchmarks.scale                                         # from lower bounds of the step time
  python -m benchmarks.scale --step_ms=9.5,21,70                     # from measured steps of 1, 4 and 16 slices

This is a plan, not a measurement. In the model, a step of one GPU is followed by an all-reduce of the gradients without
overlap. Inside a machine of eight GPUs, gradients are reduced and gathered over NVLink. Between machines, each GPU sends its
eighth over its share of the network. Rates are the published ones, one way, times `REACHED`. XLA overlaps part of the
all-reduce with the backward pass, so the prediction is a lower bound.
"""

from absl import flags

from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError

BATCHES = (1, 4, 16)
"""Slices per GPU."""

GPUS = (8, 64, 512)

GRADIENT_GB = {"float32": 1.30, "bfloat16": 0.65}

NVLINK_GB_S = 450.0
"""NVLink rate of one GPU, one way (NVIDIA H100 SXM data sheet: 900 both ways)."""

NETWORKS_GB_S = {"NDR InfiniBand, one port per GPU": 50.0, "100 Gbit/s Ethernet, one port per machine": 12.5 / 8}
"""Each GPU's share of a network, one way."""

REACHED = 0.8
"""Share of a link's published rate that is reached."""

MEMORY_MS, IMAGE_MS = 3.3, 1.05
"""Lower bounds on an H100: weights, gradients and Adam at 3.35 TB/s, and 0.42 TFLOP per slice at 400 TFLOP/s."""

MACHINE = 8
"""GPUs per machine."""


def main() -> None:
    steps = _step_times(flags.FLAGS.step_ms)
    for network, network_gb_s in NETWORKS_GB_S.items():
        print(f"\n{network}:\n")
        print("| gradients | slices per GPU | one GPU, ms | " + " | ".join(f"{count} GPUs" for count in GPUS) + " |")
        print("|---" * (3 + len(GPUS)) + "|")
        for kind, gigabytes in GRADIENT_GB.items():
            for batch, step_ms in zip(BATCHES, steps, strict=True):
                shares = [step_ms / (step_ms + all_reduce_ms(gigabytes, count, network_gb_s)) for count in GPUS]
                cells = " | ".join(f"{100 * share:.0f} %" for share in shares)
                print(f"| {kind} | {batch} | {step_ms:.1f} | {cells} |")


def all_reduce_ms(gigabytes: float, count: int, network_gb_s: float) -> float:
    """Returns the milliseconds of a ring all-reduce, in which each of n GPUs sends 2 (n - 1) / n of its bytes."""
    inside, machines = min(count, MACHINE), max(1, count // MACHINE)
    within = 2 * (inside - 1) / inside * gigabytes / (REACHED * NVLINK_GB_S)
    between = 2 * (machines - 1) / machines * gigabytes / inside / (REACHED * network_gb_s)
    return 1000 * (within + between)


def _step_times(given: list[str]) -> list[float]:
    if not given:
        return [MEMORY_MS + IMAGE_MS * batch for batch in BATCHES]
    try:
        times = [float(text) for text in given]
    except ValueError as error:
        raise UserError(f"--step_ms={','.join(given)}: expected numbers") from error
    if len(times) != len(BATCHES) or min(times) <= 0:
        raise UserError(f"--step_ms={','.join(given)}: expected the milliseconds of steps of {BATCHES} slices")
    return times


def define_flags() -> None:
    flags.DEFINE_list(
        "step_ms", [], "measured milliseconds of one GPU's steps of 1, 4 and 16 slices; by default lower bounds"
    )


if __name__ == "__main__":
    run_command(main, define_flags)
