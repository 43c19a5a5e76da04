"""Says where the time of one update goes on a CPU: by group of layers, beside the least that each group could take.

  python -m benchmarks.groups --config=configs/ct.py --config.train.dtype=bfloat16
  python -m benchmarks.groups --config=configs/small.py --config.train.batch_size=8 --top=20

Images and VGG-19 weights are random. The groups are the generator, the discriminators, VGG-19, the Gram matrices, the
optimisers, and the rest. The columns are:

ms         time of the group's operations in a profile of `--steps` updates, a step; operations do not overlap
gflop      operations of the group's products and convolutions, as XLA compiled them
gb         bytes that the group's operations read and write, as XLA fused them
least_ms   the larger of gflop at the rate of one large product of this type here, and gb at the rate of one large addition
share      least_ms / ms
"""

import json
import math
import re
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

from ipmedgan_jax.core import runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.experiment import config_flag

_GROUPS = {
    "VGG19": "vgg19",
    "Discriminator": "discriminators",
    "CasNet": "generator",
    "gram_matrix": "gram",
    "optimiser": "optimisers",
}
"""Groups by a part of their instructions' origin; the first that fits counts."""


@dataclass(frozen=True)
class Instruction:
    """One instruction of the compiled program: its origin in the code, bytes that it reads and writes, and operations."""

    origin: str
    moved: int
    operations: float


def main() -> None:
    config = flags.FLAGS.config.unlock()
    runtime.set_up(config_flag.computation_type(config))
    config.vgg19.weights = "random"
    import jax

    from benchmarks import machine

    compiled, run = _compile_update(config.lock())
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(flags.FLAGS.steps):
                run()
        spent = _nanoseconds(Path(folder), instructions := _instructions(compiled.as_text()))
    milliseconds = {name: time / 1e6 / flags.FLAGS.steps for name, time in spent.items()}
    rates = machine.dot_rate(config.train.dtype), machine.bandwidth()
    print(json.dumps({"rate_gflops": rates[0] / 1e9, "bandwidth_gb_s": rates[1] / 1e9, "dtype": config.train.dtype}))
    for row in _table(instructions, milliseconds, *rates):
        print(json.dumps(row))
    for name, time in Counter(milliseconds).most_common(flags.FLAGS.top):
        print(f"{time:8.2f} ms  {name}  {instructions[name].origin}")


def _compile_update(config: Any) -> tuple[Any, Any]:
    """Returns the compiled update, and a function that runs it once and waits."""
    import jax

    from benchmarks.step import random_batch
    from ipmedgan_jax.experiment import build, phases
    from ipmedgan_jax.systems.interface import Batch
    from ipmedgan_jax.systems.state import init_state
    from ipmedgan_jax.systems.update import train_steps
    from ipmedgan_jax.training import devices

    size = config.data.image_size
    features = build.feature_network(config)
    update = phases.make_update(config, build.make_system(config, features.net))
    states = [devices.replicate(jax.jit(partial(init_state, update, image_size=size))(jax.random.key(config.seed)))]
    frozen = devices.replicate(features.params)
    batch = Batch(**devices.split_over_devices(random_batch(config.train.batch_size, size, config.holes.size)))
    compiled = devices.map_over_devices(partial(train_steps, update)).lower(states[0], frozen, batch).compile()

    def run() -> None:
        states[0], _ = jax.block_until_ready(compiled(states[0], frozen, batch))

    run()
    return compiled, run


def _instructions(program: str) -> dict[str, Instruction]:
    """Reads the text of a compiled program. Operations of a fusion are those of the products inside it."""
    from benchmarks import costs

    shapes: dict[str, str] = {}
    inside: dict[str, float] = defaultdict(float)  # operations by called computation
    found: dict[str, Instruction] = {}
    computation = ""
    for line in program.splitlines():
        if header := re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            computation = header[1]
        if not (match := re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = (\([^=]*?\)|\S+) ([\w\-]+)\((.*)", line)):
            continue
        name, shape, kind, rest = match.groups()
        shapes[name] = shape
        operands = [shapes.get(operand, "") for operand in re.findall(r"%([\w.\-]+)", rest.split("), ")[0])]
        operations = _operations(kind, shape, operands, rest)
        inside[computation] += operations
        called = re.search(r"calls=%?([\w.\-]+)", rest)
        origin = re.search(r'op_name="([^"]*)"', rest)
        found[name] = Instruction(
            origin[1] if origin else "",
            sum(map(costs.bytes_of, [shape, *operands])),
            operations + (inside[called[1]] if called else 0.0),
        )
    return found


def _operations(kind: str, shape: str, operands: list[str], rest: str) -> float:
    """Operations of a product or convolution: twice the size of its result times what each value sums over."""
    if kind == "dot" or "__onednn$matmul" in rest:
        first, second = (_sides(operand) for operand in operands[:2])
        batch = 1
        if match := re.search(r"lhs_batch_dims=\{([\d,]*)\}", rest):
            for axis in filter(None, match[1].split(",")):
                batch *= first[int(axis)]
        elif len(first) > 2:
            batch = math.prod(first[:-2])
        result = math.prod(_sides(shape))
        return 2.0 * (result * math.prod(first) * math.prod(second) / batch) ** 0.5 if result else 0.0
    if kind == "convolution" or "__onednn$convolution" in rest:
        kernel = _sides(operands[1])
        return 2.0 * math.prod(_sides(shape)) * math.prod(kernel) / max(kernel[-1], 1)
    return 0.0


def _sides(shape: str) -> list[int]:
    """Sides of the first array in a shape's text."""
    match = re.search(r"\[([\d,]*)\]", shape)
    return [int(side) for side in match[1].split(",") if side] if match else []


def _nanoseconds(folder: Path, instructions: dict[str, Instruction]) -> dict[str, int]:
    """Reads the time of each instruction from a profile; UserError if it holds none, as on a GPU."""
    import jax

    spent: dict[str, int] = defaultdict(int)
    for path in folder.rglob("*.xplane.pb"):
        for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
            for event in (event for line in plane.lines for event in line.events):
                name = event.name.split("__onednn")[0]
                if name in instructions:
                    spent[name] += event.duration_ns
    if not spent:
        raise UserError("the profile names no instruction of the update: this benchmark is for CPUs")
    return spent


def _table(
    instructions: dict[str, Instruction], milliseconds: dict[str, float], rate: float, bandwidth: float
) -> list[dict[str, Any]]:
    """One row a group, the slowest first."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for name, time in milliseconds.items():
        instruction = instructions[name]
        group = next((group for mark, group in _GROUPS.items() if mark in instruction.origin), "rest")
        rows[group].update(ms=time, gflop=instruction.operations / 1e9, gb=instruction.moved / 1e9)
    for row in rows.values():
        row["least_ms"] = 1e3 * max(row["gflop"] * 1e9 / rate, row["gb"] * 1e9 / bandwidth)
        row["share"] = row["least_ms"] / row["ms"]
    ordered = sorted(rows.items(), key=lambda item: -item[1]["ms"])
    return [{"group": group} | {name: round(value, 3) for name, value in row.items()} for group, row in ordered]


def define_flags() -> None:
    config_flag.define()
    flags.DEFINE_integer("steps", 3, "number of profiled updates", lower_bound=1)
    flags.DEFINE_integer("top", 0, "number of single operations to list, the slowest first", lower_bound=0)


if __name__ == "__main__":
    run_command(main, define_flags, required=["config"])
