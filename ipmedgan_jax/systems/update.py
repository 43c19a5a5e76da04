"""One update of a system: its state, its discriminators' steps, its generator's step. Knows no system by name.

Shapes: images `[B, H, W, 1]` in [-1, 1], holes `[B, 4]`; B is one device's share of the batch. Everything here is one
device's work with its means taken over the axis `layers.DATA_AXIS`; `parallel` maps it over the devices.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array, lax

from ipmedgan_jax.networks.layers import DATA_AXIS, initialise, mean_over_devices
from ipmedgan_jax.systems import losses
from ipmedgan_jax.systems.interface import Batch, Metrics, System, Tree


class NetState(struct.PyTreeNode):
    """One network and its optimiser."""

    params: Tree
    statistics: Tree
    opt_state: optax.OptState


class Average(struct.PyTreeNode):
    """Exponential moving averages of a network's parameters and statistics."""

    params: Tree
    statistics: Tree


class TrainState(struct.PyTreeNode):
    """All that training changes. `key` never moves: a step's randomness is `fold_in(key, step)`."""

    step: Array
    key: Array
    generator: NetState
    discriminators: dict[str, NetState]
    average: Average | None
    """Of the generator; None where not kept."""


@dataclass(frozen=True)
class Update:
    """What `train_step` needs beside state and batch; bound before mapping. At least one side learns."""

    system: System
    optimiser: optax.GradientTransformation
    discriminator_optimiser: optax.GradientTransformation
    generator_updates: int = 1
    accumulate: int = 1
    average_decay: float = 0.0
    generator_learns: bool = True
    discriminators_learn: bool = True


# ------------------------------------------------------------------ state


def init_state(update: Update, key: Array, image_size: int) -> TrainState:
    """Fresh networks for images of `image_size` pixels; each network's weights depend on the key and its name's place."""
    system = update.system
    key, generator_key, *keys = jax.random.split(key, 2 + len(system.discriminators))
    batch = _one_image(image_size)

    def fresh(variables: tuple[Tree, Tree], optimiser: optax.GradientTransformation) -> NetState:
        params, statistics = variables
        return NetState(params, statistics, optimiser.init(params))

    generator = fresh(init_generator(system, generator_key, image_size), update.optimiser)
    discriminators = {
        name: fresh(
            _init_network(net, net_key, system.discriminator_input(name, batch, batch.image)), update.discriminator_optimiser
        )
        for (name, net), net_key in zip(system.discriminators.items(), keys, strict=True)
    }
    average = None
    if update.average_decay:
        average = jax.tree.map(jnp.copy, Average(generator.params, generator.statistics))
    return TrainState(jnp.zeros((), jnp.int32), key, generator, discriminators, average)


def init_generator(system: System, key: Array, image_size: int) -> tuple[Tree, Tree]:
    """Parameters and statistics of a fresh generator."""
    return _init_network(system.generator, key, system.generator_input(_one_image(image_size)))


def _init_network(net: nn.Module, key: Array, x: Tree) -> tuple[Tree, Tree]:
    variables = initialise(jax.eval_shape(partial(net.init, train=False), key, x), key)
    return variables["params"], variables.get("batch_stats", {})


def _one_image(size: int) -> Batch:
    return Batch(jnp.zeros((1, size, size, 1)), jnp.zeros((1, 4), jnp.int32))


def apply(net: nn.Module, state: NetState, x: Tree, *, key: Array | None = None) -> tuple[Any, Tree]:
    """A training-mode forward: the network's output, and its statistics after it."""
    rngs = None if key is None else {"dropout": key}
    output, changed = net.apply(
        {"params": state.params, "batch_stats": state.statistics}, x, train=True, mutable=["batch_stats"], rngs=rngs
    )
    return output, changed.get("batch_stats", state.statistics)


def apply_gradients(
    optimiser: optax.GradientTransformation, state: NetState, gradients: Tree, statistics: Tree
) -> tuple[NetState, Array]:
    """One optimiser step on gradients averaged over the devices; also their global norm."""
    gradients = mean_over_devices(gradients)
    updates, opt_state = optimiser.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    # Behind a barrier: XLA:CPU would store the squares that the norm and Adam share, a pass over memory more.
    return NetState(params, statistics, opt_state), optax.tree.norm(lax.optimization_barrier(gradients))


