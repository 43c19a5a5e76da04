"""Where benchmarks write: folders are made before the work, and what cannot be made is told in one line."""

import pytest

from benchmarks import outputs
from ipmedgan_jax.core.errors import UserError


def test_folders_are_made(tmp_path):
    assert outputs.folder(str(tmp_path / "a" / "b")).is_dir()
    assert outputs.file(str(tmp_path / "c" / "d.md")) == tmp_path / "c" / "d.md"
    assert (tmp_path / "c").is_dir()


def test_a_path_below_a_file_or_of_the_wrong_kind_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for call, name in ((outputs.folder, "file"), (outputs.folder, "file/x"), (outputs.file, "file/x/y.md")):
        with pytest.raises(UserError, match=rf"--output=.*{name}: cannot be made \("):
            call(str(tmp_path / name))
    with pytest.raises(UserError, match=r"--output=.*: a folder; expected a file"):
        outputs.file(str(tmp_path))
