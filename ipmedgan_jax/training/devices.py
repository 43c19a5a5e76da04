"""Data parallelism: `jax.pmap` over all devices, with one replicated state and batches split over the devices.

With several processes each maps over its local devices, and means over `DATA_AXIS` are over the devices of all processes.
Each process replicates the state; checkpoints, which need arrays of all processes, see it as global arrays (`as_one`).

No other module knows of the mapping. The state has no leading device axis; batches have one,
`[devices, steps, B / devices, ...]`.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.networks.layers import DATA_AXIS

Tree = Any


def map_over_devices(step: Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]) -> Any:
    """Maps `step(state, frozen, batch) -> (state, metrics)` over the devices; the state passed in is donated.

    The result is called like `step`. A single process may also lower it and compile it ahead of time.
    """
    return jax.pmap(step, axis_name=DATA_AXIS, in_axes=(None, None, 0), out_axes=None, donate_argnums=0)


def replicate(tree: Tree) -> Tree:
    """Copies the arrays to every local device, once, so that no step has to move them."""
    return jax.device_put(tree, _replicated_sharding())


def replicated_like(shapes: Tree) -> Tree:
    """Returns the shapes and types of arrays with the sharding that `replicate` gives them."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=_replicated_sharding()), shapes)


def _replicated_sharding() -> jax.sharding.NamedSharding:
    mesh = jax.sharding.Mesh(jax.local_devices(), (DATA_AXIS,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def as_one(tree: Tree) -> Tree:
    """Returns the arrays that each process replicates as global arrays of all processes; copies nothing."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    return multihost_utils.host_local_array_to_global_array(tree, _global_mesh(), jax.sharding.PartitionSpec())


def _global_mesh() -> jax.sharding.Mesh:
    return jax.sharding.Mesh(jax.devices(), (DATA_AXIS,))


class DelayedMax:
    """The highest number of any process at a step, known to all at the next step; the host never waits for a device."""

    def __init__(self) -> None:
        self._highest = jax.pmap(lambda x: jax.lax.pmax(x, DATA_AXIS), axis_name=DATA_AXIS, out_axes=None)
        self._pending: Any = None

    def update(self, number: int) -> int:
        """Takes this step's number and returns the highest one of the step before, 0 at the first step.

        All processes must call it at the same steps, and all get the same result. A single process gets its own number at
        once.
        """
        if jax.process_count() == 1:
            return number
        before, self._pending = self._pending, self._highest(np.full(jax.local_device_count(), number, np.int32))
        return 0 if before is None else int(before)


def split_over_devices(batch: Tree, steps: int = 1) -> Tree:
    """Reshapes every array, `[steps * B, ...] -> [devices, steps, B / devices, ...]`, on the host; the first B go first."""
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
