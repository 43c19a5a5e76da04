"""One run in several layouts of processes and devices: the same numbers; gone on with in another; stopped by one's signal.

  python -m benchmarks.layouts --output=/tmp/layouts

On the built-in phantom, on this machine's CPU, the same global batch of 4 throughout. Prints what it found, a line each; exit
code 1 where a bar is missed:

- 1 x 4, 2 x 2 and 4 x 1 (processes x devices), 20 steps of SGD: every parameter array's largest difference, relative to its
  largest value, how far all have come since they began, and the scores that `evaluate` gives;
- the same with Adam: every loss of every step, relative;
- 2 x 2's checkpoint taken up by 1 x 1 and 1 x 4: the state that each device has before the first step;
- SIGTERM to the second of two processes: the step saved, and both exit codes.
"""

import hashlib
import itertools
import json
import math
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import flags
from tensorboardX.proto import event_pb2

from benchmarks import several
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.core.errors import UserError

LAYOUTS = ((1, 4), (2, 2), (4, 1))
STEPS = 20
SGD_BAR, ADAM_BAR, SCORES_BAR = 1e-5, 1e-3, 1e-3

SETTINGS = (
    *(*several.SMALL, "--config.train.batch_size=4", f"--config.train.checkpoint_every={STEPS}"),
    "--config.train.log_every=1",
)
SGD = ("--config.optimiser.name=sgd", "--config.optimiser.learning_rate=0.001")
"""At 0.01 steps overshoot: what differs by rounding grows a thousandfold in one step."""


@dataclass(frozen=True)
class Finding:
    what: str
    seen: str
    met: bool


def main() -> None:
    output, missed = several.new_folder(flags.FLAGS.output), []
    for check in (same_parameters, same_losses, taken_up, stopped):
        for found in check(output):
            print(f"{found.what}: {found.seen}{'' if found.met else '  MISSED'}", flush=True)
            missed += [] if found.met else [found.what]
    if missed:
        raise UserError(f"missed: {'; '.join(missed)}", 1)


def same_parameters(output: Path) -> Iterator[Finding]:
    several.run(output / "begun", [*SETTINGS, *SGD[:1], "--config.optimiser.learning_rate=0.0", _steps(1)], 1, 4)
    before = several.arrays(output / "begun", 1, "params")
    ends = {name: several.arrays(run, STEPS, "params") for name, run in _in_every_layout(output, "sgd", SGD)}
    for one, other in itertools.combinations(ends, 2):
        worst = max(_difference(a, b) for a, b in zip(ends[one], ends[other], strict=True))
        way = sum(np.square(a - b).sum() for a, b in zip(ends[one], before, strict=True)) ** 0.5
        share = way / sum(np.square(b).sum() for b in before) ** 0.5
        seen = f"parameters differ by at most {worst:.1e} (all have come {share:.1e} of their norm)"
        yield Finding(f"SGD, {one} and {other}", seen, worst <= SGD_BAR)
        scores = [_scores(output / f"sgd_{name}") for name in (one, other)]
        worst = max(abs(scores[0][key] / scores[1][key] - 1) for key in scores[0] | scores[1])
        seen = f"{len(scores[0])} scores of `evaluate` differ by at most {worst:.1e}"
        yield Finding(f"SGD, {one} and {other}", seen, worst <= SCORES_BAR)


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest, relative to the largest value; infinite where a number is not finite."""
    finite = np.isfinite(a).all() and np.isfinite(b).all()
    return float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)) if finite else math.inf


def same_losses(output: Path) -> Iterator[Finding]:
    curves = {name: _losses(run) for name, run in _in_every_layout(output, "adam", ())}
    for one, other in itertools.combinations(curves, 2):
        worst = max(abs(curves[one][key] / curves[other][key] - 1) for key in curves[one] | curves[other])
        yield Finding(
            f"Adam, {one} and {other}", f"{len(curves[one])} losses differ by at most {worst:.1e}", worst <= ADAM_BAR
        )


def _in_every_layout(output: Path, name: str, settings: Iterable[str]) -> Iterator[tuple[str, Path]]:
    for processes, devices in LAYOUTS:
        run = output / f"{name}_{processes}x{devices}"
        several.run(run, [*SETTINGS, *settings, _steps(STEPS)], processes, devices)
        yield f"{processes}x{devices}", run


def _steps(count: int) -> str:
    return f"--config.train.steps={count}"


def _scores(workdir: Path) -> dict[tuple[str, str], float]:
    """{(region, score): mean} of a run's metrics.json."""
    report = json.loads((workdir / "evaluation" / "metrics.json").read_text())
    regions = report["region"].items()
    return {
        (region, name): each["mean"]
        for region, scores in regions
        for name, each in scores.items()
        if name != "psnr_of_mean_mse"
    }


