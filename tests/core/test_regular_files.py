"""Only files are opened: nothing that blocks, and nothing without an end."""

import os
import socket
from pathlib import Path

import pytest

from ipmedgan_jax.core import memory, regular_files
from ipmedgan_jax.core.errors import UserError


@pytest.fixture(params=["a pipe", "a socket", "a device", "a folder"])
def other(request, tmp_path):
    path = tmp_path / "other"
    if request.param == "a pipe":
        os.mkfifo(path)
    elif request.param == "a socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif request.param == "a device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    return path, request.param


@pytest.mark.parametrize("read", [regular_files.regular_file, regular_files.open_file, regular_files.read_bytes])
def test_anything_but_a_file_is_refused_without_waiting(other, read):
    path, kind = other
    with pytest.raises(UserError, match=f"is {kind}; expected a file"):
        read(path)


def test_a_missing_file_is_left_to_its_reader(tmp_path):
    assert regular_files.regular_file(tmp_path / "none") == tmp_path / "none"
    with pytest.raises(FileNotFoundError):
        regular_files.read_bytes(tmp_path / "none")


def test_a_loop_of_links_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UserError, match="cannot be read"):
        regular_files.regular_file(tmp_path / "loop")
    with pytest.raises(UserError, match="cannot be read"):
        regular_files.regular_file(Path("a\0b"))


def test_a_file_above_the_bound_is_not_read(tmp_path, monkeypatch):
    (path := tmp_path / "file").write_bytes(b"text")
    assert regular_files.read_text(path) == "text"
    monkeypatch.setenv(memory.VARIABLE, str(3 / 2**30))
    with pytest.raises(UserError, match=r"the file takes .* GiB"):
        regular_files.read_bytes(path)
