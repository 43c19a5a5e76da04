"""What the tests of networks share."""

import jax
import pytest

from ipmedgan_jax.core import processor


@pytest.fixture(params=[False, True])
def onednn(request, monkeypatch):
    """Whether a CPU's forms are those for oneDNN; JAX forgets what it traced, because the forms are chosen in tracing."""
    monkeypatch.setattr(processor, "uses_onednn", lambda: request.param)
    jax.clear_caches()
    yield request.param
    jax.clear_caches()
