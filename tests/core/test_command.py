"""Commands seen from a shell: one-line errors and exit codes."""

import logging
from pathlib import Path

import jax
import pytest

import ipmedgan_jax
from ipmedgan_jax.core import command as core_command
from ipmedgan_jax.core.errors import UserError


@pytest.mark.parametrize(("code", "written"), [(2, "wrong\n"), (3, "wrong\n"), (75, None)])
def test_an_error_that_a_person_has_to_mend_is_left_for_the_launcher(tmp_path, monkeypatch, code, written):
    monkeypatch.setenv(core_command.FAILED_FILE, str(tmp_path / "failed"))
    with pytest.raises(SystemExit) as ended:
        core_command._fail(UserError("wrong", code))
    assert ended.value.code == code
    assert ((tmp_path / "failed").read_text() if (tmp_path / "failed").exists() else None) == written


SUB_PACKAGES = sorted(path.parent.name for path in Path(ipmedgan_jax.__file__).parent.glob("*/__init__.py"))


def record(path, level=logging.INFO, message="told"):
    return logging.LogRecord("any", level, str(path), 1, message, None, None)


@pytest.mark.parametrize("package", ["", "training", "experiment", *SUB_PACKAGES])
def test_the_log_has_the_lines_of_every_package_of_this_one(package):
    path = Path(ipmedgan_jax.__file__).parent / package / "loop.py"
    assert core_command._is_ours_or_a_warning(record(path))


@pytest.mark.parametrize(
    ("level", "message", "shown"),
    [
        (logging.INFO, "told", False),
        (logging.WARNING, "told", True),
        (logging.WARNING, "Requested `tracked_metric`; did not provide metrics.", False),  # Orbax, at every checkpoint
    ],
)
def test_of_a_library_the_log_has_what_is_wrong(level, message, shown):
    assert core_command._is_ours_or_a_warning(record(jax.__file__, level, message)) is shown


@pytest.mark.parametrize("module", ["prepare", "main", "evaluate", "vgg19", "view"])
def test_help_explains_and_succeeds(command, module):
    result = command(module, "--help")
    assert result.returncode == 0
    assert f"python -m ipmedgan_jax.{module}" in result.stdout
    assert "flags:" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("main",), "--config is missing"),
        (("prepare",), "--config, --input, --output are missing"),
        (("main", "--config=configs/nowhere.py", "--workdir=x"), "configs/nowhere.py: no such file; shipped are base, ct"),
        (("main", "--config=configs/ct.py:medgam", "--workdir=x"), "; did you mean medgan?"),
        (("main", "--config=small:unit", "--workdir=x"), "config.system is 'unit': expected one of"),
        (("main", "--config=small:unit", "--workdir=x"), "; did you mean unet?"),
        (
            ("main", "--config=ct", "--config.train.step=3"),
            "config.train.step: no such key; did you mean config.train.steps?",
        ),
        (("main", "--config=ct", "--workdr=x"), "--workdr: no such flag; did you mean --workdir?"),
        (("main", "--config.train.steps=3"), "--config.train.steps needs --config before it"),
        (("main", "--print_config"), "--print_config needs --config"),
        (
            ("main", "--config=configs/ct.py", "--workdir=x", "--config.train.steps=many"),
            "--config.train.steps=many: expected a whole number",
        ),
        (("main", "--config=ct", "--config.optimiser.learning_rate=fast"), "learning_rate=fast: expected a number, see"),
        (("main", "--config=ct", "--config.generator.sees_mask=maybe"), "sees_mask=maybe: expected true or false, see"),
        (("main", "--config=ct", "--config.train=3"), "--config.train=3: a group of settings; give one of them"),
        (("evaluate", "--workdir=x", "--system=tela"), "; did you mean --system=telea?"),
        (("main", "--config=configs/ct.py", "--workdir=x", "--turbo"), "--turbo: no such flag, see --help"),
        (("main", "--config=configs/ct.py", "--workdir=x", "extra"), "unexpected argument 'extra'"),
        (("main", "--config=configs/ct.py", "--workdir=x", "--config.data.dir=/nowhere"), "/nowhere/dataset.json: not found"),
        (("main", "--config=configs/ct.py", "--workdir=x", "--config.system=medgan"), "set by the config's suffix"),
        (("prepare", "--config=configs/ct.py", "--input=/nowhere/*.nii", "--output=x"), "/nowhere/*.nii"),
        (("evaluate", "--workdir=/nowhere"), "/nowhere/config.json: not found"),
        (("evaluate", "--workdir=x", "--system=telepathy"), "--system=telepathy: expected one of surround_mean, telea"),
        (("evaluate", "--workdir=x", "--system=telea"), "--system needs --config"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(command, arguments, message):
    result = command(*arguments)
    assert result.returncode == 2, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in result.stderr
