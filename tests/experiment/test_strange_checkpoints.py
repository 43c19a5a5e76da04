"""Pipes, devices, sockets and links in the place of a checkpoint or its files stop nothing, and are never waited for."""

import os
import shutil
import stat

import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.experiment import run_folder
from ipmedgan_jax.experiment.checkpoints import Checkpoints
from tests.experiment.test_damaged_checkpoints import PART, folder, opened, same, saved, state_of

__all__ = ["folder", "saved"]  # fixtures


def link_to_pipe(path):
    os.mkfifo(path.parent / "pipe")
    path.symlink_to("pipe")


KINDS = {
    "a pipe": os.mkfifo,
    "a link to a pipe": link_to_pipe,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
}


def one_data_file(step_folder):
    return next(path for path in sorted((step_folder / "state").glob("ocdbt.process_0/d/*")) if path.is_file())


FILES = {
    "tree": lambda step_folder: step_folder / "state" / "_METADATA",
    "manifest": lambda step_folder: step_folder / "state" / "manifest.ocdbt",
    "data": one_data_file,
    "a new file": lambda step_folder: step_folder / "state" / "ocdbt.process_0" / "new",
    "input": lambda step_folder: step_folder / "input" / "metadata",
    "digests": lambda step_folder: step_folder / "digests" / "metadata",
}


def replace(path, kind):
    path.unlink(missing_ok=True)
    KINDS[kind](path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_counts_as_damage(name, kind, folder, caplog):
    path = FILES[name](folder / "3")
    replace(path, kind)
    with (
        opened(folder) as checkpoints,
        pytest.raises(UserError, match=r"/3: damaged .*expected a file.*--checkpoint=2 takes"),
    ):
        checkpoints.restore_part(3, PART)
    with opened(folder, create=True) as checkpoints:
        step, state, _ = checkpoints.restore_newest(state_of(0))
    assert step == 2
    assert same(state, 2)
    assert "moved to" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_scores_that_are_no_file_are_taken_from_the_copy(kind, folder, caplog):
    replace(folder / "2" / "metrics" / "metrics", kind)
    with opened(folder) as checkpoints:
        assert checkpoints.best_step() == 2
    assert "/2: damaged (metrics/metrics: is " in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_of_items_that_is_no_file_is_damage(kind, folder):
    replace(folder / "3" / "_CHECKPOINT_METADATA", kind)
    with opened(folder, create=True) as checkpoints:
        assert checkpoints.restore_newest(state_of(0))[0] == 2


def test_links_in_a_checkpoint_are_followed_and_may_lead_in_a_circle(folder, tmp_path):
    shutil.move(folder / "3" / "state", tmp_path / "elsewhere")
    (folder / "3" / "state").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "circle").symlink_to(folder / "3")
    with opened(folder) as checkpoints:
        assert (checkpoints.restore_part(3, PART)["generator"]["w"] == state_of(3)["generator"]["w"]).all()


def test_an_empty_folder_is_not_said_to_be_of_an_older_version(folder, caplog):
    (folder / "20").mkdir()
    with caplog.at_level("INFO"), opened(folder) as checkpoints:
        step = run_folder.chosen_step(checkpoints, "latest")
        with pytest.raises(UserError, match=r"/20: damaged or of another system"):
            checkpoints.restore_part(step, PART)
    assert "no digests" not in caplog.text


def test_a_link_to_a_checkpoint_is_read_and_never_deleted(folder, tmp_path):
    shutil.move(folder / "1", tmp_path / "one")
    (folder / "1").symlink_to(tmp_path / "one")
    with Checkpoints(folder, keep=1, best="psnr") as checkpoints:
        assert same(checkpoints.restore(1, state_of(0))[0], 1)
        for step in (4, 5):
            checkpoints.save(step, state_of(step), {}, None)
    assert sorted(int(path.name) for path in folder.iterdir()) == [1, 2, 5]  # 2 is the best
    assert (tmp_path / "one" / "state").is_dir()


@pytest.mark.parametrize(
    ("error", "advice"),
    [(OSError(28, "No space left on device"), "make room"), (OSError(5, "Input/output error"), "mend that")],
)
def test_the_advice_after_a_failed_write_fits_its_reason(error, advice, tmp_path):
    with Checkpoints(tmp_path, keep=1, best="psnr") as checkpoints:
        assert f"; {advice}, then start again: nothing was saved yet" in str(checkpoints._save_error(error))