def _losses(workdir: Path) -> dict[tuple[str, int], float]:
    """{(loss, step): value} of a run's TensorBoard file."""
    (path,) = (workdir / "tensorboard").iterdir()
    content, place = path.read_bytes(), 0
    values: dict[tuple[str, int], float] = {}
    while place < len(content):  # a record: its length in 8 bytes, a checksum in 4, the event, a checksum in 4
        (length,) = struct.unpack_from("<Q", content, place)
        event = event_pb2.Event.FromString(content[place + 12 : place + 12 + length])
        place += length + 16
        values |= {(v.tag, event.step): v.simple_value for v in event.summary.value if v.tag.startswith("loss/")}
    return values


TAKE_UP = """
import sys
from pathlib import Path
import jax
from benchmarks import layouts, several
from ipmedgan_jax.experiment import run_folder
from ipmedgan_jax.experiment.checkpoints import Checkpoints
from ipmedgan_jax.training import devices
from ipmedgan_jax.training.loop import InitialState

workdir = Path(sys.argv[1])
experiment = run_folder.read_experiment(workdir)
with Checkpoints(workdir / "checkpoints", keep=1, best=experiment.training.best, create=False) as checkpoints:
    state, _ = checkpoints.restore(checkpoints.latest_step(), devices.as_one_like(InitialState(experiment).shapes))
leaves = [several.numbers(x) for x in jax.tree.leaves(devices.own(state))]
for i in range(jax.local_device_count()):
    print(layouts.digest(x.addressable_shards[i].data for x in leaves))
"""
"""Prints a digest of the state that each device gets of the run's last checkpoint."""


def taken_up(output: Path) -> Iterator[Finding]:
    run = output / "adam_2x2"
    kept = several.arrays(run, STEPS)
    for devices in (1, 4):
        command = [sys.executable, "-c", TAKE_UP, str(run)]
        many = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        answer = subprocess.run(command, env=os.environ | many, capture_output=True, text=True, check=False)
        if answer.returncode:
            raise UserError(f"{run}: cannot be taken up ({answer.stderr.strip().splitlines()[-1]})", 1)
        seen = f"{len(kept)} arrays compared on {devices} device(s)"
        yield Finding(f"2x2 taken up by 1x{devices}", seen, answer.stdout.split() == [digest(kept)] * devices)


def digest(arrays: Iterable[np.ndarray]) -> str:
    """Of all bytes, whatever the arrays' order: a checkpoint's is by name, a state's by field."""
    each = sorted(hashlib.sha256(np.asarray(array).tobytes()).digest() for array in arrays)
    return hashlib.sha256(b"".join(each)).hexdigest()


def stopped(output: Path) -> Iterator[Finding]:
    run = output / "stopped"
    started = several.start(run, [*SETTINGS, _steps(100_000)], 2)
    several.wait_for_checkpoint(run, started, later_than=0)
    started[1].send_signal(signal.SIGTERM)
    codes, saved = several.end(started, 60), several.latest(run)
    said = re.findall(r"stopped at step (\d+)", Path(f"{run}.0.log").read_text())
    seen = f"process 0 stopped at {' '.join(said)}, saved {saved}; exit codes {codes}"
    yield Finding("SIGTERM to one of two", seen, said == [str(saved)] and codes == [143, 143])


def define_flags() -> None:
    flags.DEFINE_string("output", None, "a new folder for all runs and their logs")


if __name__ == "__main__":
    run_command(main, define_flags, required=["output"])
