"""Dry runs: the estimate's lines, and nothing left in the run's folder."""

from types import SimpleNamespace

import numpy as np
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.experiment import build
from ipmedgan_jax.training import dry_run, loop


def lines_of(built, workdir):
    """Returns the estimate as {first word: [rests of the lines that begin with it]}."""
    found = {}
    for line in dry_run.estimate(built, workdir):
        word, rest = line.split(maxsplit=1)
        found.setdefault(word, []).append(rest)
    return found


def test_a_dry_run_measures_a_few_steps_and_leaves_no_folder(tiny_config, tmp_path):
    built = build.build_experiment(tiny_config("unet"))
    lines = lines_of(built, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert lines["parameters"][0].startswith("generator ")
    assert lines["left"] == ["4 steps"]
    (step,) = lines["step"]
    seconds = float(step.partition(" s, mean of 2; both sides, steps 1 to 4")[0])
    assert 0 < seconds < 60
    assert float(lines["time"][0].partition(" hours left")[0]) == pytest.approx(4 * seconds / 3600, rel=0.02)
    assert float(lines["memory"][0].partition(" GiB a device as compiled; ")[0]) > 0


@pytest.fixture
def unmeasured(monkeypatch):
    """Nothing is compiled; dispatches take 3 seconds on average."""
    compiled = SimpleNamespace(memory_analysis=lambda: None)
    monkeypatch.setattr(loop, "compile_update", lambda *_: compiled)
    monkeypatch.setattr(dry_run, "time_dispatches", lambda update, state, *_: (state, [2.0, 4.0]))


@pytest.mark.parametrize(
    ("done", "steps", "hours"),
    [
        (0, ["3 s, mean of 2; the generator alone, steps 1 to 20", "1.5 s, mean of 2; both sides, steps 21 to 40"], 90),
        (30, ["1.5 s, mean of 2; both sides, steps 31 to 40"], 15),
        (40, [], 0),
    ],
)
def test_hours_add_up_over_the_phases_that_are_left(tiny_config, tmp_path, monkeypatch, unmeasured, done, steps, hours):
    built = build.build_experiment(
        tiny_config("glcic", train__steps=40, train__generator_alone=0.5, train__discriminators_alone=0.0)
    )
    seconds = {True: [3.0, 3.0], False: [1.0, 2.0]}
    first, _ = built.phases
    monkeypatch.setattr(loop, "compile_update", lambda _, update, __: update)
    monkeypatch.setattr(dry_run, "used_memory", lambda _: "none")
    monkeypatch.setattr(dry_run, "time_dispatches", lambda update, state, *_: (state, seconds[update is first.update]))
    monkeypatch.setattr(dry_run, "latest_step", lambda *_: done)
    lines = lines_of(built, tmp_path)
    assert lines.get("step", []) == steps
    assert lines["left"][0].startswith(f"{40 - done} steps")
    assert float(lines["time"][0].split()[0]) == pytest.approx(hours / 3600, rel=0.01)


def test_seconds_are_given_for_a_step_not_for_a_dispatch(tiny_config, tmp_path, unmeasured):
    built = build.build_experiment(tiny_config("unet", train__steps=4, train__steps_per_dispatch=2))
    lines = lines_of(built, tmp_path)
    assert lines["step"] == ["1.5 s, mean of 2; both sides, steps 1 to 4"]


def test_the_steps_of_an_existing_run_are_subtracted_and_another_config_is_refused(tiny_config, tmp_path, unmeasured):
    built = build.build_experiment(tiny_config("unet"))
    with loop.run_folder.lock_run(built, tmp_path):
        pass
    with loop.run_folder.open_checkpoints(built.training, tmp_path) as checkpoints:
        assert dry_run.latest_step(built, tmp_path) == 0
        checkpoints.save(3, {"x": np.zeros(1)}, {}, None)
    assert lines_of(built, tmp_path)["left"] == [f"1 steps; 3 are done in {tmp_path}"]
    with pytest.raises(UserError, match=r"is the run of another config: generator\.width"):
        lines_of(build.build_experiment(tiny_config("unet", generator__width=3)), tmp_path)
