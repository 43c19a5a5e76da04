"""Configs of a session: the paper's size on a GPU, small networks in a rehearsal."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from benchmarks.gpu.context import Context

FORMS = ("lax", "matmul")
"""Forms of the strided layers; by default CPUs have `matmul` and GPUs `lax`."""


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
    names = ("downsample", "upsample", "kernel_gradient")
    before = {f"_{name}_{kind}": getattr(strided, f"_{name}_{kind}") for name in names for kind in FORMS}
    before["_upsample_phases"] = strided._upsample_phases
    try:
        for name in names:
            for kind in FORMS:
                setattr(strided, f"_{name}_{kind}", before[f"_{name}_{form}"])
        strided._upsample_phases = before[f"_upsample_{form}"]
        yield
    finally:
        for attribute, function in before.items():
            setattr(strided, attribute, function)


def make_update(config: ConfigDict) -> Any:
    """The update of a config's system, without weights."""
    import jax.numpy as jnp

    from ipmedgan_jax.experiment import build
    from ipmedgan_jax.networks.vgg19 import VGG19

    return build.make_update(config, build.make_system(config, VGG19("caffe", dtype=jnp.dtype(config.train.dtype))))


@functools.cache
def random_vgg19() -> Any:
    """Random weights of VGG-19, as NumPy arrays; they cost as much as trained ones."""
    from ipmedgan_jax.pretrained import vgg19_weights

    return vgg19_weights.resolve("random").params