# ------------------------------------------------------------------ discriminators


def discriminator_gradients(
    system: System, name: str, state: NetState, batch: Batch, output: Array
) -> tuple[Tree, Tree, Metrics]:
    """Gradients, statistics and metrics of one discriminator on the batch's images and the generator's output."""
    net = system.discriminators[name]

    def loss_of(params: Tree) -> tuple[Array, tuple[Tree, Metrics]]:
        current = state.replace(params=params)
        (real, _), statistics = apply(net, current, system.discriminator_input(name, batch, batch.image))
        (fake, _), statistics = apply(
            net, current.replace(statistics=statistics), system.discriminator_input(name, batch, output)
        )
        loss = losses.discriminator_loss(real, fake)
        metrics = {"loss/discriminator": loss, "logit/real": real.mean(), "logit/fake": fake.mean()}
        return loss, (statistics, metrics)

    gradients, (statistics, metrics) = jax.grad(loss_of, has_aux=True)(state.params)
    return gradients, statistics, {f"{metric}/{name}": value for metric, value in metrics.items()}


def step_discriminators(
    update: Update, state: TrainState, per_discriminator: Mapping[str, tuple[Tree, Tree, Metrics]]
) -> tuple[TrainState, Metrics]:
    stepped: dict[str, NetState] = {}
    metrics: Metrics = {}
    for name, (gradients, statistics, own) in per_discriminator.items():
        net, norm = apply_gradients(update.discriminator_optimiser, state.discriminators[name], gradients, statistics)
        stepped[name] = net
        metrics |= own | {f"gradient_norm/{name}": norm}
    return state.replace(discriminators=stepped), metrics


# ------------------------------------------------------------------ generator


def run_generator(
    system: System, state: NetState, batch: Batch, key: Array
) -> tuple[Array, Callable[[Array], tuple[Tree]], Tree]:
    """One training forward: the output, the pullback from its gradient to the parameters', and the statistics."""
    context = system.generator_input(batch)

    def forward(params: Tree) -> tuple[Array, Tree]:
        return apply(system.generator, state.replace(params=params), context, key=key)

    return jax.vjp(forward, state.params, has_aux=True)


def output_gradient(
    system: System, discriminators: Mapping[str, NetState], frozen: Tree, batch: Batch, output: Array
) -> tuple[Array, Metrics]:
    """d loss / d output of the generator's whole loss, and the loss's terms without and with their weights."""

    def discriminate(name: str, image: Array) -> tuple[Array, tuple[Array, ...]]:
        verdict, _ = apply(system.discriminators[name], discriminators[name], system.discriminator_input(name, batch, image))
        return verdict

    def loss_of(output: Array) -> tuple[Array, Metrics]:
        terms = system.generator_loss(frozen, batch, output, discriminate)
        weighted = {name: term.weight * term.value for name, term in terms.items()}
        metrics = {f"loss/generator/{name}": term.value for name, term in terms.items()}
        metrics |= {f"loss/generator_weighted/{name}": value for name, value in weighted.items()}
        return sum(weighted.values(), jnp.zeros(())), metrics

    return jax.grad(loss_of, has_aux=True)(output)


def step_generator(update: Update, state: TrainState, gradients: Tree, statistics: Tree) -> tuple[TrainState, Metrics]:
    generator, norm = apply_gradients(update.optimiser, state.generator, gradients, statistics)
    average = state.average
    if average is not None:
        # Early on the average follows closely: the first parameters are noise.
        decay = jnp.minimum(update.average_decay, (1.0 + state.step) / (10.0 + state.step))
        new = Average(generator.params, generator.statistics)
        average = jax.tree.map(lambda mean, value: decay * mean + (1 - decay) * value, average, new)
    return state.replace(generator=generator, average=average), {"gradient_norm/generator": norm}


# ------------------------------------------------------------------ the update


def train_steps(update: Update, state: TrainState, frozen: Tree, batches: Batch) -> tuple[TrainState, Metrics]:
    """One iteration on each of the batches `[n, B, ...]`, in order, in one program; the metrics of each, `[n]`."""

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        return train_step(update, state, frozen, batch)

    if batches.image.shape[0] > 1:
        return lax.scan(step, state, batches)
    state, metrics = step(state, jax.tree.map(lambda x: x[0], batches))
    return state, jax.tree.map(lambda x: x[None], metrics)


