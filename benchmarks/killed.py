"""Kills one of several processes of a run at random moments, begins it again, and holds its end against an undisturbed run.

  python -m benchmarks.killed --processes=3 --kills=20 --output=/tmp/killed

Two runs of one small config on the built-in phantom: one undisturbed; of the other one process is killed (SIGKILL) at a
random moment after each life's first checkpoint, and all are begun again, until it is finished. All arrays of the last
checkpoints must be equal to the bit. Exit code 1 where they are not, or where others outlive a killed process for too long.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from absl import flags, logging

from ipmedgan_jax import entry
from ipmedgan_jax.errors import UserError

SMALL = (
    *("--config=configs/demo.py", "--config.data.image_size=32", "--config.holes.size=16", "--config.generator.width=4"),
    *("--config.discriminator.width=4", "--config.discriminator.layers=2", "--config.loss.style=0.0"),
    *("--config.loss.perceptual_layers=(1.0,1.0,1.0,1.0)", "--config.vgg19.weights=random", "--config.train.ema=0.0"),
    *("--config.train.validate_every=1000", "--config.train.checkpoint_every=20", "--config.train.log_every=20"),
)

LONGEST_S = 90
"""How long the others may outlive a killed process."""


def main() -> None:
    given = flags.FLAGS
    output = Path(given.output)
    settings = [*SMALL, f"--config.train.batch_size={given.processes}", f"--config.train.steps={given.steps}"]
    undisturbed, disturbed = output / "undisturbed", output / "disturbed"
    if _ended(_start(undisturbed, settings, given.processes), None) != 0:
        raise UserError(f"{undisturbed}: did not end well, see {undisturbed}.0.log")
    moments = random.Random(given.seed)
    slowest = 0.0
    for kill in range(given.kills):
        started = _start(disturbed, settings, given.processes)
        latest = _latest(disturbed)
        while _latest(disturbed) == latest and all(each.poll() is None for each in started):
            time.sleep(0.2)  # at least one checkpoint a life: else it would not come to an end
        time.sleep(moments.uniform(0, given.longest))
        victim = moments.choice(started)
        if victim.poll() is not None:
            _ended(started, None)
            logging.info("ended before it could be killed for the %d. time", kill + 1)
            break
        victim.send_signal(signal.SIGKILL)
        start = time.monotonic()
        code = _ended(started, LONGEST_S)
        slowest = max(slowest, time.monotonic() - start)
        logging.info("kill %d: process %d; exit code %d; step %d", kill + 1, started.index(victim), code, _latest(disturbed))
    if _latest(disturbed) < given.steps and _ended(_start(disturbed, settings, given.processes), None) != 0:
        raise UserError(f"{disturbed}: did not end well, see {disturbed}.0.log", 1)
    ends = [_arrays(folder / "checkpoints" / str(_latest(folder)) / "state") for folder in (undisturbed, disturbed)]
    equal = sum(a == b for a, b in zip(*ends, strict=True))
    print(f"{equal} of {len(ends[0])} arrays equal to the bit after {given.kills} kills; others ended within {slowest:.0f} s")
    if equal < len(ends[0]):
        raise UserError("the runs differ", 1)


def _start(workdir: Path, settings: list[str], count: int) -> list[subprocess.Popen[bytes]]:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    workdir.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    started = []
    for i in range(count):
        place = [f"--coordinator=127.0.0.1:{port}", f"--processes={count}", f"--process_id={i}"]
        command = [sys.executable, "-m", "ipmedgan_jax.main", *settings, f"--workdir={workdir}", *place]
        with Path(f"{workdir}.{i}.log").open("ab") as log:
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
    return started


def _ended(started: list[subprocess.Popen[bytes]], timeout: float | None) -> int:
    """Waits for all; the highest exit code. UserError where they do not end in time."""
    try:
        return max(abs(each.wait(timeout)) for each in started)
    except subprocess.TimeoutExpired as error:
        for each in started:
            each.kill()
        raise UserError(f"a process outlived the killed one by {timeout:.0f} s", 1) from error


def _arrays(checkpoint: Path) -> list[bytes]:
    """Every array's bytes, in order."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        saved = checkpointer.metadata(checkpoint.absolute()).item_metadata.tree
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), saved)
        arguments = ocp.args.PyTreeRestore(item=like, restore_args=ocp.checkpoint_utils.construct_restore_args(like))
        leaves = jax.tree.leaves(checkpointer.restore(checkpoint.absolute(), args=arguments))
    keys = jax.dtypes.prng_key
    return [np.asarray(jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, keys) else x).tobytes() for x in leaves]


def _latest(workdir: Path) -> int:
    return max((int(each.name) for each in (workdir / "checkpoints").glob("*") if each.name.isdigit()), default=0)


def define_flags() -> None:
    flags.DEFINE_integer("processes", 3, "of the run")
    flags.DEFINE_integer("kills", 20, "how often one is killed")
    flags.DEFINE_integer("steps", 600, "of the run")
    flags.DEFINE_float("longest", 8.0, "seconds after a life's first checkpoint within which it is killed")
    flags.DEFINE_integer("seed", 0, "of the moments")
    flags.DEFINE_string("output", None, "a folder for both runs and their logs")


if __name__ == "__main__":
    entry.run(main, define_flags, required=["output"])
