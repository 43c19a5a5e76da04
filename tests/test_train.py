"""A run: from nothing to done, stopped and gone on with bit for bit, refused where it must be."""

import json
import os
import signal

import jax
import numpy as np
import pytest

from ipmedgan_jax import evaluate, experiment, train
from ipmedgan_jax.data import pipeline
from ipmedgan_jax.errors import NOT_FINITE, UserError
from ipmedgan_jax.train import Outcome


def final_state(built, workdir):
    """State and input state of the latest checkpoint."""
    with train.open_checkpoints(built, workdir) as checkpoints:
        return checkpoints.restore(checkpoints.latest_step(), train.initial_state(built))


def assert_same_bits(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_a_run_stopped_at_any_step_and_started_again_ends_on_the_same_bits(tiny_config, tmp_path):
    straight = experiment.build(tiny_config(train__ema=0.9, train__steps=3))
    assert train.train(straight, tmp_path / "straight") is Outcome.FINISHED
    stops = experiment.build(tiny_config(train__ema=0.9, train__steps=3, train__minutes=1e-9))
    outcomes = [train.train(stops, tmp_path / "stopped") for _ in range(4)]
    assert outcomes == [*[Outcome.OUT_OF_TIME] * 2, Outcome.FINISHED, Outcome.ALREADY_DONE]
    (state, place), (other, other_place) = (final_state(straight, tmp_path / name) for name in ("straight", "stopped"))
    assert int(state.step) == 3
    assert_same_bits(state, other)
    assert place == other_place


@pytest.mark.parametrize(("number", "outcome"), [(signal.SIGINT, Outcome.INTERRUPTED), (signal.SIGTERM, Outcome.TERMINATED)])
def test_a_signal_ends_the_run_on_a_checkpoint(tiny_config, tmp_path, monkeypatch, number, outcome):
    built = experiment.build(tiny_config("unet"))
    add = train.MetricsWatch.add

    def signalled(self, step, metrics):
        add(self, step, metrics)
        if step == 3:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(train.MetricsWatch, "add", signalled)
    before = signal.getsignal(number)
    assert train.train(built, tmp_path) is outcome
    assert signal.getsignal(number) is before
    state, _ = final_state(built, tmp_path)
    assert int(state.step) == 3


def test_a_second_ctrl_c_ends_at_once():
    with train.stop_signals() as caught:
        os.kill(os.getpid(), signal.SIGINT)
        assert caught == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_run_leaves_what_design_promises(tiny_config, tmp_path):
    built = experiment.build(tiny_config())
    train.train(built, tmp_path)
    report = evaluate.evaluate_run(built, tmp_path)
    assert report == json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert (report["system"], report["step"], report["subjects"]) == ("ipmedgan", 4, 1)
    wanted = {"ssim", "psnr", "mse", "mae", "uqi", "uqi_sewar", "vgg_distance", "mae_hu", "psnr_of_mean_mse"}
    assert set(report["region"]["hole"]) == wanted
    assert report["data"]["test_subjects"] == ["sub-004"]
    for name in ("config.json", "evaluation/subjects.csv", "evaluation/examples.png", "examples/step_0000004.png"):
        assert (tmp_path / name).stat().st_size > 0
    assert list((tmp_path / "tensorboard").iterdir())


def test_mae_hu_is_the_mean_absolute_error_in_hounsfield_units(tiny_config, tmp_path):
    built = experiment.build(tiny_config())
    report = evaluate.evaluate_classical(built, "surround_mean", tmp_path)
    errors = []
    for each in pipeline.evaluation_slices(built.dataset.directory, "test", built.holes):
        row, column, height, width = each.hole
        hu = np.clip(each.record.intensities(), *each.record.window)
        ring = np.zeros(hu.shape, bool)
        ring[max(row - 3, 0) : row + height + 3, max(column - 3, 0) : column + width + 3] = True
        ring[row : row + height, column : column + width] = False
        errors.append(np.abs(hu[row : row + height, column : column + width] - hu[ring].mean()).mean())
    assert report["region"]["hole"]["mae_hu"]["mean"] == pytest.approx(np.mean(errors), rel=1e-4)


def test_every_system_is_scored_on_the_same_holes(tiny_config, tmp_path, monkeypatch):
    seen = []
    score = train.scoring.SliceScore

    def noted(*arguments):
        seen.append(arguments[:4])
        return score(*arguments)

    monkeypatch.setattr(train.scoring, "SliceScore", noted)
    for system in ("telea", "biharmonic"):
        evaluate.evaluate_classical(experiment.build(tiny_config("unet")), system, tmp_path)
    half = len(seen) // 2
    assert seen[:half] == seen[half:]


def test_the_best_checkpoint_is_kept_and_evaluated(tiny_config, tmp_path, monkeypatch):
    built = experiment.build(
        tiny_config("unet", train__steps=6, train__validate_every=1, train__checkpoint_every=1, train__keep=1)
    )
    made = train.make_validation

    def scored(*arguments):
        validate = made(*arguments)
        return lambda step, state: validate(step, state) | {"psnr": {2: 99.0}.get(step, float(step))}

    monkeypatch.setattr(train, "make_validation", scored)
    train.train(built, tmp_path)
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [2, 6]
    assert evaluate.evaluate_run(built, tmp_path)["step"] == 2
    latest = experiment.build(tiny_config("unet", train__steps=6, evaluation__checkpoint="latest", train__keep=1))
    assert evaluate.evaluate_run(latest, tmp_path)["step"] == 6


def test_evaluation_uses_the_average_where_one_is_kept(tiny_config, tmp_path):
    built = experiment.build(tiny_config("unet", train__ema=0.999))
    train.train(built, tmp_path)
    state, _ = final_state(built, tmp_path)
    with train.open_checkpoints(built, tmp_path) as checkpoints:
        params, _ = train.restore_generator(built, checkpoints, 4)
    assert_same_bits(params, state.average)
    assert not np.array_equal(params["block_0"]["up_1"]["kernel"], state.generator.params["block_0"]["up_1"]["kernel"])


def test_batch_statistics_run_through_training_and_evaluation(tiny_config, tmp_path):
    built = experiment.build(tiny_config(normalisation__statistics="batch"))
    train.train(built, tmp_path)
    with train.open_checkpoints(built, tmp_path) as checkpoints:
        _, statistics = train.restore_generator(built, checkpoints, 4)
    assert any(float(np.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(statistics))
    assert evaluate.evaluate_run(built, tmp_path)["step"] == 4


def test_a_number_that_is_not_finite_stops_the_run_and_names_step_and_term(tiny_config, tmp_path, monkeypatch):
    made = train.compile_update

    def poisoned(*arguments):
        update = made(*arguments)

        def step(state, frozen, batch):
            bad = np.nan if int(state.step) >= 2 else 0.0
            state, metrics = update(state, frozen, batch)
            return state, metrics | {"loss/generator/poisoned": np.float32(bad)}

        return step

    monkeypatch.setattr(train, "compile_update", poisoned)
    built = experiment.build(tiny_config("unet"))
    with pytest.raises(UserError, match="step 3: loss/generator/poisoned is nan") as caught:
        train.train(built, tmp_path)
    assert caught.value.exit_code == NOT_FINITE
    assert int(final_state(built, tmp_path)[0].step) == 2


def test_a_folder_of_another_config_is_refused_and_left_alone(tiny_config, tmp_path):
    train.train(experiment.build(tiny_config("unet")), tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(UserError, match=r"is the run of another config: optimiser\.learning_rate, seed differ"):
        train.train(experiment.build(tiny_config("unet", optimiser__learning_rate=1.0, seed=5)), tmp_path)
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_finished_run_can_be_made_longer(tiny_config, tmp_path):
    train.train(experiment.build(tiny_config("unet")), tmp_path)
    longer = experiment.build(tiny_config("unet", train__steps=6))
    assert train.train(longer, tmp_path) is Outcome.FINISHED
    assert int(final_state(longer, tmp_path)[0].step) == 6


def test_a_folder_that_cannot_be_written_is_named(tiny_config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/run: cannot be written \(Not a directory\): choose another --workdir"):
        train.train(experiment.build(tiny_config("unet")), tmp_path / "file" / "run")


def test_a_damaged_checkpoint_is_named_with_what_to_do(tiny_config, tmp_path):
    built = experiment.build(tiny_config("unet", train__minutes=1e-9))
    train.train(built, tmp_path)
    for path in (tmp_path / "checkpoints" / "1" / "state").rglob("*"):
        if path.is_file() and path.stat().st_size > 200:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"checkpoints/1: damaged or of another system .* delete this folder"):
        train.train(built, tmp_path)
    with pytest.raises(UserError, match="damaged or of another system"):
        evaluate.evaluate_run(built, tmp_path)


def test_a_run_without_checkpoint_cannot_be_evaluated(tiny_config, tmp_path):
    built = experiment.build(tiny_config("unet"))
    train.claim_workdir(built, tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="has no checkpoint yet"):
        evaluate.evaluate_run(built, tmp_path)


def test_a_folder_without_run_cannot_be_evaluated(tiny_config, tmp_path):
    with pytest.raises(UserError, match=r"config.json: not found; --workdir must name a run"):
        evaluate.evaluate_run(experiment.build(tiny_config("unet")), tmp_path)


def test_a_damaged_config_file_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config.json: damaged"):
        train.read_config(tmp_path)


def test_no_place_for_validation_holes_is_said_before_training(tiny_config, tmp_path):
    built = experiment.build(tiny_config("unet", holes__evaluation_min_foreground=1.1))
    with pytest.raises(UserError, match=r"no validation slice has a place for a hole"):
        train.train(built, tmp_path)
