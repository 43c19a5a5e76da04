"""Work on all devices at once: `jax.pmap` with one replicated state, batches cut over the devices.

Where there are several processes each maps its own local devices, and the means over `DATA_AXIS` are over all. The state is
replicated in each process; for what deals with all processes' arrays (checkpoints) it is shown as one.

Nothing else knows of the mapping. The state has no leading device axis; batches get one, `[devices, steps, B / devices, ..]`.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.networks.layers import DATA_AXIS

Tree = Any


def map_over_devices(step: Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]) -> Any:
    """`step(state, frozen, batch) -> (state, metrics)` on every device; the state passed in is given up.

    What is returned is called like `step`, or, by a process that is alone, lowered and compiled ahead.
    """
    return jax.pmap(step, axis_name=DATA_AXIS, in_axes=(None, None, 0), out_axes=None, donate_argnums=0)


def replicate(tree: Tree) -> Tree:
    """A copy of the arrays on every local device, once, so that no step has to move them."""
    return jax.device_put(tree, _everywhere())


def replicated_like(shapes: Tree) -> Tree:
    """The shapes and types of arrays, with the places that `replicate` gives them."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=_everywhere()), shapes)


def _everywhere() -> jax.sharding.NamedSharding:
    mesh = jax.sharding.Mesh(jax.local_devices(), (DATA_AXIS,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def as_one(tree: Tree) -> Tree:
    """A state that is replicated in each process as arrays of all processes together; nothing is copied."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    return multihost_utils.host_local_array_to_global_array(tree, _all_devices(), jax.sharding.PartitionSpec())


def as_one_like(shapes: Tree) -> Tree:
    """The shapes and types of arrays, with the places that `as_one` gives them."""
    mesh = _all_devices() if jax.process_count() > 1 else _everywhere().mesh
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)


def own(tree: Tree) -> Tree:
    """This process's replicas of what `as_one` shows; nothing is copied."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    return multihost_utils.global_array_to_host_local_array(tree, _all_devices(), jax.sharding.PartitionSpec())


def _all_devices() -> jax.sharding.Mesh:
    return jax.sharding.Mesh(jax.devices(), (DATA_AXIS,))


class DelayedMax:
    """The highest number of any process at a step, known to all at the next step, without waiting for a device."""

    def __init__(self) -> None:
        self._highest = jax.pmap(lambda x: jax.lax.pmax(x, DATA_AXIS), axis_name=DATA_AXIS, out_axes=None)
        self._pending: Any = None

    def update(self, number: int) -> int:
        """Called by all processes at the same steps; returns the same in all of them, to a process that is alone at once."""
        if jax.process_count() == 1:
            return number
        before, self._pending = self._pending, self._highest(np.full(jax.local_device_count(), number, np.int32))
        return 0 if before is None else int(before)


def split_over_devices(batch: Tree, steps: int = 1) -> Tree:
    """`[steps * B, ...] -> [devices, steps, B / devices, ...]` for every array, on the host; the first B come first."""
    devices = jax.local_device_count()
    return jax.tree.map(lambda x: x.reshape(steps, devices, -1, *x.shape[1:]).swapaxes(0, 1), batch)


def check_batch_size(batch_size: int, accumulate: int) -> None:
    """Raises UserError unless the batch divides into equal parts over devices and micro-batches."""
    parts = jax.device_count() * accumulate
    if batch_size < 1 or accumulate < 1 or batch_size % parts:
        below, above = batch_size // parts * parts, (batch_size // parts + 1) * parts
        nearest = f"{below} or {above}" if below else str(above)
        raise UserError(
            f"train.batch_size {batch_size} does not divide over {jax.device_count()} device(s) times train.accumulate "
            f"{accumulate}: nearest sizes {nearest}"
        )
