"""A plan, not a measurement: what share of many GPUs' throughput a run keeps, from one GPU's step time and published rates.

  python -m benchmarks.scale                                         # from the floors of DESIGN
  python -m benchmarks.scale --step_ms=9.5,21,70                     # from measured steps of 1, 4 and 16 slices

The model: a step of one GPU, then an all-reduce of the gradients that nothing hides. Inside a machine of eight GPUs they are
reduced and gathered over NVLink, between machines each eighth goes over its GPU's own share of the network. Rates are
the published ones, one way, times `REACHED`. XLA hides part of it behind the backward pass; so this is the lower end.
"""

from absl import flags

from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError

BATCHES = (1, 4, 16)
"""Slices a GPU."""

GPUS = (8, 64, 512)

GRADIENT_GB = {"float32": 1.30, "bfloat16": 0.65}

NVLINK_GB_S = 450.0
"""A GPU, one way (NVIDIA H100 SXM data sheet: 900 both ways)."""

NETWORKS_GB_S = {"NDR InfiniBand, a port a GPU": 50.0, "100 Gbit/s Ethernet, a port a machine": 12.5 / 8}
"""A GPU's share, one way."""

REACHED = 0.8
"""Of a link's published rate."""

MEMORY_MS, IMAGE_MS = 3.3, 1.05
"""Floors on an H100: weights, gradients and Adam at 3.35 TB/s; 0.42 TFLOP a slice at 400 TFLOP/s."""

MACHINE = 8


def main() -> None:
    steps = _step_times(flags.FLAGS.step_ms)
    for network, network_gb_s in NETWORKS_GB_S.items():
        print(f"\n{network}:\n")
        print("| gradients | slices a GPU | one GPU, ms | " + " | ".join(f"{count} GPUs" for count in GPUS) + " |")
        print("|---" * (3 + len(GPUS)) + "|")
        for kind, gigabytes in GRADIENT_GB.items():
            for batch, step_ms in zip(BATCHES, steps, strict=True):
                shares = [step_ms / (step_ms + all_reduce_ms(gigabytes, count, network_gb_s)) for count in GPUS]
                cells = " | ".join(f"{100 * share:.0f} %" for share in shares)
                print(f"| {kind} | {batch} | {step_ms:.1f} | {cells} |")


def all_reduce_ms(gigabytes: float, count: int, network_gb_s: float) -> float:
    """Rings: each of n sends 2 (n - 1) / n of its bytes."""
    inside, machines = min(count, MACHINE), max(1, count // MACHINE)
    within = 2 * (inside - 1) / inside * gigabytes / (REACHED * NVLINK_GB_S)
    between = 2 * (machines - 1) / machines * gigabytes / inside / (REACHED * network_gb_s)
    return 1000 * (within + between)


def _step_times(given: list[str]) -> list[float]:
    if not given:
        return [MEMORY_MS + IMAGE_MS * batch for batch in BATCHES]
    try:
        times = [float(each) for each in given]
    except ValueError as error:
        raise UserError(f"--step_ms={','.join(given)}: wanted numbers") from error
    if len(times) != len(BATCHES) or min(times) <= 0:
        raise UserError(f"--step_ms={','.join(given)}: wanted the milliseconds of steps of {BATCHES} slices")
    return times


def define_flags() -> None:
    flags.DEFINE_list("step_ms", [], "measured milliseconds of one GPU's steps; the floors otherwise")


if __name__ == "__main__":
    run_command(main, define_flags)
