"""Single faults in the newest checkpoint of a small run, met by training and by the commands that fill.

The run keeps three checkpoints. Training must use a whole one, with its bits, and lose no file; a command that fills must
refuse, or give the bits that were saved, and change nothing.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging import WARNING, Handler, LogRecord
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging

from benchmarks.soak import file_faults
from benchmarks.soak.tally import Plan, Tally
from ipmedgan_jax.configs import demo
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.experiment import run_folder
from ipmedgan_jax.experiment.build import Inference, build_inference
from ipmedgan_jax.experiment.checkpoint_folder import DAMAGED
from ipmedgan_jax.experiment.checkpoints import Checkpoints
from ipmedgan_jax.systems.state import NetState, TrainState

IMAGE_SIZE = 32
STEPS = (10, 20, 30)
NEWEST = STEPS[-1]

Fault = Callable[[Path, np.random.Generator], str]


def run(plan: Plan) -> Tally:
    """Injects faults into copies of one run's checkpoints. Each is counted once, by the worse of its two outcomes."""
    tally, runs = Tally(), Run(plan.folder / "run")
    rng = np.random.default_rng(plan.seed)
    for i in range(plan.count):
        names = sorted(FAULTS)
        name = names[i % len(names)]
        folder = shutil.copytree(runs.folder, plan.folder / "faulty" / "checkpoints")
        what = f"{name}: {FAULTS[name](folder, rng)}"
        filled, trained = _outcome(runs.fill, folder), _outcome(runs.train, folder)
        for way, outcome in (("filling", filled), ("training", trained)):
            if outcome.startswith("silent"):
                tally.silent.append(f"fault {i}, {what}: {way} {outcome}")
                break
        else:
            if trained == "fell back":
                tally.fell_back += 1
            elif "noticed" in (filled, trained):
                tally.noticed += 1
            else:
                tally.harmless += 1
        shutil.rmtree(folder.parent)
    return tally


def _outcome(way: Callable[[Path], str], folder: Path) -> str:
    """Returns what a way of reading the checkpoints reports; an exception of another type than UserError is silent."""
    try:
        return way(folder)
    except Exception as error:  # any: it is what the soak looks for
        return f"silent: {type(error).__name__}: {str(error)[:200]}"


class Run:
    """A run with three checkpoints, of which the newest is the best, and the arrays that were saved in each."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._inference = inference()
        self._shapes = shapes(self._inference)
        with Checkpoints(folder, keep=len(STEPS), best="psnr") as checkpoints:
            for step in STEPS:
                checkpoints.save(step, self._state(step), {"next_index": step}, {"psnr": float(step)})

    def _state(self, step: int) -> TrainState:
        return state(self._shapes, step)

    def train(self, folder: Path) -> str:
        """Restores as training does."""
        before = _files(folder)
        with _warnings() as warnings, Checkpoints(folder, keep=len(STEPS), best="psnr") as checkpoints:
            try:
                restored = checkpoints.restore_newest(self._shapes)
            except UserError as error:
                return f"silent: refused, although older checkpoints are whole ({error})"
            best, left = checkpoints.best_step(), checkpoints.steps()
        if restored is None:
            return "silent: no checkpoint was found"
        step, found, input_state = restored
        if not same_bits(found, self._state(step)) or input_state != {"next_index": step}:
            return f"silent: other values of step {step}"
        if sorted(before.values()) != sorted(_files(folder).values()):
            return "silent: files were lost"
        if best != max(left):
            return f"silent: the best step is {best} of {left}"
        if step < NEWEST:
            return "fell back" if (folder / DAMAGED / str(NEWEST)).is_dir() and warnings else "silent: fell back unsaid"
        return "noticed" if warnings else "harmless"

    def fill(self, folder: Path) -> str:
        """Restores the generator of the best checkpoint as `inpaint` and `evaluate` do."""
        before = _files(folder)
        system, steps = self._inference.system, []
        with _warnings() as warnings, Checkpoints(folder, keep=len(STEPS), best="psnr", create=False) as checkpoints:
            try:
                steps.append(run_folder.chosen_step(checkpoints, "best"))
                params, statistics = run_folder.restore_generator(
                    system, IMAGE_SIZE, uses_ema=False, checkpoints=checkpoints, step=steps[0]
                )
            except UserError as error:
                if before != _files(folder):
                    return "silent: files were changed"
                return "noticed" if "--checkpoint=" in str(error) else f"silent: {error}"
        if before != _files(folder):
            return "silent: files were changed"
        generator = self._state(NEWEST).generator
        if steps != [NEWEST] or not same_bits((params, statistics), (generator.params, generator.statistics)):
            return f"silent: other values of step {steps[0]}"
        return "noticed" if warnings else "harmless"


def inference() -> Inference:
    """Builds what filling with a small U-Net needs."""
    config = demo.get_config("unet")
    config.data.image_size, config.holes.size, config.generator.width = IMAGE_SIZE, 16, 4
    return build_inference(config)


def shapes(run: Inference) -> TrainState:
    """Returns the shapes of a training state of the system, with Adam's moments; computes nothing."""

    def blank() -> TrainState:
        net_shapes = run_folder.generator_shapes(run.system, IMAGE_SIZE)
        params, statistics = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), net_shapes)
        net = NetState(params, statistics, optax.adam(1e-3).init(params))
        return TrainState(jnp.int32(0), jax.random.key(0), net, {}, None)

    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), jax.eval_shape(blank))


