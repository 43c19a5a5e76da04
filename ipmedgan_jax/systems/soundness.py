"""Whether a state of training is one to go on from: all of its numbers finite, and none absurdly large.

A step that blows up has finite losses often: it is its update that leaves parameters of 1e29, and the next step that is not
finite. So the updated state is looked at, not the losses alone.
"""

import jax
import jax.numpy as jnp
from jax import Array

from ipmedgan_jax.systems.interface import Metrics, Tree
from ipmedgan_jax.systems.state import NetState, TrainState

LARGEST_VALUE = 1e8
"""Largest size of a parameter, a statistic or an average. Those of trained networks are below 1e3. A layer's sums of products
of two such values are still finite in float32, whose largest number is 3e38."""

LARGEST_MOMENT = 1e30
"""Largest size of a number of an optimiser's state; Adam's second moment is the square of a gradient."""

SKIPPED = "skipped"
"""Metric of a step: 1 if its update was left out, 0 if not. Only with `Update.skip_nonfinite`."""


def largest_values(state: TrainState) -> dict[str, Array]:
    """Returns the largest size of a number in each part of the state, as `generator.params`; NaN if the part holds a NaN."""
    parts: dict[str, Tree] = _parts("generator", state.generator)
    for name, net in state.discriminators.items():
        parts |= _parts(f"discriminators.{name}", net)
    if state.average is not None:
        parts |= {"average.params": state.average.params, "average.statistics": state.average.statistics}
    sizes = {name: [jnp.abs(x).max() for x in _floats(part)] for name, part in parts.items()}
    return {name: jnp.stack([size.astype(jnp.float32) for size in own]).max() for name, own in sizes.items() if own}


def _parts(name: str, net: NetState) -> dict[str, Tree]:
    return {f"{name}.params": net.params, f"{name}.statistics": net.statistics, f"{name}.opt_state": net.opt_state}


def _floats(tree: Tree) -> list[Array]:
    return [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating) and x.size]


def bound(part: str) -> float:
    """Returns the largest size of a number in this part of a state."""
    return LARGEST_MOMENT if part.endswith("opt_state") else LARGEST_VALUE


def kept_if_unsound(before: TrainState, after: TrainState, metrics: Metrics) -> tuple[TrainState, Metrics]:
    """Returns the state after a step, or that before it, with the step counted, if a number is not finite or too large.

    All networks, optimisers and averages are kept or none. The metrics get `SKIPPED`.
    """
    sizes = largest_values(after)
    within = [size <= bound(part) for part, size in sizes.items()]  # False for NaN
    sound = jnp.stack([*within, *(jnp.isfinite(metric).all() for metric in metrics.values())]).all()

    def choose(old: Tree, new: Tree) -> Tree:
        return jax.tree.map(lambda x, y: jnp.where(sound, y, x), old, new)

    kept = after.replace(
        generator=choose(before.generator, after.generator),
        discriminators=choose(before.discriminators, after.discriminators),
        average=choose(before.average, after.average),
    )
    return kept, metrics | {SKIPPED: 1.0 - sound.astype(jnp.float32)}
