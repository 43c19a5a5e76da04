"""The console command: its words, its help, and that it runs what `python -m` runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ipmedgan_jax
from ipmedgan_jax import cli
from ipmedgan_jax.core.program import MODULES, as_typed

ROOT = Path(ipmedgan_jax.__file__).parents[1]


def console(*arguments, cwd="/"):
    """As the script that pip makes for it, from a folder that is not the clone's root."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    line = [sys.executable, "-c", "import sys; from ipmedgan_jax.cli import main; sys.exit(main())", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, env=environment, timeout=120, check=False)


def spoken(monkeypatch, capsys, *arguments):
    """(exit code, output, errors) of the console command in this process; not for commands that run."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/ipmedgan", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code, *capsys.readouterr()


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_is_the_package_s(monkeypatch, capsys, flag):
    assert spoken(monkeypatch, capsys, flag) == (0, f"ipmedgan {ipmedgan_jax.__version__}\n", "")


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_names_every_command_with_what_it_does(monkeypatch, capsys, arguments):
    code, output, _ = spoken(monkeypatch, capsys, *arguments)
    assert code == 0
    for word, module in MODULES.items():
        (line,) = [line for line in output.splitlines() if line.startswith(f"  {word} ")]
        description = sys.modules[f"ipmedgan_jax.{module}"].__doc__.splitlines()[0]
        assert line.endswith(description)


def test_every_command_has_a_word():
    commands = {path.stem for path in (ROOT / "ipmedgan_jax").glob("*.py")} - {"__init__", "cli"}
    assert set(MODULES.values()) == commands


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("trian", "error: ipmedgan trian: no such command; did you mean ipmedgan train?\n"),
        ("main", "error: ipmedgan main: no such command; did you mean ipmedgan train?\n"),
        ("xyz", f"error: ipmedgan xyz: no such command; expected one of {', '.join(MODULES)}\n"),
    ],
)
def test_an_unknown_word_names_the_nearest_right_one(monkeypatch, capsys, word, message):
    assert spoken(monkeypatch, capsys, word, "--config=ct") == (2, "", message)


def test_a_command_s_help_shows_the_words_that_were_typed():
    done = console("train", "--help")
    assert done.returncode == 0
    assert "  ipmedgan train --config=mri" in done.stdout
    assert "python -m" not in done.stdout
    assert "\n  --workdir: text; optional\n" in done.stdout
    assert "\n      demo  " in done.stdout


def test_errors_show_the_words_that_were_typed(monkeypatch):
    message = "train it with python -m ipmedgan_jax.main, then python -m ipmedgan_jax.evaluate"
    monkeypatch.setattr(sys, "argv", ["ipmedgan compare"])
    assert as_typed(message) == "train it with ipmedgan train, then ipmedgan evaluate"
    monkeypatch.setattr(sys, "argv", ["/somewhere/ipmedgan_jax/compare.py"])
    assert as_typed(message) == message


def test_a_command_reads_its_flags_and_ends_with_its_exit_code():
    done = console("prepare", "--config=small:unet", "--config.data.image_size=64", "--print_config")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "data.image_size = 64" in lines
    assert "system = 'unet'" in lines
    refused = console("compare", "/nowhere", "--output=x")
    assert refused.returncode == 2
    assert refused.stderr.endswith("error: no run left to compare: evaluate the runs first with ipmedgan evaluate\n")
