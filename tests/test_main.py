"""The end of a command: exit codes and evaluation."""

import contextlib
import subprocess
import sys
from types import SimpleNamespace

import pytest

from ipmedgan_jax import main
from ipmedgan_jax.configs import demo
from ipmedgan_jax.core.command import Stopped
from ipmedgan_jax.distributed import processes
from ipmedgan_jax.evaluation import evaluate_run
from ipmedgan_jax.experiment import build, saved_config
from ipmedgan_jax.training import loop
from ipmedgan_jax.training.loop import Outcome


@pytest.mark.parametrize(
    ("outcome", "code", "evaluations"),
    [
        (Outcome.INTERRUPTED, 130, 0),
        (Outcome.TERMINATED, 143, 0),
        (Outcome.OUT_OF_TIME, 0, 0),  # the test subjects are evaluated only when a run is finished
        (Outcome.FINISHED, 0, 1),
        (Outcome.ALREADY_DONE, 0, 1),
    ],
)
def test_a_stopped_run_exits_as_shells_have_it_and_a_finished_one_is_evaluated(monkeypatch, outcome, code, evaluations):
    evaluated = []
    given = SimpleNamespace(config=demo.get_config(), workdir="x", dry_run=False)
    monkeypatch.setattr(main, "flags", SimpleNamespace(FLAGS=given))
    monkeypatch.setattr(processes, "start", lambda settings: None)
    monkeypatch.setattr(main.runtime, "set_up", lambda dtype, deterministic: None)  # would change this process's malloc
    built = SimpleNamespace(
        dataset=SimpleNamespace(fingerprint=""),
        training=SimpleNamespace(steps=1),
        features=SimpleNamespace(source=""),
        config={saved_config.LESION_SHAPES: ""},
    )
    monkeypatch.setattr(build, "build_experiment", lambda config: built)
    monkeypatch.setattr(loop, "train", lambda *_: outcome)
    monkeypatch.setattr(evaluate_run, "evaluate_run", lambda *_: evaluated.append(1))
    with pytest.raises(Stopped) if code else contextlib.nullcontext() as caught:
        main.main()
    assert (caught.value.exit_code if code else 0, len(evaluated)) == (code, evaluations)


@pytest.mark.parametrize(
    ("raised", "code"), [("UserError('x', 3)", 3), ("command.Stopped(143)", 143), ("KeyboardInterrupt", 130)]
)
def test_what_ends_a_command_decides_its_exit_code(raised, code):
    lines = (
        "from ipmedgan_jax.core import command",
        "from ipmedgan_jax.core.errors import UserError",
        f"def main(): raise {raised}",
        "command.run_command(main, lambda: None)",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)


@pytest.mark.parametrize(
    ("file", "folder"),
    [("configs/ct.py", "runs/ct"), ("configs/ct.py:medgan", "runs/ct-medgan"), ("small:unet", "runs/small-unet")],
)
def test_a_run_without_workdir_is_named_after_its_config(monkeypatch, file, folder):
    monkeypatch.setattr(main.config_flag, "given", lambda: file)
    assert main.default_workdir() == folder


def test_the_config_s_determinism_is_set_up_before_anything_else(monkeypatch):
    config = demo.get_config().unlock()
    config.train.deterministic = True
    monkeypatch.setattr(main, "flags", SimpleNamespace(FLAGS=SimpleNamespace(config=config)))

    def set_up(dtype, *, deterministic):
        raise Stopped(int(deterministic))

    monkeypatch.setattr(main.runtime, "set_up", set_up)
    with pytest.raises(Stopped) as caught:
        main.main()
    assert caught.value.exit_code == 1
