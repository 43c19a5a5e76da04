"""The export command: two formats, terms on the card, and one line for what is wrong."""

import json

import pytest

from ipmedgan_jax.experiment import build
from ipmedgan_jax.inpainting import load, model_files
from ipmedgan_jax.training import loop


def test_export_writes_both_formats_with_their_terms(tiny_config, tmp_path, command):
    built = build.build_experiment(tiny_config("unet", train__steps=2))
    loop.train(built, tmp_path / "run")
    (tmp_path / "data.txt").write_text("Heads by A. Author, 2016, CC BY.\n")
    (tmp_path / "notes.md").write_text("## Limits\n\nFLAIR alone.\n")
    given = [f"--workdir={tmp_path}/run", f"--attribution={tmp_path}/data.txt", f"--notes={tmp_path}/notes.md"]
    for name, flags, version in (("compiled", [], 2), ("weights", ["--format=weights", "--licence=CC BY 4.0"], 3)):
        done = command("export", *given, *flags, f"--output={tmp_path}/{name}")
        assert done.returncode == 0, done.stderr
        described = json.loads((tmp_path / name / "model.json").read_text())
        assert (described["format_version"], described["step"]) == (version, 2)
        assert described["attribution"] == ["Heads by A. Author, 2016, CC BY.\n"]
        card = (tmp_path / name / model_files.CARD_FILE).read_text()
        assert "\nHeads by A. Author, 2016, CC BY.\n" in card
        assert card.endswith("## Limits\n\nFLAIR alone.\n")
        assert load.load(None, str(tmp_path / name), "best").step == 2
    assert (described["licence"], "\nCC BY 4.0\n" in card) == ("CC BY 4.0", True)


@pytest.mark.parametrize("flag", ["attribution", "notes"])
def test_a_text_that_cannot_be_read_is_named(tmp_path, command, flag):
    done = command("export", f"--workdir={tmp_path}", f"--output={tmp_path}/x", f"--{flag}={tmp_path}/none.txt")
    assert done.returncode == 2
    assert f"error: --{flag}={tmp_path}/none.txt: expected a text file (No such file or directory)\n" in done.stderr


def test_an_unknown_model_is_one_line_with_exit_code_2(tmp_path, command):
    for name in ("a.nii", "m.nii"):
        (tmp_path / name).touch()
    files = (f"--image={tmp_path}/a.nii", f"--mask={tmp_path}/m.nii", f"--output={tmp_path}/o.nii")
    done = command("inpaint", "--model=no_such_model", *files)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--model=no_such_model: not found; expected a folder of python -m ipmedgan_jax.export" in done.stderr
