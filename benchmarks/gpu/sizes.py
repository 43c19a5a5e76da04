"""Configs of a session: the paper's size on a GPU, small networks in a rehearsal."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from benchmarks.gpu.context import Context

FORMS = ("lax", "matmul")
"""Forms of the strided layers; by default GPUs have `lax`, and CPUs the faster one for each layer."""


def full_config(context: Context, system: str = "", **values: Any) -> ConfigDict:
    """configs/mri.py with these values (`train__dtype` sets train.dtype); in a rehearsal narrow networks at 32x32 pixels.

    Without VGG-19 there, which would take most of the time; the steps `correctness` and `ipmedgan` run it.
    """
    from ipmedgan_jax.configs import mri

    config = mri.get_config(system).unlock()
    config.vgg19.weights = "random"
    if context.rehearsal:
        config.data.image_size, config.holes.size, config.loss.style = 32, 16, 0.0
        narrow(config)
    for key, value in values.items():
        config.update_from_flattened_dict({key.replace("__", "."): value})
    return config.lock()


def narrow(config: ConfigDict) -> None:
    config.generator.blocks = min(config.generator.blocks, 1)
    config.generator.width = config.discriminator.width = 8


def small_config(context: Context, system: str, dtype: str) -> ConfigDict:
    """configs/small.py, whose update a CPU computes in float64 in seconds; in a rehearsal at 64x64 pixels."""
    from ipmedgan_jax.configs import small

    config = small.get_config(system).unlock()
    config.vgg19.weights = "random"
    config.train.batch_size, config.train.dtype, config.train.ema = 2, dtype, 0.0
    if context.rehearsal:
        config.data.image_size, config.holes.size = 64, 16
        narrow(config)
    return config.lock()


@contextlib.contextmanager
def strided_form(form: str) -> Iterator[None]:
    """Strided layers that are traced inside have this form on every platform."""
    from ipmedgan_jax.networks import strided

    if form not in FORMS:
        raise ValueError(f"form {form!r}: expected one of {', '.join(FORMS)}")
    used = (
        "downsample_cpu",
        "downsample_lax",
        "upsample_cpu",
        "upsample_lax",
        "kernel_gradient_matmul",
        "kernel_gradient_lax",
    )
    before = {name: getattr(strided, f"_{name}") for name in used}
    forced = {name: getattr(strided, f"_{name.rpartition('_')[0]}_{form}") for name in used}
    try:
        for name in used:
            setattr(strided, f"_{name}", forced[name])
        yield
    finally:
        for name in used:
            setattr(strided, f"_{name}", before[name])


def make_update(config: ConfigDict) -> Any:
    """The update of a config's system, without weights."""
    import jax.numpy as jnp

    from ipmedgan_jax.experiment import build, phases
    from ipmedgan_jax.networks.vgg19 import VGG19

    return phases.make_update(config, build.make_system(config, VGG19("caffe", dtype=jnp.dtype(config.train.dtype))))


@functools.cache
def random_vgg19() -> Any:
    """Random weights of VGG-19, as NumPy arrays; they cost as much as trained ones."""
    from ipmedgan_jax.pretrained import vgg19_weights

    return vgg19_weights.resolve("random").params
