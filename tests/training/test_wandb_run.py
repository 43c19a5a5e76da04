"""Weights & Biases, played by a module of that name: off by default, one id for a folder, and no error ends a run."""

import logging
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from ipmedgan_jax.experiment import build
from ipmedgan_jax.training import loop, wandb_run
from ipmedgan_jax.training.summaries import Summaries


class FakeWandb:
    """Records what it is told; methods named in `failing` raise."""

    def __init__(self, *failing):
        self.failing, self.given, self.logged, self.finished = failing, [], [], 0

    def _do(self, name):
        if name in self.failing:
            raise ConnectionError(f"no network for {name}")

    def init(self, **given):
        self._do("init")
        self.given.append(given)
        return SimpleNamespace(log=self.log, finish=self.finish, define_metric=lambda *_, **__: None)

    def log(self, values):
        self._do("log")
        self.logged.append(values)

    def finish(self):
        self._do("finish")
        self.finished += 1

    def Image(self, pixels):
        return pixels.shape


@pytest.fixture
def fake(monkeypatch):
    """A function (*failing) -> the FakeWandb that `import wandb` now gives."""

    def install(*failing):
        monkeypatch.setitem(sys.modules, "wandb", module := FakeWandb(*failing))
        return module

    return install


def test_without_a_project_the_package_is_not_imported(tmp_path, monkeypatch):
    monkeypatch.setattr(wandb_run.importlib, "import_module", lambda name: pytest.fail(name))
    assert wandb_run.start("", tmp_path, {}) is None
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_resumes_goes_on_with_the_same_id(tmp_path, fake):
    module = fake()
    for _ in range(2):
        wandb_run.start("heads", tmp_path, {"system": "unet", "data": {"dir": "/home/x/flair"}}).close()
    (first, second) = module.given
    assert first == second
    assert (first["project"], first["resume"], first["name"]) == ("heads", "allow", tmp_path.name)
    assert first["config"] == {"system": "unet", "data": {"dir": "flair"}}
    assert (tmp_path / wandb_run.ID_FILE).read_text() == first["id"] + "\n"
    assert module.finished == 2
    (tmp_path / wandb_run.ID_FILE).write_text("../../etc\n")
    wandb_run.start("heads", tmp_path, {})
    assert module.given[2]["id"] != first["id"]
    assert "/" not in module.given[2]["id"]


def test_it_gets_what_tensorboard_gets(tmp_path, fake):
    module = fake()
    with Summaries(tmp_path, twin=wandb_run.start("heads", tmp_path, {})) as summaries:
        summaries.scalars(3, {"mae": 1.5}, prefix="validation/")
        summaries.image(3, "examples", np.zeros((4, 5), np.uint8))
    assert module.logged == [{"step": 3, "validation/mae": 1.5}, {"step": 3, "examples": (4, 5)}]
    assert module.finished == 1


@pytest.mark.parametrize("failing", ["init", "log", "finish"])
def test_its_errors_cost_one_warning(tmp_path, fake, caplog, failing):
    fake(failing)
    with caplog.at_level(logging.WARNING, "absl"):
        with Summaries(tmp_path / "events", twin=wandb_run.start("heads", tmp_path, {})) as summaries:
            for step in (1, 2):
                summaries.scalars(step, {"loss": 1.0})
    assert caplog.text.count(f"no network for {failing}") == 1


def test_a_package_that_is_not_installed_is_said_in_one_line(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with caplog.at_level(logging.WARNING, "absl"):
        assert wandb_run.start("heads", tmp_path, {}) is None
    assert [record.getMessage() for record in caplog.records] == [
        "train.wandb_project is 'heads', but wandb is not installed (pip install wandb): nothing is sent"
    ]


def test_an_end_that_never_comes_is_not_waited_for(tmp_path, fake, monkeypatch, caplog):
    module, held = fake(), threading.Event()
    monkeypatch.setattr(module, "finish", held.wait)
    monkeypatch.setattr(wandb_run, "LONGEST_WAIT_S", 0.05)
    with caplog.at_level(logging.WARNING, "absl"):
        wandb_run.start("heads", tmp_path, {}).close()
    held.set()
    assert "not all was sent" in caplog.text


def test_a_run_that_had_no_project_may_resume_with_one(tiny_config, tmp_path, fake):
    module = fake()
    loop.train(build.build_experiment(tiny_config("unet", train__steps=1)), tmp_path)
    assert module.given == []
    loop.train(build.build_experiment(tiny_config("unet", train__steps=2, train__wandb_project="heads")), tmp_path)
    assert [values["step"] for values in module.logged if "images_per_second" in values] == [2]
    assert module.given[0]["config"]["train"]["wandb_project"] == "heads"
