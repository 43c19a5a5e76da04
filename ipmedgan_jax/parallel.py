"""Work on all local devices at once: `jax.pmap` with one replicated state, batches cut over the devices.

Nothing else knows of the mapping. The state has no leading device axis; batches get one, `[devices, steps, B / devices, ..]`.
"""

from collections.abc import Callable
from typing import Any

import jax

from ipmedgan_jax.errors import UserError
from ipmedgan_jax.networks.layers import DATA_AXIS

Tree = Any


def map_over_devices(step: Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]) -> Any:
    """`step(state, frozen, batch) -> (state, metrics)` on every local device; the state passed in is given up.

    What is returned is called like `step`, or lowered and compiled ahead like anything `jax.jit` returns.
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
