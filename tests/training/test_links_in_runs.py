"""Links in a run's folder: none is followed to another place, by training or evaluation."""

import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.evaluation.evaluate_run import evaluate_classical
from ipmedgan_jax.experiment import build, folder_lock, run_folder
from ipmedgan_jax.training import loop


@pytest.fixture
def elsewhere(tmp_path):
    """A folder with a file, to which links lead; it must stay as it is."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "precious").write_text("precious")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["precious"]
    assert (folder / "precious").read_text() == "precious"


@pytest.mark.parametrize("name", [*run_folder.WRITTEN, "lock"])
def test_training_refuses_a_link_in_place_of_its_own(tiny_config, tmp_path, elsewhere, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(elsewhere if name != "lock" else elsewhere / "precious")
    with pytest.raises(UserError, match=f"run/{name}: a link to .*elsewhere"):
        loop.train(build.build_experiment(tiny_config("unet")), tmp_path / "run")


def test_training_and_evaluation_replace_links_in_place_of_files_in_a_linked_run_folder(tiny_config, tmp_path, elsewhere):
    (tmp_path / "real").mkdir()
    workdir = tmp_path / "run"
    workdir.symlink_to("real")
    made = ["config.json", "data.json", "report.html", "examples/step_0000001.png"]
    results = ["evaluation/metrics.json", "evaluation/subjects.csv", "evaluation/slices.csv", "evaluation/examples.png"]
    results += ["evaluation/fills.npz"]
    for name in (*made, *results):
        (workdir / name).parent.mkdir(exist_ok=True)
        (workdir / name).symlink_to(elsewhere / "precious")
    built = build.build_experiment(tiny_config("unet", train__steps=1))
    loop.train(built, workdir)
    for name in made:
        assert (workdir / name).stat().st_size > 0, name
        assert not (workdir / name).is_symlink(), name
    (workdir / "config.json").unlink()
    evaluate_classical(built, "surround_mean", workdir)
    assert not [name for name in results if (workdir / name).is_symlink() or not (workdir / name).is_file()]


def test_evaluation_refuses_a_link_in_place_of_its_folder(tiny_config, tmp_path, elsewhere):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "evaluation").symlink_to(elsewhere)
    with pytest.raises(UserError, match="run/evaluation: a link to"):
        evaluate_classical(build.build_experiment(tiny_config("unet")), "surround_mean", tmp_path / "run")


def test_the_refusal_of_a_locked_folder_names_its_holder(tmp_path):
    with folder_lock.lock(tmp_path, folder_lock.new_holder(), 0):
        with pytest.raises(UserError, match=r"training there \(process \d+ on .+, since 20\d\d-.+\); wait for it"):
            folder_lock.lock(tmp_path, folder_lock.new_holder(), 0).__enter__()


@pytest.mark.parametrize("content", ["", "0123456789abcdef", "[1]", "{}", "[" * 100_000, "\x00\xff"])
def test_a_lock_file_that_names_no_holder_is_left_out_of_the_refusal(tmp_path, content):
    with folder_lock.lock(tmp_path, content, 0):
        with pytest.raises(UserError, match=r"another process is training there; wait for it"):
            folder_lock.lock(tmp_path, "", 0).__enter__()


def test_no_holder_is_named_after_it_ended(tmp_path):
    """A finished run may be given to others, and the file would name the machine."""
    with folder_lock.lock(tmp_path, folder_lock.new_holder(), 0) as file:
        assert "host" in (tmp_path / "lock").read_text()
        folder_lock.check_place(file, tmp_path, None)
    assert (tmp_path / "lock").read_bytes() == b""


def test_the_name_of_another_holder_stays(tmp_path):
    with folder_lock.lock(tmp_path, "mine", 0):
        (tmp_path / "lock").write_text("another's")
    assert (tmp_path / "lock").read_text() == "another's"
