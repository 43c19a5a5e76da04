"""A file or a folder appears under its name only when complete."""

import contextlib
import json

import pytest

from ipmedgan_jax.core import files


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


def test_a_folder_appears_when_complete_and_clears_what_was_left(tmp_path):
    left = tmp_path / ".model.unfinished"
    left.mkdir()
    (left / "old").touch()
    with files.atomic_folder(tmp_path / "model") as unfinished:
        (unfinished / "new").touch()
        assert not (tmp_path / "model").exists()
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["new"]
    with pytest.raises(ValueError, match="spoilt"), files.atomic_folder(tmp_path / "other"):
        raise ValueError("spoilt")
    assert names(tmp_path) == ["model"]