def train_step(update: Update, state: TrainState, frozen: Tree, batch: Batch) -> tuple[TrainState, Metrics]:
    """One iteration as pix2pix has it: one generator forward, each discriminator's step, then the generator's step
    through the updated discriminators. Returns the new state and metrics averaged over the devices.

    With `accumulate` > 1 the batch is taken in so many parts, and with `generator_updates` > 1 the generator steps again
    on the same batch; both run the generator forward anew where its parameters or the part have changed.
    """
    key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), lax.axis_index(DATA_AXIS))
    step = _step_whole if update.accumulate == 1 else _step_in_parts
    state, metrics = step(update, state, frozen, batch, key)
    for i in range(1, update.generator_updates if update.generator_learns else 1):
        gradients, statistics, again = _generator_gradients(update, state, frozen, batch, jax.random.fold_in(key, i))
        state, norm = step_generator(update, state, gradients, statistics)
        metrics |= again | norm
    return state.replace(step=state.step + 1), mean_over_devices(metrics)


def _step_whole(update: Update, state: TrainState, frozen: Tree, batch: Batch, key: Array) -> tuple[TrainState, Metrics]:
    system = update.system
    metrics: Metrics = {}
    output, pullback, statistics = run_generator(system, state.generator, batch, key)
    if update.discriminators_learn:
        per_discriminator = {
            name: discriminator_gradients(system, name, net, batch, output) for name, net in state.discriminators.items()
        }
        state, metrics = step_discriminators(update, state, per_discriminator)
    if update.generator_learns:
        gradient, terms = output_gradient(system, state.discriminators, frozen, batch, output)
        state, norm = step_generator(update, state, pullback(gradient)[0], statistics)
        metrics |= terms | norm
    return state, metrics


def _step_in_parts(update: Update, state: TrainState, frozen: Tree, batch: Batch, key: Array) -> tuple[TrainState, Metrics]:
    system = update.system

    def of_discriminators(part: Batch, part_key: Array) -> dict[str, tuple[Tree, Tree, Metrics]]:
        output, _ = apply(system.generator, state.generator, system.generator_input(part), key=part_key)
        return {name: discriminator_gradients(system, name, net, part, output) for name, net in state.discriminators.items()}

    metrics: Metrics = {}
    stepped = state
    if state.discriminators and update.discriminators_learn:
        same_noise = jax.random.clone(key)  # both forwards draw alike, on purpose
        mean = _mean_over_parts(of_discriminators, batch, same_noise, update.accumulate)
        stepped, metrics = step_discriminators(update, state, mean)
    if update.generator_learns:
        gradients, statistics, terms = _generator_gradients(update, stepped, frozen, batch, key)
        stepped, norm = step_generator(update, stepped, gradients, statistics)
        metrics |= terms | norm
    return stepped, metrics


def _generator_gradients(
    update: Update, state: TrainState, frozen: Tree, batch: Batch, key: Array
) -> tuple[Tree, Tree, Metrics]:
    """The generator's gradients, statistics and loss terms from forwards of its own, part by part."""
    system = update.system

    def of_generator(part: Batch, part_key: Array) -> tuple[Tree, Tree, Metrics]:
        output, pullback, statistics = run_generator(system, state.generator, part, part_key)
        gradient, terms = output_gradient(system, state.discriminators, frozen, part, output)
        return pullback(gradient)[0], statistics, terms

    return _mean_over_parts(of_generator, batch, key, update.accumulate)


def _mean_over_parts(function: Callable[[Batch, Array], Tree], batch: Batch, key: Array, parts: int) -> Tree:
    """Mean of `function(part, key)` over the batch cut in `parts`, one at a time in memory."""
    if parts == 1:
        return function(batch, key)
    stacked = jax.tree.map(lambda x: x.reshape(parts, x.shape[0] // parts, *x.shape[1:]), batch)
    keys = jax.random.split(key, parts)
    shapes = jax.eval_shape(function, jax.tree.map(lambda x: x[0], stacked), jax.ShapeDtypeStruct((), key.dtype))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def add(total: Tree, part: tuple[Batch, Array]) -> tuple[Tree, None]:
        return jax.tree.map(lambda t, new: t + new / parts, total, function(*part)), None

    return lax.scan(add, zeros, (stacked, keys))[0]
