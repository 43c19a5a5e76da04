"""One training iteration of a system: each discriminator's step, then the generator's step.

The iteration is pix2pix's, with one forward pass of the generator:

1. `run_generator` returns the output and its pullback (`jax.vjp`).
2. `discriminator_gradients` and `step_discriminators` update each discriminator on real images and on the output (fake).
3. `output_gradient` differentiates the generator's loss by the output, through the updated discriminators.
4. The pullback turns that gradient into the parameters' gradients, and `step_generator` applies them.

Each function does one device's work and averages over the axis `layers.DATA_AXIS`; `training/devices.py` maps it. The module
knows no system by name. Images are `[B, H, W, 1]` in [-1, 1], holes `[B, 4]`; B is one device's share of the batch.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from ipmedgan_jax.networks.layers import DATA_AXIS, mean_over_devices
from ipmedgan_jax.systems import losses
from ipmedgan_jax.systems.accumulation import mean_over_micro_batches
from ipmedgan_jax.systems.interface import Batch, HasDiscriminatorLoss, Metrics, System, Tree, weighted_values
from ipmedgan_jax.systems.soundness import kept_if_unsound
from ipmedgan_jax.systems.state import Average, NetState, TrainState, Update


def apply(net: nn.Module, state: NetState, x: Tree, *, key: Array | None = None) -> tuple[Any, Tree]:
    """Runs a network in training mode, with dropout from `key`; returns its output and its new statistics."""
    rngs = None if key is None else {"dropout": key}
    output, changed = net.apply(
        {"params": state.params, "batch_stats": state.statistics}, x, train=True, mutable=["batch_stats"], rngs=rngs
    )
    return output, changed.get("batch_stats", state.statistics)


def apply_gradients(
    optimiser: optax.GradientTransformation, state: NetState, gradients: Tree, statistics: Tree
) -> tuple[NetState, Array]:
    """Takes one optimiser step on the gradients' mean over the devices; returns the new state and that mean's global norm."""
    gradients = mean_over_devices(gradients)
    with jax.named_scope("optimiser"):
        updates, opt_state = optimiser.update(gradients, state.opt_state, state.params)
        stepped = NetState(optax.apply_updates(state.params, updates), statistics, opt_state)
        # Without the barrier XLA:CPU stores the squares that the norm and Adam share: one more pass over memory.
        return stepped, optax.tree.norm(lax.optimization_barrier(gradients))


# ------------------------------------------------------------------ discriminators


def discriminator_gradients(
    system: System, name: str, state: NetState, frozen: Tree, batch: Batch, output: Array
) -> tuple[Tree, Tree, Metrics]:
    """Gradients, statistics and metrics of one discriminator on the batch's images (real) and the output (fake)."""
    net = system.discriminators[name]

    def compute_loss(params: Tree) -> tuple[Array, tuple[Tree, Metrics]]:
        current = state.replace(params=params)
        (real, _), statistics = apply(net, current, system.discriminator_input(name, batch, batch.image, frozen))
        (fake, _), statistics = apply(
            net, current.replace(statistics=statistics), system.discriminator_input(name, batch, output, frozen)
        )
        if isinstance(system, HasDiscriminatorLoss):
            loss = system.discriminator_loss(name, batch, real, fake)
        else:
            loss = losses.discriminator_loss(real, fake)
        metrics = {"loss/discriminator": loss, "logit/real": _mean_logit(real), "logit/fake": _mean_logit(fake)}
        return loss, (statistics, metrics)

    gradients, (statistics, metrics) = jax.grad(compute_loss, has_aux=True)(state.params)
    return gradients, statistics, {f"{metric}/{name}": value for metric, value in metrics.items()}


def _mean_logit(logits: Tree) -> Array:
    """The mean of a discriminator's logits, over its heads if it has several."""
    return jnp.stack([head.mean() for head in jax.tree.leaves(logits)]).mean()


def step_discriminators(
    update: Update, state: TrainState, per_discriminator: Mapping[str, tuple[Tree, Tree, Metrics]]
) -> tuple[TrainState, Metrics]:
    """Updates every discriminator with its result of `discriminator_gradients`; returns the metrics of all."""
    stepped: dict[str, NetState] = {}
    metrics: Metrics = {}
    for name, (gradients, statistics, net_metrics) in per_discriminator.items():
        net, norm = apply_gradients(update.discriminator_optimiser, state.discriminators[name], gradients, statistics)
        stepped[name] = net
        metrics |= net_metrics | {f"gradient_norm/{name}": norm}
    return state.replace(discriminators=stepped), metrics


# ------------------------------------------------------------------ generator


def run_generator(
    system: System, state: NetState, batch: Batch, key: Array
) -> tuple[Array, Callable[[Array], tuple[Tree]], Tree]:
    """Runs the generator in training mode; returns the output, its pullback and the new statistics.

    The pullback takes d loss / d output to a tuple of one: d loss / d params. The output is `Batch.without_avoided`.
    """
    context = system.generator_input(batch)

    def forward(params: Tree) -> tuple[Array, Tree]:
        output, statistics = apply(system.generator, state.replace(params=params), context, key=key)
        return batch.without_avoided(output), statistics

    return jax.vjp(forward, state.params, has_aux=True)


