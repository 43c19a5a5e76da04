"""Which states are sound, and what a skipped step leaves as it was."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_update import init, ipmedgan, make_batch, make_update

from ipmedgan_jax.systems.soundness import LARGEST_MOMENT, LARGEST_VALUE, SKIPPED, bound, largest_values
from ipmedgan_jax.systems.update import train_step

PARTS = {
    "generator.params": lambda state: state.generator.params,
    "generator.opt_state": lambda state: state.generator.opt_state,
    "generator.statistics": lambda state: state.generator.statistics,
    "discriminators.local.params": lambda state: state.discriminators["local"].params,
    "discriminators.local.opt_state": lambda state: state.discriminators["local"].opt_state,
    "discriminators.global.statistics": lambda state: state.discriminators["global"].statistics,
    "average.params": lambda state: state.average.params,
    "average.statistics": lambda state: state.average.statistics,
}


@pytest.fixture(scope="module")
def state():
    return init(make_update(ipmedgan("batch"), optax.adam(1e-3), average_decay=0.9))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("number", [np.nan, -np.inf, 2.0, 0.5])
def test_every_part_of_a_state_is_looked_at(state, part, number):
    highest = LARGEST_MOMENT if part.endswith("opt_state") else LARGEST_VALUE
    target = [leaf for leaf in jax.tree.leaves(PARTS[part](state)) if jnp.issubdtype(leaf.dtype, jnp.floating)][-1]
    poisoned = jax.tree.map(lambda x: x.at[(0,) * x.ndim].set(number * highest) if x is target else x, state)
    sizes = largest_values(poisoned)
    assert [name for name, size in sizes.items() if not size <= bound(name)] == ([] if number == 0.5 else [part])


def take_step(update, state, batch):
    mapped = jax.vmap(functools.partial(train_step, update), in_axes=(None, None, 0), out_axes=0, axis_name="data")
    new, metrics = jax.jit(mapped)(state, {}, jax.tree.map(lambda x: x[None], batch))
    return jax.tree.map(lambda x: x[0], (new, metrics))


@pytest.mark.parametrize("options", [{}, {"generator_updates": 2}])
def test_a_step_that_is_not_finite_leaves_everything_but_its_number(state, options):
    update = make_update(ipmedgan("batch"), optax.adam(1e-3), average_decay=0.9, skip_nonfinite=True, **options)
    batch = make_batch()
    batch.image[0, 3, 3] = np.nan
    new, metrics = take_step(update, state, batch)
    assert (int(new.step), float(metrics[SKIPPED])) == (1, 1.0)
    for x, y in zip(*map(jax.tree.leaves, (state.replace(step=1, key=0), new.replace(step=1, key=0))), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_step_whose_new_state_is_too_large_is_skipped_though_its_losses_are_finite(state):
    update = make_update(ipmedgan("batch"), optax.adam(1e20), skip_nonfinite=True, discriminators_learn=False)
    new, metrics = take_step(update, state, make_batch())
    assert all(np.isfinite(value) for value in metrics.values())
    assert float(metrics[SKIPPED]) == 1
    assert float(largest_values(new)["generator.params"]) == float(largest_values(state)["generator.params"])


def test_a_finite_step_is_taken_as_without_skipping_and_the_default_has_no_check(state):
    found = {}
    for skips in (True, False):
        update = make_update(ipmedgan("batch"), optax.adam(1e-3), average_decay=0.9, skip_nonfinite=skips)
        found[skips] = take_step(update, state, make_batch())
    assert found[True][1].keys() - found[False][1].keys() == {SKIPPED}
    assert float(found[True][1][SKIPPED]) == 0
    for x, y in zip(*(jax.tree.leaves(new.replace(key=0)) for new, _ in found.values()), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)
