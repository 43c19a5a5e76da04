"""The state of training, what changes it, and how a run begins."""

from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array

from ipmedgan_jax.networks.layers import initialise
from ipmedgan_jax.systems.interface import Batch, System, Tree


class NetState(struct.PyTreeNode):
    """One network's parameters and normalisation statistics, and its optimiser's state."""

    params: Tree
    statistics: Tree
    opt_state: optax.OptState


class Average(struct.PyTreeNode):
    """Exponential moving averages of a network's parameters and statistics."""

    params: Tree
    statistics: Tree


class TrainState(struct.PyTreeNode):
    """Everything that training changes. `key` never changes: a step's randomness comes from `fold_in(key, step)`."""

    step: Array
    key: Array
    generator: NetState
    discriminators: dict[str, NetState]
    average: Average | None  # of the generator; None if no average is kept


@dataclass(frozen=True)
class Update:
    """What `train_step` needs beside state and batch, bound before it is mapped over devices. At least one side learns."""

    system: System
    optimiser: optax.GradientTransformation  # of the generator
    discriminator_optimiser: optax.GradientTransformation
    generator_updates: int = 1  # generator steps per iteration
    accumulate: int = 1  # micro-batches per step
    average_decay: float = 0.0  # of the generator's moving average, at most; 0 keeps no average
    generator_learns: bool = True
    discriminators_learn: bool = True
    skip_nonfinite: bool = False  # whether a step with a number that is not finite or too large leaves the state as it was


def init_state(update: Update, key: Array, image_size: int) -> TrainState:
    """Initialises all networks and optimisers for images of `image_size` x `image_size` pixels.

    A network's weights depend on `key` and on the position of its name among the discriminators' names.
    """
    system = update.system
    key, generator_key, *keys = jax.random.split(key, 2 + len(system.discriminators))
    batch = _blank_batch(image_size)

    def make_state(variables: tuple[Tree, Tree], optimiser: optax.GradientTransformation) -> NetState:
        return NetState(*variables, optimiser.init(variables[0]))

    generator = make_state(init_generator(system, generator_key, image_size), update.optimiser)
    discriminators = {
        name: make_state(
            _init_network(net, net_key, system.discriminator_input(name, batch, batch.image)), update.discriminator_optimiser
        )
        for (name, net), net_key in zip(system.discriminators.items(), keys, strict=True)
    }
    average = jax.tree.map(jnp.copy, Average(generator.params, generator.statistics)) if update.average_decay else None
    return TrainState(jnp.zeros((), jnp.int32), key, generator, discriminators, average)


def init_generator(system: System, key: Array, image_size: int) -> tuple[Tree, Tree]:
    """Initial parameters and statistics of the generator."""
    return _init_network(system.generator, key, system.generator_input(_blank_batch(image_size)))


def _init_network(net: nn.Module, key: Array, x: Tree) -> tuple[Tree, Tree]:
    variables = initialise(jax.eval_shape(partial(net.init, train=False), key, x), key)
    return variables["params"], variables.get("batch_stats", {})


def _blank_batch(size: int) -> Batch:
    return Batch(jnp.zeros((1, size, size, 1)), jnp.zeros((1, 4), jnp.int32))
