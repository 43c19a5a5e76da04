"""Nothing is written through a link to another place."""

import os

import pytest

from ipmedgan_jax.core import links
from ipmedgan_jax.core.errors import UserError


def test_a_file_of_one_s_own_is_created_and_keeps_its_content(tmp_path):
    for expected in ("", "a"):
        with links.open_own_file(tmp_path / "lock") as file:
            assert file.read() == expected
            file.write("a" if not expected else "")


@pytest.mark.parametrize("target", ["there", "missing"])
def test_a_link_in_place_of_a_file_is_refused_and_its_target_unchanged(tmp_path, target):
    (tmp_path / "there").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / target)
    with pytest.raises(UserError, match=r"lock: a link to .*(there|missing), where nothing may be written"):
        links.open_own_file(tmp_path / "lock")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["lock", "there"]
    assert (tmp_path / "there").read_text() == "precious"


def test_a_link_that_appears_after_the_check_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / "there").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "there")
    monkeypatch.setattr(type(tmp_path), "is_symlink", lambda path: False)
    with pytest.raises(OSError, match="symbolic links"):
        links.open_own_file(tmp_path / "lock")
    assert (tmp_path / "there").read_text() == "precious"


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(UserError, match="lock: not a file"):
        links.open_own_file(tmp_path / "lock")
