"""The cache folder stays where earlier versions put it."""

import sys
from pathlib import Path

import pytest

from ipmedgan_jax.core import cache


def test_the_cache_is_in_xdg_cache_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "ipmedgan_jax"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have another folder for caches")
@pytest.mark.parametrize("unset", [None, ""])
def test_without_it_the_cache_is_in_the_home_folder(monkeypatch, tmp_path, unset):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME") if unset is None else monkeypatch.setenv("XDG_CACHE_HOME", unset)
    assert cache.folder() == Path(tmp_path) / ".cache" / "ipmedgan_jax"
