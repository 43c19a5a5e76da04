"""Commands as a shell sees them: one line and an exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipmedgan_jax.core import command as core_command
from ipmedgan_jax.core.errors import UserError

ROOT = Path(__file__).parents[2]


def command(module, *arguments, cwd=ROOT):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    line = [sys.executable, "-m", f"ipmedgan_jax.{module}", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, env=environment, timeout=240)


@pytest.mark.parametrize(("code", "written"), [(2, "wrong\n"), (3, "wrong\n"), (75, None)])
def test_an_error_that_a_person_has_to_mend_is_left_for_the_launcher(tmp_path, monkeypatch, code, written):
    monkeypatch.setenv(core_command.FAILED_FILE, str(tmp_path / "failed"))
    with pytest.raises(SystemExit) as ended:
        core_command._fail(UserError("wrong", code))
    assert ended.value.code == code
    assert ((tmp_path / "failed").read_text() if (tmp_path / "failed").exists() else None) == written


@pytest.mark.parametrize("module", ["prepare", "main", "evaluate", "vgg19"])
def test_help_explains_and_succeeds(module):
    result = command(module, "--help")
    assert result.returncode == 0
    assert f"python -m ipmedgan_jax.{module}" in result.stdout
    assert "flags:" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("main",), "--config is missing"),
        (("prepare",), "--config, --input, --output are missing"),
        (("main", "--config=configs/nowhere.py", "--workdir=x"), "run this from the repository's root"),
        (("main", "--config=configs/ct.py:medgam", "--workdir=x"), "config.system is 'medgam': wanted one of"),
        (("main", "--config=configs/ct.py", "--workdir=x", "--config.train.step=3"), "steps"),
        (("main", "--config=configs/ct.py", "--workdir=x", "--config.train.steps=many"), "many"),
        (("main", "--config=configs/ct.py", "--workdir=x", "--turbo"), "turbo"),
        (("main", "--config=configs/ct.py", "--workdir=x", "extra"), "unexpected argument 'extra'"),
        (("main", "--config=configs/ct.py", "--workdir=x", "--config.data.dir=/nowhere"), "/nowhere/dataset.json: not found"),
        (("main", "--config=configs/ct.py", "--workdir=x", "--config.system=medgan"), "set by the file's suffix"),
        (("prepare", "--config=configs/ct.py", "--input=/nowhere/*.nii", "--output=x"), "/nowhere/*.nii"),
        (("evaluate", "--workdir=/nowhere"), "/nowhere/config.json: not found"),
        (("evaluate", "--workdir=x", "--system=telepathy"), "--system=telepathy: wanted one of surround_mean, telea"),
        (("evaluate", "--workdir=x", "--system=telea"), "--system needs --config"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message):
    result = command(*arguments)
    assert result.returncode == 2, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in result.stderr
