"""Numbers that are not finite or too large: no checkpoint holds one; the run stops or skips, and says what it was."""

import json
import logging

import jax
import numpy as np
import pytest

from ipmedgan_jax.core.errors import NOT_FINITE, UserError
from ipmedgan_jax.data import pipeline
from ipmedgan_jax.data.slice_source import SliceSource
from ipmedgan_jax.experiment import build, run_folder
from ipmedgan_jax.training import loop, metrics_watch, nonfinite, start
from ipmedgan_jax.training.loop import Outcome
from ipmedgan_jax.training.metrics_watch import MetricsWatch


def state_of(built, workdir, step=None):
    with run_folder.open_checkpoints(built.training, workdir) as checkpoints:
        return checkpoints.restore(step or checkpoints.latest_step(), start.InitialState(built).values())[0]


def assert_same_bits(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def batches_of(built, count, **share):
    """Returns the first batches of the run, or of one of its processes."""
    settings = built.training
    size = settings.batch_size // share.get("processes", 1)
    options = {"batch_size": size, "seed": settings.seed, "threads": 1, "prefetch": 2}
    batches = pipeline.training_batches(built.dataset.directory, built.holes, **options, **share)
    found = [next(batches) for _ in range(count)]
    batches.close()
    return found


@pytest.fixture
def poison(monkeypatch):
    """A function (built, steps): the images of these steps are NaN, in a resumed run too."""
    made = loop.make_add_targets

    def poison_steps(built, steps):
        batches = batches_of(built, max(steps))
        bad = {batches[step - 1]["image"].tobytes() for step in steps}

        def make(experiment):
            add = made(experiment)

            def poisoned(batch):
                is_bad = batch["image"].tobytes() in bad
                return add(batch | {"image": batch["image"] * np.float32(np.nan)} if is_bad else batch)

            return poisoned

        monkeypatch.setattr(loop, "make_add_targets", make)

    return poison_steps


@pytest.mark.parametrize("processes", [1, 2])
def test_the_slices_of_a_step_are_those_of_its_batch(tiny_config, processes):
    built = build.build_experiment(tiny_config("unet", train__batch_size=2))
    source, order = SliceSource(built.dataset.directory, "train"), nonfinite.slices_of_step(built, 9)
    shares = [batches_of(built, 9, process=i, processes=processes)[8]["image"] for i in range(processes)]
    found = [image for images in zip(*shares, strict=True) for image in images]
    assert len(found) == 2
    assert len(source) < 9 * 2  # of a later epoch
    for image, record in zip(found, order, strict=True):
        np.testing.assert_array_equal(image[..., 0], record.image())


def test_a_run_stops_before_it_saves_and_says_where_and_how_to_go_on(tiny_config, tmp_path, poison):
    built = build.build_experiment(tiny_config("unet", train__checkpoint_every=1))
    poison(built, [3])
    expected = (
        r"^step 3: loss/generator/\w+ is nan, its slices are in .*run/nonfinite/step_0000003.json; step 2 is saved and "
        r"finite: the same command with --config.train.on_nonfinite=skip goes on from it; .* --config.train.start_from=.*run "
    )
    with pytest.raises(UserError, match=expected) as caught:
        loop.train(built, tmp_path / "run")
    assert caught.value.exit_code == NOT_FINITE
    assert int(state_of(built, tmp_path / "run").step) == 2
    written = json.loads((tmp_path / "run" / "nonfinite" / "step_0000003.json").read_text())
    assert (written["step"], written["last_saved_step"]) == (3, 2)
    assert written["optimiser"]["learning_rate"] == built.config["optimiser"]["learning_rate"]
    records = nonfinite.slices_of_step(built, 3)
    assert written["slices"] == [{"subject": r.subject, "volume": r.volume, "slice": r.index} for r in records]
    # What the message says to do works.
    skipping = build.build_experiment(tiny_config("unet", train__checkpoint_every=1, train__on_nonfinite="skip"))
    assert loop.train(skipping, tmp_path / "run") is Outcome.FINISHED


def test_a_run_whose_steps_are_all_skipped_is_not_finished(tiny_config, tmp_path, poison):
    built = build.build_experiment(tiny_config("unet", train__steps=2, train__on_nonfinite="skip"))
    poison(built, [1, 2])
    for _ in range(2):  # the same command again does not take it for finished either
        with pytest.raises(UserError, match="all 2 steps were skipped, so nothing was trained; nothing is saved") as caught:
            loop.train(built, tmp_path)
        assert caught.value.exit_code == NOT_FINITE


def test_no_checkpoint_holds_the_huge_parameters_of_a_step_with_finite_losses(tiny_config, tmp_path):
    config = tiny_config("unet", optimiser__learning_rate=1e29, train__checkpoint_every=1)
    with pytest.raises(UserError, match=r"^step 1: generator.params has a number of 1e\+29, .*; nothing is saved"):
        loop.train(build.build_experiment(config), tmp_path)
    assert not [path for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()]


def test_a_checkpoint_of_an_older_version_with_huge_parameters_is_named(tiny_config, tmp_path):
    built = build.build_experiment(tiny_config("unet"))
    state = start.InitialState(built).values()
    huge = state.generator.replace(params=jax.tree.map(lambda x: x + 1e29, state.generator.params))
    with run_folder.lock_run(built, tmp_path), run_folder.open_checkpoints(built.training, tmp_path) as checkpoints:
        checkpoints.save(1, state.replace(step=state.step + 1, generator=huge), {"next_index": 4}, None)
    with pytest.raises(UserError, match=r"checkpoints/1: generator.params has a number of 1e\+29; move this folder away"):
        loop.train(built, tmp_path)


def test_a_skipped_step_changes_nothing_and_is_counted_and_resumes_exactly(tiny_config, tmp_path, poison, caplog):
    changes = {"train__on_nonfinite": "skip", "train__ema": 0.9, "train__validate_every": 9}
    kept = {"train__keep": 9, "train__checkpoint_every": 1}
    built = build.build_experiment(tiny_config(train__steps=5, train__log_every=1, **changes, **kept))
    poison(built, [2, 4])
    with caplog.at_level(logging.WARNING, "absl"):
        assert loop.train(built, tmp_path / "straight") is Outcome.FINISHED
    assert "step 4: loss/" in caplog.text
    assert "skipped, 2 steps since the start" in caplog.text
    assert "2 of 5 steps were skipped" in caplog.text
    events = b"".join(path.read_bytes() for path in (tmp_path / "straight" / "tensorboard").iterdir())
    assert b"skipped_steps" in events
    before, after, later = (state_of(built, tmp_path / "straight", step) for step in (1, 2, 3))
    assert (int(before.step), int(after.step)) == (1, 2)
    for part in ("generator", "discriminators", "average"):
        assert_same_bits(getattr(before, part), getattr(after, part))
    assert any((x != y).any() for x, y in zip(*map(jax.tree.leaves, (after.generator, later.generator)), strict=True))
    for steps in (2, 5):
        loop.train(build.build_experiment(tiny_config(train__steps=steps, **changes)), tmp_path / "stopped")
    straight, stopped = (state_of(built, tmp_path / name) for name in ("straight", "stopped"))
    assert_same_bits(straight.replace(key=0), stopped.replace(key=0))


def test_too_many_skipped_steps_in_a_row_stop_the_run(tiny_config, tmp_path, poison, monkeypatch):
    monkeypatch.setattr(nonfinite, "MOST_SKIPPED", 2)
    built = build.build_experiment(tiny_config("unet", train__on_nonfinite="skip", train__steps=9, train__checkpoint_every=1))
    poison(built, [2, 4, 5])
    with pytest.raises(UserError, match=r"^step 5: .*; 2 steps in a row were skipped: step 4 is saved and finite; this run"):
        loop.train(built, tmp_path)


class NoSteps:
    """Stands in for the reports of steps that are not finite."""

    skipped = 0


@pytest.mark.parametrize(
    ("loss", "real", "saturated"),
    [(0.5, 1.0, False), (2e-4, 9.0, False), (1e-5, 9.0, True), (0.5, 31.0, True), (0.5, -31.0, True)],
)
def test_a_saturated_discriminator_is_told_once(monkeypatch, caplog, loss, real, saturated):
    monkeypatch.setattr(metrics_watch, "SATURATED_STEPS", 3)
    watch = MetricsWatch(NoSteps())
    values = {"loss/discriminator/local": loss, "logit/real/local": real, "logit/fake/local": -1.0}
    with caplog.at_level(logging.WARNING, "absl"):
        for step in range(1, 9):
            quiet = {"loss/discriminator/local": 0.5, "logit/real/local": 0.0} if step == 3 else {}
            watch.add(step, {name: np.array([value]) for name, value in (values | quiet).items()})
        watch.check()
    assert caplog.text.count("discriminator local has been saturated for 3 steps") == saturated
    assert ("step 6: the discriminator local" in caplog.text) == saturated