def state(like: TrainState, step: int) -> TrainState:
    """Returns the state of a step: random values of the right shapes, the same at each call."""
    rng = np.random.default_rng(step)

    def values(leaf: Any) -> jax.Array:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.key(step)
        return jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype)

    return jax.tree.map(values, like)


def same_bits(found: Any, saved: Any) -> bool:
    """Whether two trees have the same types, shapes and bytes."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(saved), strict=True)
    return all(_bits(a) == _bits(b) for a, b in pairs)


def _bits(leaf: Any) -> tuple[Any, ...]:
    array = np.asarray(jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)
    return array.dtype, array.shape, array.tobytes()


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Yields a list that receives the package's warnings."""
    found: list[str] = []

    class Watch(Handler):
        def emit(self, record: LogRecord) -> None:
            if "ipmedgan_jax" in record.pathname:
                found.append(record.getMessage())

    watch = Watch(WARNING)
    logging.get_absl_logger().addHandler(watch)
    try:
        yield found
    finally:
        logging.get_absl_logger().removeHandler(watch)


# ------------------------------------------------------------------ faults


@dataclass(frozen=True)
class _Choice:
    """Which files of the newest checkpoint a fault may strike."""

    values: bool = False
    text: bool = False

    def __call__(self, folder: Path, rng: np.random.Generator) -> Path:
        """Draws a file that is not empty; of the files with values, each byte is as likely as another."""
        files = sorted(path for path in (folder / str(NEWEST)).rglob("*") if path.is_file() and path.stat().st_size)
        if self.values:
            files = [path for path in files if path.parent.name == "d"]
            sizes = np.array([path.stat().st_size for path in files])
            return files[rng.choice(len(files), p=sizes / sizes.sum())]
        if self.text:
            files = [path for path in files if path.parent.name != "d" and path.suffix != ".ocdbt"]
        return files[rng.integers(len(files))]


def _struck(choice: _Choice, of_a_file: Fault) -> Fault:
    """Returns a fault of one file that `choice` draws."""

    def fault(folder: Path, rng: np.random.Generator) -> str:
        path = choice(folder, rng)
        return f"{of_a_file(path, rng)}, {path.relative_to(folder)}"

    return fault


def _write(change: Callable[[bytes, np.random.Generator], bytes]) -> Fault:
    def fault(folder: Path, rng: np.random.Generator) -> str:
        path = _Choice()(folder, rng)
        path.write_bytes(change(path.read_bytes(), rng))
        return str(path.relative_to(folder))

    return fault


def _delete_folder(folder: Path, rng: np.random.Generator) -> str:
    folders = sorted(path for path in (folder / str(NEWEST)).rglob("*") if path.is_dir())
    path = folders[rng.integers(len(folders))]
    shutil.rmtree(path)
    return str(path.relative_to(folder))


def _swap(folder: Path, rng: np.random.Generator) -> str:
    """Exchanges the contents of two files: of one name in two checkpoints, or of two files with values."""
    path = _Choice()(folder, rng)
    other = folder / str(STEPS[-2]) / path.relative_to(folder / str(NEWEST))
    if not other.exists():
        values = sorted(other.parent.iterdir()) if other.parent.is_dir() else [path]
        other = values[rng.integers(len(values))]
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)
    return f"{path.relative_to(folder)} and {other.relative_to(folder)}"


def _swap_items(folder: Path, rng: np.random.Generator) -> str:
    """Exchanges a whole item between two checkpoints."""
    items = sorted(path.name for path in (folder / str(NEWEST)).iterdir() if path.is_dir())
    item = items[rng.integers(len(items))]
    mine, theirs, between = folder / str(NEWEST) / item, folder / str(STEPS[-2]) / item, folder / "between"
    mine.rename(between)
    theirs.rename(mine)
    between.rename(theirs)
    return item


FAULTS: dict[str, Fault] = {
    "a bit of the values": _struck(_Choice(values=True), file_faults.flip_bit),
    "another bit of the values": _struck(_Choice(values=True), file_faults.flip_bit),
    "a bit of the text": _struck(_Choice(text=True), file_faults.flip_bit),
    "a bit of any file": _struck(_Choice(), file_faults.flip_bit),
    "cut short": _struck(_Choice(), file_faults.cut),
    "emptied": _write(lambda content, rng: b""),
    "garbage at the end": _struck(_Choice(), file_faults.append),
    "zeros in the middle": _write(
        lambda content, rng: content[: len(content) // 2] + bytes(len(content) - len(content) // 2)
    ),
    "deleted": _struck(_Choice(), file_faults.delete),
    "a folder deleted": _delete_folder,
    "renamed": _struck(_Choice(), file_faults.rename),
    "swapped files": _swap,
    "swapped items": _swap_items,
}
"""Faults by name; each changes the checkpoints in a folder, and returns what it struck."""
