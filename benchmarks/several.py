"""Multi-process runs on this machine's CPU: starting them, waiting for them, and reading their checkpoints."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipmedgan_jax.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np

SMALL = (
    *("--config=configs/demo.py", "--config.data.image_size=32", "--config.holes.size=16", "--config.generator.width=4"),
    *("--config.discriminator.width=4", "--config.discriminator.layers=2", "--config.loss.style=0.0"),
    *("--config.loss.perceptual_layers=(1.0,1.0,1.0,1.0)", "--config.vgg19.weights=random", "--config.train.ema=0.0"),
    "--config.train.validate_every=1000",
)
"""Flags of a small ip-MedGAN on the built-in phantom, with steps of milliseconds."""


def new_folder(name: str) -> Path:
    """Returns a folder's path; UserError if it is not empty, because a finished run there would give old figures."""
    folder = Path(name).expanduser()
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"--output={folder}: not empty; name a new folder")
    return folder


@dataclass(frozen=True)
class Hosts:
    """Where processes are started: the address of process 0, and the words before each process's command."""

    address: str
    before: tuple[tuple[str, ...], ...] = ()


LOOPBACK = Hosts("127.0.0.1")


def start(
    workdir: Path, settings: Iterable[str], processes: int, devices: int = 1, *, hosts: Hosts = LOOPBACK
) -> list[subprocess.Popen[bytes]]:
    """Starts the processes of one run, each with `devices` devices; their output goes to `WORKDIR.PROCESS.log`."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    workdir.parent.mkdir(parents=True, exist_ok=True)
    xla_flags = os.environ.get("XLA_FLAGS", "") + f" --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla_flags}
    started = []
    for i in range(processes):
        place = [f"--coordinator={hosts.address}:{port}", f"--processes={processes}", f"--process_id={i}"]
        command = [
            *(hosts.before[i] if hosts.before else ()),
            sys.executable,
            "-m",
            "ipmedgan_jax.main",
            *settings,
            f"--workdir={workdir}",
            *place,
        ]
        with Path(f"{workdir}.{i}.log").open("ab") as log:
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
    return started


def wait_for_checkpoint(workdir: Path, started: list[subprocess.Popen[bytes]], later_than: int) -> None:
    """Waits for a checkpoint of a later step, or the end of a process."""
    while latest(workdir) == later_than and all(process.poll() is None for process in started):
        time.sleep(0.2)


def end(started: list[subprocess.Popen[bytes]], timeout: float | None = None) -> list[int]:
    """Waits for all processes and returns their exit codes; UserError if they do not all end within `timeout` seconds."""
    deadline = time.monotonic() + timeout if timeout is not None else None
    try:
        return [process.wait(None if deadline is None else max(0.0, deadline - time.monotonic())) for process in started]
    except subprocess.TimeoutExpired as error:
        for process in started:
            process.kill()
        raise UserError(f"a process outlived the first by {timeout:.0f} s", 1) from error


def run(workdir: Path, settings: Iterable[str], processes: int, devices: int = 1, *, hosts: Hosts = LOOPBACK) -> None:
    """Runs all processes to their end; UserError if an exit code is not 0."""
    codes = end(start(workdir, settings, processes, devices, hosts=hosts))
    if any(codes):
        raise UserError(f"{workdir}: exit codes {codes}, see {workdir}.0.log", 1)


NAMES, ADDRESSES = ("ipmedgan-0", "ipmedgan-1"), ("10.213.0.1", "10.213.0.2")
"""Names and addresses of two network namespaces; the ends of the link between them have the same names."""


@contextlib.contextmanager
def two_hosts() -> Iterator[Hosts]:
    """Makes two network namespaces joined by one link, and removes them on exit; UserError without the permission for it."""
    with contextlib.ExitStack() as stack:
        for name, address in zip(NAMES, ADDRESSES, strict=True):
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "delete", name)
            hosts = Path("/etc/netns") / name / "hosts"  # replaces /etc/hosts in the namespace
            hosts.parent.mkdir(parents=True)
            stack.callback(shutil.rmtree, hosts.parent)
            hosts.write_text(f"127.0.0.1 localhost\n{address} {socket.gethostname()}\n")
        _ip("link", "add", NAMES[0], "netns", NAMES[0], "type", "veth", "peer", NAMES[1], "netns", NAMES[1])
        for name, address in zip(NAMES, ADDRESSES, strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", name)
            for link in ("lo", name):
                _ip("-n", name, "link", "set", link, "up")
        yield Hosts(ADDRESSES[0], tuple(("ip", "netns", "exec", name) for name in NAMES))


def set_link(*, up: bool) -> None:
    """Opens or closes the link between the namespaces of `two_hosts`."""
    _ip("-n", NAMES[1], "link", "set", NAMES[1], "up" if up else "down")


def _ip(*arguments: str) -> None:
    answer = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise UserError(f"ip {' '.join(arguments)}: {answer.stderr.strip()}")


def latest(workdir: Path) -> int:
    """Returns the step of the last checkpoint, or 0 if there is none."""
    return max((int(folder.name) for folder in (workdir / "checkpoints").glob("*") if folder.name.isdigit()), default=0)


def arrays(workdir: Path, step: int, part: str = "") -> "list[np.ndarray]":
    """Returns the arrays of a checkpoint whose names contain `part`, in order, on the host; keys as their data."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp
    from etils import epath

    folder = epath.Path((workdir / "checkpoints" / str(step) / "state").absolute())
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
        saved = handler.metadata(folder).tree
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), saved)
        arguments = ocp.args.PyTreeRestore(item=like, restore_args=ocp.checkpoint_utils.construct_restore_args(like))
        state = handler.restore(folder, args=arguments)
    return [np.asarray(numbers(x)) for path, x in jax.tree.leaves_with_path(state) if part in jax.tree_util.keystr(path)]


def numbers(array: Any) -> Any:
    """Returns the array itself or, for random keys, their data."""
    import jax

    return jax.random.key_data(array) if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key) else array
