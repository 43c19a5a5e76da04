"""Runs of several processes on this machine's CPU, for what is shown of them: begun, waited for, and what they left."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipmedgan_jax.errors import UserError

if TYPE_CHECKING:
    import numpy as np

SMALL = (
    *("--config=configs/demo.py", "--config.data.image_size=32", "--config.holes.size=16", "--config.generator.width=4"),
    *("--config.discriminator.width=4", "--config.discriminator.layers=2", "--config.loss.style=0.0"),
    *("--config.loss.perceptual_layers=(1.0,1.0,1.0,1.0)", "--config.vgg19.weights=random", "--config.train.ema=0.0"),
    "--config.train.validate_every=1000",
)
"""An ip-MedGAN on the built-in phantom whose steps take milliseconds."""


def start(workdir: Path, settings: Iterable[str], processes: int, devices: int = 1) -> list[subprocess.Popen[bytes]]:
    """The processes of one run, each with so many devices; they speak over loopback. What they say: `WORKDIR.PROCESS.log`."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    workdir.parent.mkdir(parents=True, exist_ok=True)
    several = os.environ.get("XLA_FLAGS", "") + f" --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": several}
    started = []
    for i in range(processes):
        place = [f"--coordinator=127.0.0.1:{port}", f"--processes={processes}", f"--process_id={i}"]
        command = [sys.executable, "-m", "ipmedgan_jax.main", *settings, f"--workdir={workdir}", *place]
        with Path(f"{workdir}.{i}.log").open("ab") as log:
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
    return started


def end(started: list[subprocess.Popen[bytes]], timeout: float | None = None) -> list[int]:
    """Waits for all; their exit codes. UserError where they do not end in time."""
    try:
        return [each.wait(timeout) for each in started]
    except subprocess.TimeoutExpired as error:
        for each in started:
            each.kill()
        raise UserError(f"a process outlived the first by {timeout:.0f} s", 1) from error


def run(workdir: Path, settings: Iterable[str], processes: int, devices: int = 1) -> None:
    """A run to its end. UserError where a process does not end well."""
    codes = end(start(workdir, settings, processes, devices))
    if any(codes):
        raise UserError(f"{workdir}: exit codes {codes}, see {workdir}.0.log", 1)


def latest(workdir: Path) -> int:
    """The last checkpoint's step; 0 for none."""
    return max((int(each.name) for each in (workdir / "checkpoints").glob("*") if each.name.isdigit()), default=0)


def arrays(workdir: Path, step: int, part: str = "") -> "list[np.ndarray]":
    """Every array of a checkpoint whose name has `part` in it, in order, on the host; random keys as their numbers."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    folder = (workdir / "checkpoints" / str(step) / "state").absolute()
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        saved = checkpointer.metadata(folder).item_metadata.tree
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), saved)
        arguments = ocp.args.PyTreeRestore(item=like, restore_args=ocp.checkpoint_utils.construct_restore_args(like))
        state = checkpointer.restore(folder, args=arguments)
    return [np.asarray(numbers(x)) for path, x in jax.tree.leaves_with_path(state) if part in jax.tree_util.keystr(path)]


def numbers(array: Any) -> Any:
    """The array; a random key's numbers."""
    import jax

    return jax.random.key_data(array) if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key) else array
