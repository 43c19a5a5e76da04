"""The update of a run from its config: its optimisers and learning rates, and the phases in which its networks learn."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.systems.interface import System
from ipmedgan_jax.systems.state import Update

ADADELTA_RHO, ADADELTA_EPSILON = 0.95, 1e-6
"""Values of the Adadelta paper (Zeiler, arXiv 1212.5701)."""


@dataclass(frozen=True)
class Phase:
    """A phase of training: the update of each step, up to and including step `last`."""

    last: int
    update: Update

    @property
    def name(self) -> str:
        if not self.update.discriminators_learn:
            return "the generator alone"
        return "both sides" if self.update.generator_learns else "the discriminators alone"


def make_update(config: ConfigDict, system: System, steps: int = 0) -> Update:
    """Returns the update in which the generator and its discriminators learn, for a run of `steps`.

    With `optimiser.rate_batch` learning rates are proportional to the batch size (Goyal et al., arXiv 1706.02677, section
    2.1). With `optimiser.decay` they fall to 0 at the end of the run.
    """
    train, rate = config.train, config.optimiser.learning_rate
    generator_steps = steps - round(train.discriminators_alone * steps)
    discriminator_steps = steps - round(train.generator_alone * steps)
    scale = train.batch_size / (config.optimiser.rate_batch or train.batch_size)
    return Update(
        system,
        _make_optimiser(config, scale * rate, generator_steps * train.generator_updates),
        _make_optimiser(config, scale * (config.optimiser.discriminator_rate or rate), discriminator_steps),
        train.generator_updates,
        train.accumulate,
        train.ema,
        skip_nonfinite=train.on_nonfinite == "skip",
    )


def make_phases(config: ConfigDict, update: Update, steps: int) -> tuple[Phase, ...]:
    """Splits a run of `steps` into phases: the generator alone, the discriminators alone, then both.

    `train.generator_alone` and `train.discriminators_alone` are shares of the run. Each phase ends on a whole dispatch. A
    phase that has no step is left out. Raises UserError for a run so short that this would be the last one.
    """
    train, per_dispatch = config.train, config.train.steps_per_dispatch
    generator_alone = replace(update, system=update.system.without_discriminators(), discriminators_learn=False)
    discriminators_alone = replace(update, generator_learns=False)
    ends = [train.generator_alone, train.generator_alone + train.discriminators_alone]
    first, second = (round(share * steps / per_dispatch) * per_dispatch for share in ends)
    if steps and max(first, second) >= steps:
        raise UserError(
            f"{steps} steps in dispatches of {per_dispatch} leave none in which all networks learn: lengthen the run, or "
            "lower config.train.generator_alone, discriminators_alone or steps_per_dispatch"
        )
    phases = (Phase(first, generator_alone), Phase(second, discriminators_alone), Phase(steps, update))
    starts = (0, first, second)
    return tuple(phase for start, phase in zip(starts, phases, strict=True) if phase.last > start)


def _make_optimiser(config: ConfigDict, highest: float, steps: int) -> optax.GradientTransformation:
    """Returns the optimiser that `config.optimiser` names, with this highest learning rate, for a network's `steps`."""
    settings = config.optimiser
    rate = _learning_rate(highest, steps, warmup=settings.warmup_steps, decay=settings.decay)
    if settings.name == "adadelta":
        return optax.adadelta(rate, rho=ADADELTA_RHO, eps=ADADELTA_EPSILON)
    if settings.name == "sgd":
        return optax.sgd(rate)
    return optax.adam(rate, b1=settings.b1, b2=settings.b2, eps=settings.eps)


def _learning_rate(highest: float, steps: int, *, warmup: int, decay: float) -> float | optax.Schedule:
    """Returns the learning rate, a number if it is constant.

    It rises from 0 during the first `warmup` steps, and falls to 0 in a straight line during the last share `decay`.
    """
    falling = round(decay * steps)
    if not warmup and not falling:
        return highest

    def rate(step: jax.Array) -> jax.Array:
        rising = jnp.minimum(1.0, (step + 1) / max(warmup, 1))
        return highest * rising * (jnp.clip((steps - step) / falling, 0.0, 1.0) if falling else 1.0)

    return rate
