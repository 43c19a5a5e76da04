"""Damage that one process of several sees, and the others do not: all must use one step, or end with one line.

Each case starts the processes of a run. One of them reads the newest checkpoint from a damaged copy, as through a file server
with a bad cache. The processes resume, and save a further checkpoint.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.soak import checkpoints
from benchmarks.soak.tally import Plan, Tally

SECONDS = 200
"""Time limit of a case; a process that hangs for longer is killed, and the case is silent."""

PROGRAM = """
import json, sys
from pathlib import Path
from absl import flags
from ipmedgan_jax.core import ranks
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.distributed import processes
from ipmedgan_jax.experiment import checkpoint_folder
from ipmedgan_jax.experiment.checkpoints import Checkpoints
from ipmedgan_jax.training import devices

ranks.define_flags()
flags.FLAGS(sys.argv[:4])
processes.start({})
import jax
from benchmarks.soak import checkpoints as faults

folder, copies, seeing = Path(sys.argv[4]), Path(sys.argv[5]), int(sys.argv[6])
if jax.process_index() == seeing:
    init = checkpoint_folder.StepFolder.__init__

    def from_copy(self, path, readable=None):
        copy = copies / path.name
        init(self, copy if copy.exists() else path, None if copy.exists() else readable)

    checkpoint_folder.StepFolder.__init__ = from_copy
like = devices.replicated_like(faults.shapes(faults.inference()))
try:
    with Checkpoints(folder, keep=3, best="psnr") as checkpoints:
        step, state, input_state = checkpoints.restore_newest(like)
        checkpoints.save(99, devices.as_one(state), input_state, None)
    print(json.dumps({"step": step, "same": faults.same_bits(state, faults.state(like, step)), "input": input_state}))
except UserError as error:
    print(json.dumps({"error": str(error), "code": error.exit_code}))
"""


def run(plan: Plan) -> Tally:
    """Alternates between two and three processes, between the first and another process, and between one and all damaged."""
    tally = Tally()
    rng = np.random.default_rng(plan.seed)
    saved = checkpoints.Run(plan.folder / "run")
    for i in range(plan.count):
        count = 2 + i % 2
        seeing = (i + 1) % count
        steps = checkpoints.STEPS if i % 4 == 3 else checkpoints.STEPS[-1:]
        case = plan.folder / f"case{i}"
        folder = shutil.copytree(saved.folder, case / "checkpoints")
        for step in steps:
            copied = shutil.copytree(folder / str(step), case / "copies" / str(step))
            _damage(copied, rng)
        ended = _processes(count, folder, case / "copies", seeing)
        what = f"case {i}: {count} processes, number {seeing} sees {', '.join(map(str, steps))} damaged"
        _judge(tally, what, ended, folder, all_damaged=steps is checkpoints.STEPS)
        shutil.rmtree(case)
    return tally


def _damage(step_folder: Path, rng: np.random.Generator) -> None:
    """Flips a bit of a value, or deletes an item."""
    if rng.integers(2):
        shutil.rmtree(step_folder / str(rng.choice(["state", "input", "digests"])))
        return
    path = max((step_folder / "state").rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _judge(tally: Tally, what: str, ended: list[Any], folder: Path, *, all_damaged: bool) -> None:
    if not all(ended) or any(other != ended[0] for other in ended):
        tally.silent.append(f"{what}: {ended}")
    elif all_damaged and "no checkpoint of this run is whole" in ended[0].get("error", ""):
        tally.noticed += 1
    elif not all_damaged and ended[0] == {"step": 20, "same": True, "input": {"next_index": 20}} and (folder / "99").is_dir():
        tally.fell_back += 1
    else:
        tally.silent.append(f"{what}: {ended[0]}")


def _processes(count: int, folder: Path, copies: Path, seeing: int) -> list[Any]:
    """Runs the processes and returns what each printed; None for one that failed or hung."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    started = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", PROGRAM, f"--coordinator=127.0.0.1:{port}", f"--processes={count}"),
                *(f"--process_id={i}", str(folder), str(copies), str(seeing)),
            ],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(count)
    ]
    found = []
    for process in started:
        try:
            output, errors = process.communicate(timeout=SECONDS)
            found.append(json.loads(output.splitlines()[-1]) if process.returncode == 0 and output else errors[-300:])
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            found.append(None)
    return found
