"""Times saving and restoring a checkpoint at full size, with and without digests and syncing, in turn.

  python -m benchmarks.checkpoints --config=configs/ct.py --output=DIR --rounds=2

The state has the config's shapes, with Adam's moments, and random values; nothing is trained. Each round saves three times
and restores twice; their order changes from round to round. Printed are the median seconds:

  save       from the call until the checkpoint counts as saved; `blocking` until the call returns and training continues
  restore    until the arrays are in place, from files in the page cache, where digests weigh most
  cold       the same from files that are not in the page cache, as after a restart of the machine
  digests    the computation of the digests alone, as a share of a save and of a restore

Saves and restores vary by more than the digests cost; the last line does not.
"""

import contextlib
import os
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from absl import flags
from ml_collections import ConfigDict

from benchmarks.several import new_folder
from ipmedgan_jax.core import files, runtime
from ipmedgan_jax.core.command import run_command
from ipmedgan_jax.experiment import config_flag

PLAIN, DIGESTS, BOTH = "neither", "digests", "digests and syncing"

Times = dict[str, list[float]]


def main() -> None:
    runtime.set_up()
    output = new_folder(flags.FLAGS.output)
    config = flags.FLAGS.config.unlock()
    config.vgg19.weights = "random"
    try:
        for line in measure(config.lock(), output, flags.FLAGS.rounds):
            print(line, flush=True)
    finally:
        shutil.rmtree(output, ignore_errors=True)


def measure(config: ConfigDict, output: Path, rounds: int) -> Iterator[str]:
    """Yields the lines of figures; writes checkpoints to the folder."""
    import jax

    from ipmedgan_jax.experiment import checkpoint_digests

    state = random_state(config)
    leaves = jax.tree.leaves(state)
    size = sum(leaf.nbytes for leaf in leaves) / 2**30
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.generator.params))
    yield f"state       {parameters:,} parameters of the generator; {len(leaves)} arrays, {size:.2f} GiB"
    times: Times = defaultdict(list)
    step = 0
    for i in range(rounds):
        for way in (BOTH, PLAIN, DIGESTS) if i % 2 else (PLAIN, DIGESTS, BOTH):  # the last one has digests to compare
            step += 1
            save(output / "checkpoints", step, state, way, times)
            _timed(times, "digests alone", lambda: checkpoint_digests.of_leaves(state))
        for kind in ("restore", "cold"):
            for way in (DIGESTS, PLAIN) if i % 2 else (PLAIN, DIGESTS):
                restore(output / "checkpoints", step, state, kind, way, times)
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, found in times.items():
        kind = name.split(", ")[0]
        ratio = medians[name] / medians.get(f"{kind}, {PLAIN}", medians[name])
        spread = " ".join(f"{seconds:.2f}" for seconds in found)
        yield f"{name:32} {medians[name]:8.2f} s  ratio {ratio:.3f}  ({spread})"
    alone = medians["digests alone"]
    shares = ", ".join(f"{100 * alone / medians[f'{kind}, {PLAIN}']:.1f} % of {kind}" for kind in ("save", "restore", "cold"))
    yield f"digests     {alone:.2f} s, {size / alone:.1f} GiB/s: {shares}"


def random_state(config: ConfigDict) -> Any:
    """Returns a training state of the config's shapes with normal values, which hardly compress, like those of training."""
    from functools import partial

    import jax
    import numpy as np

    from ipmedgan_jax.experiment import build, phases
    from ipmedgan_jax.systems.state import init_state
    from ipmedgan_jax.training import devices

    update = phases.make_update(config, build.make_system(config, build.feature_network(config).net))
    shapes = jax.eval_shape(partial(init_state, update, image_size=config.data.image_size), jax.random.key(0))
    rng = np.random.default_rng(0)

    def values(leaf: Any) -> Any:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return devices.replicate(jax.random.key(0))
        return devices.replicate(rng.standard_normal(leaf.shape, np.float32).astype(leaf.dtype, copy=False))

    return jax.tree.map(values, shapes)


def save(folder: Path, step: int, state: Any, way: str, times: Times) -> None:
    """Saves the state once; the checkpoint before is deleted by it."""
    from ipmedgan_jax.experiment.checkpoints import Checkpoints

    with _only(way), mock.patch.object(Checkpoints, "_read_back"):
        with Checkpoints(folder, keep=1, best="psnr") as checkpoints:
            start = time.perf_counter()
            with mock.patch.object(checkpoints._manager, "wait_until_finished"):
                checkpoints.save(step, state, {"next_index": step}, None)
            times[f"blocking, {way}"].append(time.perf_counter() - start)
            checkpoints._manager.wait_until_finished()
            times[f"save, {way}"].append(time.perf_counter() - start)


def restore(folder: Path, step: int, state: Any, kind: str, way: str, times: Times) -> None:
    """Restores the checkpoint once, with or without comparing digests; `cold` from the disk."""
    from ipmedgan_jax.experiment import checkpoint_folder
    from ipmedgan_jax.experiment.checkpoints import Checkpoints
    from ipmedgan_jax.training import devices

    if kind == "cold":
        for path in filter(Path.is_file, folder.rglob("*")):
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    unchecked = mock.patch.object(checkpoint_folder.StepFolder, "record", return_value=None)
    with unchecked if way == PLAIN else contextlib.nullcontext():
        with Checkpoints(folder, keep=1, best="psnr", create=False) as checkpoints:
            like = devices.replicated_like(state)
            _timed(times, f"{kind}, {way}", lambda: checkpoints.restore(step, like))


@contextlib.contextmanager
def _only(way: str) -> Iterator[None]:
    """Leaves out the digests, or the syncing that TensorStore does not do by itself."""
    from ipmedgan_jax.experiment import checkpoint_digests

    with contextlib.ExitStack() as stack:
        if way == PLAIN:
            stack.enter_context(mock.patch.object(checkpoint_digests, "of_leaves", return_value={}))
        if way != BOTH:
            stack.enter_context(mock.patch.object(files, "sync"))
        yield


def _timed(times: Times, name: str, work: Callable[[], Any]) -> None:
    import jax

    start = time.perf_counter()
    jax.block_until_ready(work())
    times[name].append(time.perf_counter() - start)


def define_flags() -> None:
    config_flag.define("the settings, whose networks are saved")
    flags.DEFINE_string("output", None, "new folder for the checkpoints, on the disk to measure; removed at the end")
    flags.DEFINE_integer("rounds", 2, "rounds of saves and restores", lower_bound=1)


if __name__ == "__main__":
    run_command(main, define_flags, required=["config", "output"])
