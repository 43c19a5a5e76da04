"""The report of a run: written while it trains, from what is in its folder, and never a reason to end it."""

import json
import logging
import os
import re
import shutil
import signal
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from absl import logging as absl_logging
from tensorboardX.proto.summary_pb2 import Summary

from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.evaluation.evaluate_run import evaluate_run
from ipmedgan_jax.experiment import build, folder_lock, run_folder
from ipmedgan_jax.training import loop, messages, run_facts, run_report, validation
from ipmedgan_jax.training.event_reader import EventReader
from ipmedgan_jax.training.summaries import Progress, Summaries

VOID = {"meta", "input", "img", "br"}


class Balanced(HTMLParser):
    """Fails at an end tag that does not match; keeps the text and the tags."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        assert self.open == ["html"], self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.text += data


def page_of(workdir):
    text = (workdir / run_report.REPORT_FILE).read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL).group(1))
    return Balanced(text), data


def drawn(data):
    """Returns {chart title / series: steps} of a page."""
    return {f"{chart['title']}/{line['name']}": line["steps"] for chart in data["charts"] for line in chart["series"]}


@pytest.fixture(scope="module")
def no_hosts():
    return [os.uname().nodename, str(Path.home())]


def test_a_run_of_one_validation_has_its_report(tiny_config, tmp_path, no_hosts):
    built = build.build_experiment(tiny_config("unet"))
    loop.train(built, tmp_path)
    page, data = page_of(tmp_path)
    assert data["state"]["name"] == "finished"
    assert "Step 4 of 4 (100 %)" in page.text
    assert drawn(data)["Validation: psnr/psnr"] == [4]
    assert drawn(data)["Generator loss, terms/l1"] == [2, 3, 4]
    assert data["examples"] == [{"step": 4, "file": "examples/step_0000004.png"}]
    assert "generator.width" in page.text
    assert "12 slices of 2 subjects" in page.text
    assert "Not evaluated yet" in page.text
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert not [name for name in no_hosts if len(name) > 2 and name in page.text]


def test_curves_of_a_stopped_and_a_killed_run_are_those_of_its_event_files(tiny_config, tmp_path, monkeypatch):
    config = tiny_config("unet", train__log_every=1, train__checkpoint_every=2, train__steps=6)
    built = build.build_experiment(config)
    add = loop.MetricsWatch.add

    def killed(self, step, metrics):
        add(self, step, metrics)
        if step == 5:
            raise KeyboardInterrupt  # as a second Ctrl-C: nothing is saved

    with monkeypatch.context() as patch:
        patch.setattr(loop.MetricsWatch, "add", killed)
        with pytest.raises(KeyboardInterrupt):
            loop.train(built, tmp_path)
    page, data = page_of(tmp_path)
    assert data["state"]["name"] == "stopped"
    assert "Stopped without saving (KeyboardInterrupt)" in page.text
    loop.train(built, tmp_path)
    page, data = page_of(tmp_path)
    reader = EventReader(tmp_path / "tensorboard")
    reader.update()
    steps, values = reader.scalars["loss/generator/l1"].arrays()
    assert steps.tolist() == [1, 2, 3, 4, 5, 6]
    (line,) = [line for chart in data["charts"] if chart["title"] == "Generator loss, terms" for line in chart["series"]]
    np.testing.assert_allclose(line["values"], values, rtol=1e-5)
    assert line["steps"] == steps.tolist()
    assert data["marks"] == [{"step": 5, "text": "resumed"}]


def test_a_signal_leaves_a_report_of_a_stopped_run(tiny_config, tmp_path, monkeypatch):
    add = loop.MetricsWatch.add

    def signalled(self, step, metrics):
        add(self, step, metrics)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop.MetricsWatch, "add", signalled)
    loop.train(build.build_experiment(tiny_config("unet")), tmp_path)
    page, data = page_of(tmp_path)
    assert data["state"]["name"] == "stopped"
    assert "Step 1 of 4" in page.text


def test_an_error_that_ends_a_run_is_in_its_report(tiny_config, tmp_path, monkeypatch):
    def fail(self, step, metrics):
        raise UserError(f"{tmp_path}/run: step 1: loss is nan", 3)

    monkeypatch.setattr(loop.MetricsWatch, "add", fail)
    with pytest.raises(UserError):
        loop.train(build.build_experiment(tiny_config("unet")), tmp_path / "run")
    page, data = page_of(tmp_path / "run")
    assert data["state"]["name"] == "failed"
    assert "run: step 1: loss is nan" in page.text
    assert str(tmp_path) not in page.text


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("no such thing")])
def test_a_report_that_cannot_be_written_costs_one_warning(tiny_config, tmp_path, monkeypatch, caplog, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(run_report, "page", fail)
    with caplog.at_level(logging.WARNING, "absl"):
        assert loop.train(build.build_experiment(tiny_config("unet")), tmp_path) is loop.Outcome.FINISHED
    assert caplog.text.count("report.html: cannot be written") == 1


@pytest.mark.parametrize("another", [False, True])
def test_no_page_is_written_where_the_folder_was_moved_away(tiny_config, tmp_path, caplog, another):
    built, workdir = build.build_experiment(tiny_config("unet")), tmp_path / "run"
    progress = Progress(0, 4, shown=False)
    with Summaries(workdir / "tensorboard") as summaries, caplog.at_level(logging.WARNING, "absl"):
        with run_report.RunReport(built, workdir, summaries, progress, 0, shown=True) as report:
            workdir.rename(tmp_path / "moved")
            if another:
                workdir.mkdir()
            report.write(2)
    assert list(tmp_path.glob("run/*")) == []
    assert workdir.exists() == another
    assert caplog.text.count("the run's folder was moved or deleted") == 1


def test_an_evaluation_adds_its_scores_and_a_run_without_a_report_gets_one(tiny_config, tmp_path):
    built = build.build_experiment(tiny_config("unet"))
    loop.train(built, tmp_path)
    evaluate_run(built, tmp_path)
    for name in ("report.html", "data.json"):  # as a run of an older version
        (tmp_path / name).unlink()
    shutil.rmtree(tmp_path / "examples")
    run_report.refresh(built, tmp_path)
    page, data = page_of(tmp_path)
    assert data["state"]["name"] == "finished"
    assert "Step 4: 6 slices of 1 test subject." in page.text
    assert "No picture yet" in page.text
    shutil.rmtree(tmp_path / "tensorboard")
    (tmp_path / "config.json").write_text("{")
    run_report.refresh(built, tmp_path)
    page, _ = page_of(tmp_path)
    assert "No curve yet" in page.text
    assert "Not known: the run is older" in page.text


def test_settings_of_a_system_without_a_paper_are_not_called_published(tiny_config, tmp_path):
    experiment = build.build_experiment(tiny_config("unet"))
    run_report._write_page(experiment, tmp_path, EventReader(tmp_path / "tensorboard"), 0, "stopped")
    page = (tmp_path / "report.html").read_text()
    assert '<th scope="col">default</th>' in page
    assert '<th scope="col">published</th>' not in page
    used, _, unused = page.partition("Changed, but no step of this system uses it")
    assert "discriminator.width" in unused.partition("<details")[0]
    assert "discriminator.width" not in used


def test_a_run_that_trains_keeps_its_own_report(tiny_config, tmp_path):
    built = build.build_experiment(tiny_config("unet"))
    with run_folder.lock_run(built, tmp_path):
        assert folder_lock.is_held(tmp_path)
        run_report.refresh(built, tmp_path)
    assert not (tmp_path / "report.html").exists()
    assert not folder_lock.is_held(tmp_path)


def test_names_from_outside_are_plain_text(tiny_config, tmp_path):
    workdir = tmp_path / "<script>alert(1)<"
    built = build.build_experiment(tiny_config("unet"))
    with run_folder.lock_run(built, workdir):
        run_folder.open_checkpoints(built.training, workdir).__enter__()
    with Summaries(workdir / "tensorboard") as summaries:
        summaries._write(1, Summary(value=[Summary.Value(tag="</script><b>", simple_value=1.0)]))
        summaries.text(1, messages.TAG, "<img src=x>")
    report = {"region": {"<i>": {"<u>": {"mean": 1.0}}}, "slices": 1, "subjects": 1, "data": {"split": "<s>"}}
    (workdir / "evaluation").mkdir()
    files.write_json(workdir / "evaluation" / "metrics.json", report)
    run_report.refresh(built, workdir)
    page, data = page_of(workdir)
    assert not {"i", "u", "s"} & {tag for tag, _ in page.tags}
    assert "<img src=x>" in page.text
    assert data["charts"][0]["series"][0]["name"] == "</script><b>"


def test_warnings_are_kept_beside_the_curves_once(tmp_path):
    with Summaries(tmp_path / "tensorboard") as summaries, messages.Messages(tmp_path, summaries) as kept:
        absl_logging.warning("of a library, or of a test")
        (tmp_path / "examples").touch()
        for step in range(30):
            validation.save_example(np.zeros((4, 4), np.uint8), tmp_path / "examples", step)
        kept.write(7)
        kept.write(8)
    validation.save_example(np.zeros((4, 4), np.uint8), tmp_path / "examples", 31)
    reader = EventReader(tmp_path / "tensorboard")
    reader.update()
    ((step, text),) = reader.texts[messages.TAG]
    assert step == 7
    assert text.splitlines()[-1] == "and 10 more warnings"
    assert re.match(
        rf"{tmp_path.name}/examples/step_0000000.png: cannot be written \(.+\); the run goes on$", text.splitlines()[0]
    )
    assert logging.getLogger("absl").handlers.count(kept) == 0


def test_steps_that_were_skipped_are_among_the_messages(tiny_config, tmp_path):
    built = build.build_experiment(tiny_config("unet"))
    loop.train(built, tmp_path)
    (tmp_path / "nonfinite").mkdir()
    files.write_json(tmp_path / "nonfinite" / "step_0000003.json", {"step": 3, "problem": "loss/x is nan", "slices": ["Doe"]})
    (tmp_path / "nonfinite" / "step_0000004.json").write_text("[]")
    run_report.refresh(built, tmp_path)
    page, _ = page_of(tmp_path)
    assert "step 3 not finite: loss/x is nan" in page.text
    assert "Doe" not in page.text


def test_text_loses_homes_accounts_and_the_machine_s_name(tmp_path, monkeypatch):
    monkeypatch.setenv("USER", "doe")
    monkeypatch.setattr(run_facts.socket, "gethostname", lambda: "node17")
    text = f"/home/anna/data /scratch/doe/flair --coordinator=node17:80 {tmp_path}/x"
    assert run_facts.shareable(text, tmp_path) == f"~/data /scratch/USER/flair --coordinator=HOST:80 {tmp_path.name}/x"


def test_commands_do_not_name_subjects(tmp_path):
    made = {"command": "train '--config.data.test_subjects=('\"'\"'Doe'\"'\"',)' --workdir=x", "devices": {"cpu": 2}}
    files.write_json(tmp_path / "config.json", {"provenance": [made, made]})
    rows = run_facts.environment_rows(tmp_path)
    assert len(rows) == 2
    assert dict(rows[0]) == {"command": "train --config.data.test_subjects=... --workdir=x", "devices": "2 x cpu"}


def test_tensorboard_has_settings_data_and_environment_as_tables(tiny_config, tmp_path):
    built = build.build_experiment(tiny_config("unet"))
    with run_folder.lock_run(built, tmp_path), Summaries(tmp_path / "tensorboard") as summaries:
        run_report.write_texts(built, tmp_path, summaries, 0)
    reader = EventReader(tmp_path / "tensorboard")
    reader.update()
    texts = {name: text for name, [(_, text)] in reader.texts.items()}
    assert set(texts) == {"settings", "data", "environment"}
    lines = texts["settings"].splitlines()
    assert lines[2].startswith("| **")
    assert lines[-1].startswith("| vgg19") or not lines[-1].startswith("| **")
    assert "| train | 12 slices of 2 subjects |" in texts["data"]
    assert "| jax | " in texts["environment"]
