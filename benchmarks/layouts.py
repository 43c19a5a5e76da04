"""Compares one run in several layouts of processes and devices, resumes it in another layout, and stops it by a signal.

  python -m benchmarks.layouts --output=/tmp/layouts

All runs use the built-in phantom, this machine's CPU and a global batch of 4. Each check prints one line. Exit code 1 if a
limit is exceeded. The checks are:

- 1 x 4, 2 x 2 and 4 x 1 (processes x devices), 20 steps of SGD: the largest difference of each parameter array, relative to
  its largest value; the distance of all parameters from their initial values; and the scores of `evaluate`.
- The 3 layouts with Adam: the relative difference of each loss at each step.
- The 2 x 2 checkpoint resumed by 1 x 1 and by 1 x 4: the state of each device before the first step.
- SIGTERM to the second of two processes: the saved step and both exit codes.
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
    """The result of one check: its name, its figures, and whether they are within the limit."""

    name: str
    figures: str
    passed: bool


def main() -> None:
    output, failed = several.new_folder(flags.FLAGS.output), []
    for check in (compare_parameters, compare_losses, check_resumed_state, check_stopped_run):
        for finding in check(output):
            print(f"{finding.name}: {finding.figures}{'' if finding.passed else '  FAILED'}", flush=True)
            failed += [] if finding.passed else [finding.name]
    if failed:
        raise UserError(f"failed: {'; '.join(failed)}", 1)


def compare_parameters(output: Path) -> Iterator[Finding]:
    """Compares the parameters and scores of runs with SGD, for every pair of layouts."""
    several.run(output / "begun", [*SETTINGS, *SGD[:1], "--config.optimiser.learning_rate=0.0", _steps(1)], 1, 4)
    initial = several.arrays(output / "begun", 1, "params")
    final = {name: several.arrays(run, STEPS, "params") for name, run in _run_in_every_layout(output, "sgd", SGD)}
    for one, other in itertools.combinations(final, 2):
        worst = max(_relative_difference(a, b) for a, b in zip(final[one], final[other], strict=True))
        distance = sum(np.square(a - b).sum() for a, b in zip(final[one], initial, strict=True)) ** 0.5
        share = distance / sum(np.square(b).sum() for b in initial) ** 0.5
        figures = f"parameters differ by at most {worst:.1e} (all have moved by {share:.1e} of their norm)"
        yield Finding(f"SGD, {one} and {other}", figures, worst <= SGD_BAR)
        scores = [_read_scores(output / f"sgd_{name}") for name in (one, other)]
        worst = max(abs(scores[0][key] / scores[1][key] - 1) for key in scores[0] | scores[1])
        figures = f"{len(scores[0])} scores of `evaluate` differ by at most {worst:.1e}"
        yield Finding(f"SGD, {one} and {other}", figures, worst <= SCORES_BAR)


def _relative_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the largest difference relative to the largest value; infinite if a number is not finite."""
    finite = np.isfinite(a).all() and np.isfinite(b).all()
    return float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)) if finite else math.inf


def compare_losses(output: Path) -> Iterator[Finding]:
    """Compares the losses of runs with Adam, for every pair of layouts."""
    curves = {name: _read_losses(run) for name, run in _run_in_every_layout(output, "adam", ())}
    for one, other in itertools.combinations(curves, 2):
        worst = max(abs(curves[one][key] / curves[other][key] - 1) for key in curves[one] | curves[other])
        yield Finding(
            f"Adam, {one} and {other}", f"{len(curves[one])} losses differ by at most {worst:.1e}", worst <= ADAM_BAR
        )


