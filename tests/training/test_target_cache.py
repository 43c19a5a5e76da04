"""Targets of real slices: the same bits whether kept or not, a bound that holds, and runs that do not notice."""

from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipmedgan_jax.experiment import build, run_folder, saved_config
from ipmedgan_jax.training import loop, start, target_cache

GIB_OF_A_SLICE = 4 * 2**-30
"""The target of `Brightness` is one float32."""


class Brightness:
    """A system with targets, as far as the cache looks at it."""

    def targets(self, frozen, image):
        return (image.mean((1, 2, 3)) * frozen,)


def images(count=4, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 8, 8, 1)).astype(np.float32)


def make(system=None, gib=1.0, slices=10):
    return target_cache.make_add_targets(system or Brightness(), jnp.float32(0.7), gib=gib, image_size=8, slices=slices)


def targets_of(add_targets, batch):
    (targets,) = add_targets({"image": batch})["targets"]
    return targets.tolist()


@pytest.fixture
def computed(monkeypatch):
    """The images whose targets have been computed since."""
    calls = []
    targets = target_cache.TargetCache._compute_targets

    def recorded(self, image):
        calls.append(image.tobytes())
        return targets(self, image)

    monkeypatch.setattr(target_cache.TargetCache, "_compute_targets", recorded)
    return calls


def test_kept_targets_have_the_bits_of_fresh_ones_in_any_batch(computed):
    batch, kept, fresh = images(), make(), make(slices=0)
    first = targets_of(kept, batch)
    assert len(computed) == 4
    assert targets_of(kept, batch[::-1]) == first[::-1]
    assert len(computed) == 4
    assert targets_of(fresh, batch) == [targets_of(make(), batch[i : i + 1])[0] for i in range(4)] == first
    np.testing.assert_allclose(first, batch.mean((1, 2, 3)) * np.float32(0.7), rtol=1e-5)


@pytest.mark.parametrize(("gib", "kept"), [(3.9 * GIB_OF_A_SLICE, 3), (1.0, 5), (0.5 * GIB_OF_A_SLICE, 0)])
def test_no_more_than_the_bound_is_kept_and_the_rest_is_computed_every_time(computed, gib, kept):
    batch, add_targets = images(8), make(gib=gib, slices=5)
    first = targets_of(add_targets, batch)
    assert targets_of(add_targets, batch) == first
    assert len(computed) == 8 + 8 - kept
    (stored,) = add_targets.__self__._kept
    assert stored.nbytes == 4 * kept
    assert len(add_targets.__self__) == kept


def test_a_mirrored_slice_is_another_slice(computed):
    add_targets, batch = make(), images(1)
    targets_of(add_targets, batch)
    targets_of(add_targets, batch[:, :, ::-1].copy())
    targets_of(add_targets, batch)
    assert len(computed) == len(set(computed)) == 2


@pytest.mark.parametrize(
    ("system", "changes"),
    [
        ("", {"loss__style": 1e-4, "train__target_cache_gib": 0.0}),
        ("", {"loss__style": 0.0}),
        ("unet", {}),
        ("casnet_plus", {"loss__style": 1e-4, "loss__content": 1.0}),
    ],
)
def test_without_targets_batches_stay_as_they_are(tiny_config, system, changes):
    built = build.build_experiment(tiny_config(system, **{"train__target_cache_gib": 1.0} | changes))
    batch = {"image": images()}
    assert loop.make_add_targets(built)(batch) is batch


# ------------------------------------------------------------------ in a run


class Pixels(nn.Module):
    """In the place of VGG-19, which takes long to compile: the image as its own feature."""

    @nn.compact
    def __call__(self, image):
        return (image,)


@pytest.fixture
def styled(tiny_config):
    """A function (changes) -> experiment with a style term on pixels; several devices, micro-batches, steps a dispatch."""

    def make(**changes):
        several = {"train__batch_size": 8, "train__accumulate": 2, "train__steps_per_dispatch": 2, "train__mirror": True}
        settings = several | {"train__target_cache_gib": 1.0, "train__validate_every": 100} | changes
        built = build.build_experiment(tiny_config("medgan", optimiser__name="sgd", **settings))
        loss = replace(built.system.loss, adversarial=0.0, perceptual=0.0, style=1.0, style_layers=(1.0,))
        system = replace(built.system, vgg19=Pixels(), loss=loss)
        phases = tuple(replace(phase, update=replace(phase.update, system=system)) for phase in built.phases)
        return replace(built, system=system, phases=phases)

    return make


@pytest.fixture
def params_of(monkeypatch, tmp_path):
    """A function (name, experiment) -> the generator's parameters after training in the folder of that name."""
    monkeypatch.setattr(loop.validation, "make_validation", lambda *_: lambda step, state: {})

    def train(name, built):
        loop.train(built, tmp_path / name)
        with run_folder.open_checkpoints(built.training, tmp_path / name) as checkpoints:
            state, _ = checkpoints.restore(checkpoints.latest_step(), start.InitialState(built).values())
        return jax.device_get(state.generator.params)

    return train


def test_a_run_stopped_within_an_epoch_and_resumed_ends_on_the_same_bits(styled, params_of, computed):
    whole = params_of("whole", styled(train__steps=6))
    assert len(set(computed)) == len(computed) < 6 * 8
    params_of("stopped", styled(train__steps=2))
    resumed = params_of("stopped", styled(train__steps=6, train__target_cache_gib=1e-8))
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)


def test_a_run_with_targets_kept_equals_one_without(styled, params_of):
    with_targets, without = (params_of(str(gib), styled(train__steps=2, train__target_cache_gib=gib)) for gib in (1.0, 0.0))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), with_targets, without)


def test_a_run_may_keep_more_or_less_when_it_resumes_but_not_switch(tiny_config):
    on, more, off = (saved_config.as_json(tiny_config(train__target_cache_gib=gib)) for gib in (1.0, 2.0, 0.0))
    assert saved_config.differing_keys(on, more) == []
    assert saved_config.differing_keys(on, off) == saved_config.differing_keys(off, on) == ["train.target_cache_gib"]
