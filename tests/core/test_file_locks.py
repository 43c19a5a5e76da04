"""A lock of a file's name is held by one process at a time, and nothing of it stays."""

import threading

import pytest

from ipmedgan_jax.core import file_locks
from ipmedgan_jax.core.errors import UserError


def test_one_at_a_time_changes_a_file(tmp_path):
    path = tmp_path / "count"
    path.write_text("0")

    def add():
        for _ in range(40):
            with file_locks.locked(path):
                path.write_text(str(int(path.read_text()) + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() == "160"
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


def test_what_a_killed_process_left_locks_nothing(tmp_path):
    (tmp_path / ".x.lock").touch()
    with file_locks.locked(tmp_path / "x"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_link_is_no_lock(tmp_path):
    (tmp_path / ".x.lock").symlink_to("elsewhere")
    with pytest.raises(UserError, match="a link to elsewhere"), file_locks.locked(tmp_path / "x"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with file_locks.locked(tmp_path / "x"):
        pass
    assert "this file system has no locks (Function not implemented)" in caplog.text
