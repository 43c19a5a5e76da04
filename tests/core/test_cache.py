"""The cache folder stays where earlier versions put it."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from ipmedgan_jax.core import cache, user_paths
from ipmedgan_jax.core.errors import UserError


def test_the_cache_is_in_xdg_cache_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "ipmedgan_jax"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have another folder for caches")
@pytest.mark.parametrize("unset", [None, ""])
def test_without_it_the_cache_is_in_the_home_folder(monkeypatch, tmp_path, unset):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME") if unset is None else monkeypatch.setenv("XDG_CACHE_HOME", unset)
    assert cache.folder() == Path(tmp_path) / ".cache" / "ipmedgan_jax"


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    """An account as containers have them: no HOME, no entry in the list of accounts."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(user_paths.pwd, "getpwuid", lambda uid: {}[uid])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cache._temporary_folder.cache_clear()
    yield tmp_path / f"ipmedgan_jax-{os.getuid()}"
    cache._temporary_folder.cache_clear()


@pytest.mark.parametrize("value", [None, "", "/"])
def test_without_a_home_folder_the_cache_is_a_private_folder_of_temporary_files(homeless, monkeypatch, value):
    if value is not None:
        monkeypatch.setenv("HOME", value)
    assert cache.folder() == homeless
    assert homeless.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("XDG_CACHE_HOME", "/own")
    assert cache.folder() == Path("/own/ipmedgan_jax")


@pytest.mark.parametrize("taken", [lambda path: path.mkdir(), lambda path: path.symlink_to("/"), lambda path: path.touch()])
def test_a_cache_that_others_can_write_is_refused(homeless, taken):
    taken(homeless)
    if homeless.is_dir() and not homeless.is_symlink():
        homeless.chmod(0o777)
    with pytest.raises(UserError, match="set XDG_CACHE_HOME"):
        cache.folder()