def _run_in_every_layout(output: Path, name: str, settings: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Trains a run in every layout; yields the layout's name and the run's folder."""
    for processes, devices in LAYOUTS:
        run = output / f"{name}_{processes}x{devices}"
        several.run(run, [*SETTINGS, *settings, _steps(STEPS)], processes, devices)
        yield f"{processes}x{devices}", run


def _steps(count: int) -> str:
    return f"--config.train.steps={count}"


def _read_scores(workdir: Path) -> dict[tuple[str, str], float]:
    """Reads {(region, score): mean} from a run's metrics.json."""
    report = json.loads((workdir / "evaluation" / "metrics.json").read_text())
    regions = report["region"].items()
    return {
        (region, name): score["mean"]
        for region, scores in regions
        for name, score in scores.items()
        if name != "psnr_of_mean_mse"
    }


def _read_losses(workdir: Path) -> dict[tuple[str, int], float]:
    """Reads {(loss, step): value} from a run's TensorBoard file."""
    (path,) = (workdir / "tensorboard").iterdir()
    content, offset = path.read_bytes(), 0
    values: dict[tuple[str, int], float] = {}
    while offset < len(content):  # a record: 8 bytes of length, a 4-byte checksum, the event, a 4-byte checksum
        (length,) = struct.unpack_from("<Q", content, offset)
        event = event_pb2.Event.FromString(content[offset + 12 : offset + 12 + length])
        offset += length + 16
        values |= {(v.tag, event.step): v.simple_value for v in event.summary.value if v.tag.startswith("loss/")}
    return values


PRINT_STATE_DIGESTS = """
import sys
from pathlib import Path
import jax
from benchmarks import layouts, several
from ipmedgan_jax.experiment import run_folder
from ipmedgan_jax.experiment.checkpoints import Checkpoints
from ipmedgan_jax.training import devices
from ipmedgan_jax.training.start import InitialState

workdir = Path(sys.argv[1])
experiment = run_folder.read_experiment(workdir)
with Checkpoints(workdir / "checkpoints", keep=1, best=experiment.training.best, create=False) as checkpoints:
    state, _ = checkpoints.restore(checkpoints.latest_step(), devices.replicated_like(InitialState(experiment).shapes))
leaves = [several.numbers(x) for x in jax.tree.leaves(state)]
for i in range(jax.local_device_count()):
    print(layouts.digest(x.addressable_shards[i].data for x in leaves))
"""
"""Program that prints a digest of the state that each device restores from a run's last checkpoint."""


def check_resumed_state(output: Path) -> Iterator[Finding]:
    """Restores the 2 x 2 run's checkpoint in other layouts and compares each device's state with it."""
    run = output / "adam_2x2"
    saved = several.arrays(run, STEPS)
    for devices in (1, 4):
        command = [sys.executable, "-c", PRINT_STATE_DIGESTS, str(run)]
        variables = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        answer = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
        if answer.returncode:
            raise UserError(f"{run}: cannot be resumed ({answer.stderr.strip().splitlines()[-1]})", 1)
        figures = f"{len(saved)} arrays compared on {devices} device(s)"
        yield Finding(f"2x2 resumed by 1x{devices}", figures, answer.stdout.split() == [digest(saved)] * devices)


def digest(arrays: Iterable[np.ndarray]) -> str:
    """Returns a digest that does not depend on the arrays' order: a checkpoint sorts them by name, a state by field."""
    digests = sorted(hashlib.sha256(np.asarray(array).tobytes()).digest() for array in arrays)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def check_stopped_run(output: Path) -> Iterator[Finding]:
    """Sends SIGTERM to one of two processes and checks the saved step and both exit codes."""
    run = output / "stopped"
    started = several.start(run, [*SETTINGS, _steps(100_000)], 2)
    several.wait_for_checkpoint(run, started, later_than=0)
    started[1].send_signal(signal.SIGTERM)
    codes, saved = several.end(started, 60), several.latest(run)
    logged = re.findall(r"stopped at step (\d+)", Path(f"{run}.0.log").read_text())
    figures = f"process 0 stopped at {' '.join(logged)}, saved {saved}; exit codes {codes}"
    yield Finding("SIGTERM to one of two", figures, logged == [str(saved)] and codes == [143, 143])


def define_flags() -> None:
    flags.DEFINE_string("output", None, "new folder for all runs and their logs")


if __name__ == "__main__":
    run_command(main, define_flags, required=["output"])
