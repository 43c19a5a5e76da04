"""oneDNN is asked for where processor and jaxlib have bfloat16, and only there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipmedgan_jax.core import processor


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Pretends another processor and jaxlib."""

    def pretend(features, jaxlib="0.12.0.1", xla_flags=""):
        cpuinfo = tmp_path / "cpuinfo"
        cpuinfo.write_text(f"processor : 0\nflags\t\t: fpu {features}\n")
        monkeypatch.setattr(processor, "_CPUINFO", cpuinfo)
        monkeypatch.setattr(processor.metadata, "version", lambda _: jaxlib)
        monkeypatch.setenv("XLA_FLAGS", xla_flags)

    return pretend


@pytest.mark.parametrize("feature", ["avx512_bf16", "amx_bf16"])
@pytest.mark.parametrize("jaxlib", ["0.11.0", "0.12.0.1"])
def test_a_processor_with_bfloat16_gets_onednn(machine, feature, jaxlib):
    machine(f"avx512f {feature}", jaxlib, "--xla_cpu_enable_fast_math=false")
    assert processor.request_onednn()
    assert os.environ["XLA_FLAGS"].split() == ["--xla_cpu_enable_fast_math=false", *processor.ONEDNN_FLAGS]


@pytest.mark.parametrize(
    ("features", "jaxlib", "xla_flags"),
    [
        ("avx512f", "0.12.0.1", ""),  # no instructions
        ("avx512_bf16", "0.10.2", ""),  # does not know the flags' meaning
        ("avx512_bf16", "0.13.0", ""),  # may not know the flags, and would end the process
        ("avx512_bf16", "0.12.0.1", "--xla_cpu_use_onednn=false"),  # the user's own choice
    ],
)
def test_others_do_not(machine, features, jaxlib, xla_flags):
    machine(features, jaxlib, xla_flags)
    assert not processor.request_onednn()
    assert os.environ["XLA_FLAGS"] == xla_flags


def test_a_system_without_cpuinfo_has_no_known_features(monkeypatch, tmp_path):
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "none")
    assert processor.features() == set()
    assert not processor.multiplies_bfloat16()
    assert processor.name()


PROGRAM = """
from ipmedgan_jax.core import processor, runtime
runtime.set_up("bfloat16")
import jax, jax.numpy as jnp
from jax import lax
conv = jax.jit(lambda x, k: lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))
x, kernel = jnp.ones((1, 8, 8, 16), jnp.bfloat16), jnp.ones((3, 3, 16, 16), jnp.bfloat16)
print(processor.uses_onednn(), "onednn" in conv.lower(x, kernel).compile().as_text(), float(conv(x, kernel)[0, 4, 4, 0]))
"""


def test_xla_hands_convolutions_to_onednn_here_if_the_processor_has_bfloat16(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
        | {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(tmp_path)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    here = str(processor.multiplies_bfloat16())
    assert (done.stdout.split(), done.stderr) == ([here, here, "144.0"], "")