def output_gradient(
    system: System, discriminators: Mapping[str, NetState], frozen: Tree, batch: Batch, output: Array
) -> tuple[Array, Metrics]:
    """d loss / d output of the generator's total loss; the metrics hold each term without and with its weight."""

    def discriminate(name: str, image: Array) -> tuple[Any, tuple[Array, ...]]:
        shown = system.discriminator_input(name, batch, image, frozen)
        return apply(system.discriminators[name], discriminators[name], shown)[0]

    def compute_loss(output: Array) -> tuple[Array, Metrics]:
        terms = system.generator_loss(frozen, batch, output, discriminate)
        weighted = weighted_values(terms)
        metrics = {f"loss/generator/{name}": term.value for name, term in terms.items()}
        metrics |= {f"loss/generator_weighted/{name}": value for name, value in weighted.items()}
        return sum(weighted.values(), jnp.zeros(())), metrics

    return jax.grad(compute_loss, has_aux=True)(output)


def step_generator(update: Update, state: TrainState, gradients: Tree, statistics: Tree) -> tuple[TrainState, Metrics]:
    """Updates the generator, then its moving average if one is kept."""
    generator, norm = apply_gradients(update.optimiser, state.generator, gradients, statistics)
    average = state.average
    if average is not None:
        # The decay starts small because the first parameters are noise, which the average must not keep.
        decay = jnp.minimum(update.average_decay, (1.0 + state.step) / (10.0 + state.step))
        new = Average(generator.params, generator.statistics)
        average = jax.tree.map(lambda mean, value: decay * mean + (1 - decay) * value, average, new)
    return state.replace(generator=generator, average=average), {"gradient_norm/generator": norm}


# ------------------------------------------------------------------ the update


def train_steps(update: Update, state: TrainState, frozen: Tree, batches: Batch) -> tuple[TrainState, Metrics]:
    """Runs one iteration on each of the batches `[n, B, ...]`, in order, as one program; returns metrics `[n]`."""

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        return train_step(update, state, frozen, batch)

    if batches.image.shape[0] > 1:
        return lax.scan(step, state, batches)
    state, metrics = step(state, jax.tree.map(lambda x: x[0], batches))
    return state, jax.tree.map(lambda x: x[None], metrics)


def train_step(update: Update, state: TrainState, frozen: Tree, batch: Batch) -> tuple[TrainState, Metrics]:
    """Runs one iteration; returns the new state and the metrics' means over the devices.

    With `accumulate` > 1 the batch is split into that many micro-batches. With `generator_updates` > 1 the generator takes
    further steps on this batch. Both need new generator forwards, because the micro-batch or the parameters have changed.
    With `skip_nonfinite` a step after which the state is not sound changes nothing but the step's number.
    """
    key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), lax.axis_index(DATA_AXIS))
    step = _step_on_batch if update.accumulate == 1 else _step_on_micro_batches
    before = state
    state, metrics = step(update, state, frozen, batch, key)
    for i in range(1, update.generator_updates if update.generator_learns else 1):
        gradients, statistics, terms = _generator_gradients(update, state, frozen, batch, jax.random.fold_in(key, i))
        state, norm = step_generator(update, state, gradients, statistics)
        metrics |= terms | norm
    state, metrics = state.replace(step=state.step + 1), mean_over_devices(metrics)
    return kept_if_unsound(before, state, metrics) if update.skip_nonfinite else (state, metrics)


def _step_on_batch(update: Update, state: TrainState, frozen: Tree, batch: Batch, key: Array) -> tuple[TrainState, Metrics]:
    """Updates all networks with one generator forward, as the module's docstring lists it."""
    system = update.system
    metrics: Metrics = {}
    output, pullback, statistics = run_generator(system, state.generator, batch, key)
    if update.discriminators_learn:
        per_discriminator = {
            name: discriminator_gradients(system, name, net, frozen, batch, output)
            for name, net in state.discriminators.items()
        }
        state, metrics = step_discriminators(update, state, per_discriminator)
    if update.generator_learns:
        gradient, terms = output_gradient(system, state.discriminators, frozen, batch, output)
        state, norm = step_generator(update, state, pullback(gradient)[0], statistics)
        metrics |= terms | norm
    return state, metrics


def _step_on_micro_batches(
    update: Update, state: TrainState, frozen: Tree, batch: Batch, key: Array
) -> tuple[TrainState, Metrics]:
    """Updates all networks with gradients accumulated over micro-batches; each side runs its own generator forwards."""
    system = update.system

    def compute_gradients(micro_batch: Batch, key: Array) -> dict[str, tuple[Tree, Tree, Metrics]]:
        output, _ = apply(system.generator, state.generator, system.generator_input(micro_batch), key=key)
        output, nets = micro_batch.without_avoided(output), state.discriminators.items()
        return {name: discriminator_gradients(system, name, net, frozen, micro_batch, output) for name, net in nets}

    metrics: Metrics = {}
    stepped = state
    if state.discriminators and update.discriminators_learn:
        same_noise = jax.random.clone(key)  # on purpose: both sides' forwards draw the same dropout noise
        mean = mean_over_micro_batches(compute_gradients, batch, same_noise, update.accumulate)
        stepped, metrics = step_discriminators(update, state, mean)
    if update.generator_learns:
        gradients, statistics, terms = _generator_gradients(update, stepped, frozen, batch, key)
        stepped, norm = step_generator(update, stepped, gradients, statistics)
        metrics |= terms | norm
    return stepped, metrics


def _generator_gradients(
    update: Update, state: TrainState, frozen: Tree, batch: Batch, key: Array
) -> tuple[Tree, Tree, Metrics]:
    """The generator's gradients, statistics and loss terms from new forwards, averaged over the micro-batches."""
    system = update.system

    def compute_gradients(micro_batch: Batch, key: Array) -> tuple[Tree, Tree, Metrics]:
        output, pullback, statistics = run_generator(system, state.generator, micro_batch, key)
        gradient, terms = output_gradient(system, state.discriminators, frozen, micro_batch, output)
        return pullback(gradient)[0], statistics, terms

    return mean_over_micro_batches(compute_gradients, batch, key, update.accumulate)
