"""A file or a folder appears under its name only when complete."""

import contextlib
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import UserError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_that_cannot_be_completed_leaves_the_old_one_alone(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": 1})
    with contextlib.suppress(KeyboardInterrupt), files.atomic_file(path) as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt
    assert json.loads(path.read_text()) == {"a": 1}
    assert names(tmp_path) == ["x.json"]


def test_two_writers_of_one_file_do_not_write_into_each_other_s(tmp_path):
    path = tmp_path / "x.txt"
    with files.atomic_file(path) as first, files.atomic_file(path) as second:
        first.write_text("first, longer")
        second.write_text("second")
    assert path.read_text() == "first, longer"  # the outer one is complete last
    assert names(tmp_path) == ["x.txt"]


def test_a_folder_appears_when_complete_and_not_after_an_error(tmp_path):
    with files.atomic_folder(tmp_path / "model") as unfinished:
        (unfinished / "new").touch()
        assert not (tmp_path / "model").exists()
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["new"]
    with pytest.raises(ValueError, match="spoilt"), files.atomic_folder(tmp_path / "other"):
        raise ValueError("spoilt")
    assert names(tmp_path) == ["model"]


def test_what_a_killed_process_left_of_a_folder_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    writes = "import os, sys, pathlib; from ipmedgan_jax.core import files\n"
    writes += "with files.atomic_folder(pathlib.Path(sys.argv[1])) as folder: (folder / 'old').touch(); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", writes, tmp_path / "model"], check=False).returncode == 9
    (left,) = names(tmp_path)
    with files.atomic_folder(tmp_path / "other"):
        assert left in names(tmp_path)
    with files.atomic_folder(tmp_path / "model") as unfinished:
        assert left not in names(tmp_path)
        with contextlib.suppress(KeyError), files.atomic_folder(tmp_path / "model"):
            raise KeyError
        (unfinished / "new").touch()
    assert names(tmp_path / "model") == ["new"]


@pytest.mark.parametrize("replace", [False, True])
def test_of_two_writers_of_a_folder_one_wins_whole(tmp_path, replace):
    path, refused = tmp_path / "model", pytest.raises(UserError, match="model: exists by now, written by another process")
    with contextlib.nullcontext() if replace else refused, files.atomic_folder(path, replace=replace) as first:
        (first / "a").touch()
        with files.atomic_folder(path, replace=replace) as second:
            (second / "a").touch()
            (second / "b").touch()
        (first / "c").touch()
    assert names(path) == (["a", "c"] if replace else ["a", "b"])
    assert names(tmp_path) == ["model"]


@pytest.fixture
def events(monkeypatch):
    """Records what is synced (a folder by its name), and when a name appears, in order."""
    found = []
    sync, replace, link = os.fsync, Path.replace, os.link

    def record(real, word):
        def function(*paths):
            path = Path(f"/proc/self/fd/{paths[0]}").readlink() if word == "sync" else paths[-1]
            found.append((word, "FILE" if word == "sync" and "unfinished" in Path(path).name else Path(path).name))
            return real(*paths)

        return function

    monkeypatch.setattr(os, "fsync", record(sync, "sync"))
    monkeypatch.setattr(Path, "replace", record(replace, "name"))
    monkeypatch.setattr(os, "link", record(link, "name"))
    return found


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_is_too_before_the_function_returns(tmp_path, events):
    files.write_text(tmp_path / "x", "text")
    files.create_json(tmp_path / "y", {})
    for name, part in (("x", events[:3]), ("y", events[3:])):
        assert part == [("sync", "FILE"), ("name", name), ("sync", tmp_path.name)]


def test_all_files_of_a_folder_are_on_the_disk_before_it_has_its_name(tmp_path, events):
    with files.atomic_folder(tmp_path / "f") as folder:
        (folder / "in").mkdir()
        (folder / "in" / "x").write_text("text")
    assert events[:3] == [("sync", "content"), ("sync", "x"), ("sync", "in")]
    assert events[3:] == [("name", "f"), ("sync", tmp_path.name)]


def test_a_file_system_that_cannot_sync_is_no_error_but_a_disk_that_fails_is(tmp_path, monkeypatch):
    def failing(number):
        def function(descriptor):
            raise OSError(number, os.strerror(number))

        return function

    monkeypatch.setattr(os, "fsync", failing(errno.EINVAL))
    files.write_text(tmp_path / "x", "text")
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        files.write_text(tmp_path / "x", "other")
    assert (tmp_path / "x").read_text() == "text"
