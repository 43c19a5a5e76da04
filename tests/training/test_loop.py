"""Training runs: start, stop, bit-exact resume, evaluation, and refusals."""

import dataclasses
import json
import logging
import os
import re
import shutil
import signal
import time

import jax
import numpy as np
import pytest

from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import NOT_FINITE, UserError
from ipmedgan_jax.data import pipeline
from ipmedgan_jax.evaluation import scoring
from ipmedgan_jax.evaluation.evaluate_run import evaluate_classical, evaluate_run
from ipmedgan_jax.experiment import build, checkpoint_manager, run_folder, saved_config
from ipmedgan_jax.experiment.datasets import digest_of_shapes
from ipmedgan_jax.training import dry_run, loop, signals, start, validation
from ipmedgan_jax.training.loop import Outcome


def final_state(built, workdir):
    """Returns state and input state of the latest checkpoint."""
    with run_folder.open_checkpoints(built.training, workdir) as checkpoints:
        return checkpoints.restore(checkpoints.latest_step(), start.InitialState(built).values())


def restored(built, workdir, step):
    """Returns the parameters and statistics that fill images at test time."""
    with run_folder.open_checkpoints(built.training, workdir) as checkpoints:
        return run_folder.restore_generator(
            built.system, built.dataset.image_size, uses_ema=built.uses_ema, checkpoints=checkpoints, step=step
        )


def begin(built, workdir):
    """Makes a run's folder with an empty checkpoint: all that another process looks at before it reads the checkpoint."""
    with run_folder.lock_run(built, workdir):
        (workdir / "checkpoints" / "1").mkdir(parents=True)


def assert_same_bits(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_a_run_that_was_stopped_and_resumed_ends_on_the_same_bits(tiny_config, tmp_path):
    straight = build.build_experiment(tiny_config(train__ema=0.9, train__steps=3))
    assert loop.train(straight, tmp_path / "straight") is Outcome.FINISHED
    plans = [{"train__steps": 1}, {"train__minutes": 1e-9}, {}, {}]  # one step; longer, but out of time; to the end; again
    outcomes = [
        loop.train(build.build_experiment(tiny_config(**{"train__ema": 0.9, "train__steps": 3} | plan)), tmp_path / "stopped")
        for plan in plans
    ]
    assert outcomes == [Outcome.FINISHED, Outcome.OUT_OF_TIME, Outcome.FINISHED, Outcome.ALREADY_DONE]
    (state, input_state), (other, other_input) = (final_state(straight, tmp_path / name) for name in ("straight", "stopped"))
    assert int(state.step) == 3
    assert_same_bits(state, other)
    assert input_state == other_input


def test_a_run_starts_from_the_generator_that_fills_for_another(tiny_config, tmp_path):
    first = build.build_experiment(tiny_config("unet", train__ema=0.9, train__steps=2))
    loop.train(first, tmp_path / "first")
    params, _ = restored(first, tmp_path / "first", 2)
    changes = {"train__ema": 0.9, "train__steps": 1, "optimiser__learning_rate": 0.0, "seed": 3}
    second = build.build_experiment(tiny_config("unet", train__start_from=str(tmp_path / "first"), **changes))
    loop.train(second, tmp_path / "second")
    state, _ = final_state(second, tmp_path / "second")
    assert_same_bits(state.generator.params, params)
    jax.tree.map(lambda mean, value: np.testing.assert_allclose(mean, value, rtol=1e-6), state.average.params, params)


@pytest.mark.parametrize("command", [loop.train, lambda *arguments: list(dry_run.estimate(*arguments))])
def test_a_folder_without_a_run_to_start_from_is_named_and_leaves_nothing(command, tiny_config, tmp_path):
    config = tiny_config("unet", train__start_from=str(tmp_path / "nothing"))
    with pytest.raises(UserError, match=r"config.train.start_from is .*nothing"):
        command(build.build_experiment(config), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_does_not_start_from_another_network(tiny_config, tmp_path):
    loop.train(build.build_experiment(tiny_config("unet", train__steps=1)), tmp_path / "first")
    wider = build.build_experiment(tiny_config("unet", train__start_from=str(tmp_path / "first"), generator__width=4))
    with pytest.raises(UserError, match=r"train.start_from.*other networks or widths"):
        loop.train(wider, tmp_path / "second")


@pytest.mark.slow
def test_steps_do_not_depend_on_how_many_are_in_a_dispatch(tiny_config, tmp_path):
    one, two = (build.build_experiment(tiny_config(train__steps_per_dispatch=n, train__steps=4)) for n in (1, 2))
    loop.train(one, tmp_path / "one")
    loop.train(two, tmp_path / "two")
    (state, _), (other, _) = (final_state(built, tmp_path / name) for built, name in ((one, "one"), (two, "two")))
    assert int(other.step) == 4
    for x, y in zip(jax.tree.leaves(state.generator.params), jax.tree.leaves(other.generator.params), strict=True):
        np.testing.assert_allclose(y, x, atol=2e-5)  # two programs round differently


def test_ctrl_c_ends_the_run_on_a_checkpoint(tiny_config, tmp_path, monkeypatch):
    built = build.build_experiment(tiny_config("unet"))
    add = loop.MetricsWatch.add

    def signalled(self, step, metrics):
        add(self, step, metrics)
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(loop.MetricsWatch, "add", signalled)
    before = signal.getsignal(signal.SIGINT)
    assert loop.train(built, tmp_path) is Outcome.INTERRUPTED
    assert signal.getsignal(signal.SIGINT) is before
    state, _ = final_state(built, tmp_path)
    assert int(state.step) == 3


@pytest.mark.parametrize("first", [None, signal.SIGINT], ids=["after the last step", "after another signal"])
def test_a_signal_while_the_last_checkpoint_is_written_loses_nothing(tiny_config, tmp_path, monkeypatch, first):
    built = build.build_experiment(tiny_config("unet", train__steps=3 if first else 2, train__checkpoint_every=1))
    sync, add, late = files.sync_tree, loop.MetricsWatch.add, []

    def signalled(self, step, metrics):
        add(self, step, metrics)
        if step == 2 and first:
            os.kill(os.getpid(), first)

    def slow_sync(folder):
        if folder.name.startswith("2."):
            time.sleep(0.3)  # the loop has ended meanwhile
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
        sync(folder)

    monkeypatch.setattr(loop.MetricsWatch, "add", signalled)
    monkeypatch.setattr(checkpoint_manager.files, "sync_tree", slow_sync)
    before = signal.signal(signal.SIGTERM, lambda *_: late.append(True))
    try:
        assert loop.train(built, tmp_path) is (Outcome.INTERRUPTED if first else Outcome.TERMINATED)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not late  # all signals were caught by the loop
    assert int(final_state(built, tmp_path)[0].step) == 2


def test_sigterm_and_ctrl_c_have_different_outcomes():
    with signals.stop_signals() as caught:
        os.kill(os.getpid(), signal.SIGTERM)
    assert loop.outcome_of(caught) is Outcome.TERMINATED


def test_a_second_ctrl_c_ends_at_once():
    with signals.stop_signals() as caught:
        os.kill(os.getpid(), signal.SIGINT)
        assert caught == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
def test_a_run_s_folder_has_all_its_files(tiny_config, tmp_path, caplog):
    built = build.build_experiment(tiny_config(loss__style=1e-4))
    with caplog.at_level(logging.INFO, "absl"):
        loop.train(built, tmp_path)
    for line in (
        "system      ipmedgan on 4 x",
        "parameters  generator",
        "slices      train",
        "steps an epoch",
        "compiled    in",
    ):
        assert line in caplog.text, line
    events = b"".join(path.read_bytes() for path in (tmp_path / "tensorboard").iterdir())
    for tag in (
        *("loss/generator/local", "loss/generator_weighted/style", "gradient_norm/generator", "gradient_norm/local"),
        *("logit/real/global", "logit/fake/local", "images_per_second", "validation/psnr"),
        "validation/examples",
    ):
        assert tag.encode() in events, tag
    report = evaluate_run(built, tmp_path)
    assert report == json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert (report["system"], report["step"], report["subjects"]) == ("ipmedgan", 4, 1)
    expected = {"ssim", "psnr", "mse", "mae", "uqi", "uqi_sewar", "vgg_distance", "mae_hu", "psnr_of_mean_mse"}
    assert set(report["region"]["hole"]) == expected
    assert report["data"]["subjects"] == ["sub-004"]
    for name in ("config.json", "evaluation/subjects.csv", "evaluation/examples.png", "examples/step_0000004.png"):
        assert (tmp_path / name).stat().st_size > 0


def test_mae_hu_is_the_mean_absolute_error_in_hounsfield_units(tiny_config, tmp_path):
    built = build.build_experiment(tiny_config())
    report = evaluate_classical(built, "surround_mean", tmp_path)
    errors = []
    for evaluation_slice in pipeline.evaluation_slices(built.dataset.directory, "test", built.holes):
        record, (row, column, height, width) = evaluation_slice.record, evaluation_slice.hole
        hu = np.clip(record.intensities(), *record.window)
        ring = np.zeros(hu.shape, bool)
        ring[max(row - 3, 0) : row + height + 3, max(column - 3, 0) : column + width + 3] = True
        ring[row : row + height, column : column + width] = False
        errors.append(np.abs(hu[row : row + height, column : column + width] - hu[ring].mean()).mean())
    assert report["region"]["hole"]["mae_hu"]["mean"] == pytest.approx(np.mean(errors), rel=1e-4)


def test_evaluation_on_the_validation_split_scores_no_test_subject(tiny_config, tmp_path):
    built = build.build_experiment(tiny_config(evaluation__split="validation"))
    report = evaluate_classical(built, "surround_mean", tmp_path)
    assert (report["data"]["split"], report["data"]["subjects"]) == ("validation", ["sub-003"])
    assert "sub-004" not in (tmp_path / "evaluation" / "slices.csv").read_text()


def test_every_system_is_scored_on_the_same_holes(tiny_config, tmp_path, monkeypatch):
    holes = []
    score = scoring.SliceScore

    def recorded(*arguments):
        holes.append(arguments[:4])
        return score(*arguments)

    monkeypatch.setattr(scoring, "SliceScore", recorded)
    for system in ("telea", "biharmonic"):
        evaluate_classical(build.build_experiment(tiny_config("unet")), system, tmp_path)
    half = len(holes) // 2
    assert half
    assert holes[:half] == holes[half:]


def test_evaluation_holes_depend_neither_on_the_system_nor_on_the_seed_of_training(tiny_config):
    here = build.build_experiment(tiny_config()).holes
    for name in ("unet", "medgan"):
        other = build.build_experiment(tiny_config(name, seed=7, holes__min_foreground=0.0)).holes
        assert dataclasses.replace(other, min_foreground=here.min_foreground) == here


def test_the_best_checkpoint_is_kept_and_evaluated(tiny_config, tmp_path, monkeypatch):
    built = build.build_experiment(
        tiny_config("unet", train__steps=3, train__validate_every=1, train__checkpoint_every=1, train__keep=1)
    )
    made = validation.make_validation

    def scored(*arguments):
        validate = made(*arguments)
        return lambda step, state: validate(step, state) | {"psnr": {2: 99.0}.get(step, float(step))}

    monkeypatch.setattr(validation, "make_validation", scored)
    loop.train(built, tmp_path)
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [2, 3]
    assert evaluate_run(built, tmp_path)["step"] == 2
    assert evaluate_run(built, tmp_path, "3")["step"] == 3
    latest = build.build_experiment(tiny_config("unet", train__steps=3, evaluation__checkpoint="latest", train__keep=1))
    assert evaluate_run(latest, tmp_path)["step"] == 3


def test_evaluation_uses_the_average_where_one_is_kept(tiny_config, tmp_path):
    built = build.build_experiment(tiny_config("unet", train__ema=0.999))
    loop.train(built, tmp_path)
    state, _ = final_state(built, tmp_path)
    params, _ = restored(built, tmp_path, 4)
    assert_same_bits(params, state.average.params)
    assert_same_bits(validation.generator_variables(state)[0], state.average.params)
    assert not np.array_equal(params["block_0"]["up_1"]["kernel"], state.generator.params["block_0"]["up_1"]["kernel"])


def test_running_averages_of_batch_statistics_are_trained_saved_and_evaluated(tiny_config, tmp_path):
    built = build.build_experiment(tiny_config("unet", normalisation__statistics="batch"))
    loop.train(built, tmp_path)
    _, statistics = restored(built, tmp_path, 4)
    means = [leaf for path, leaf in jax.tree.leaves_with_path(statistics) if path[-1].key == "mean"]
    assert means
    assert all(float(np.abs(mean).max()) > 0 for mean in means)
    assert evaluate_run(built, tmp_path)["step"] == 4


def test_a_number_that_is_not_finite_stops_the_run_and_names_step_and_term(tiny_config, tmp_path, monkeypatch):
    made = loop.compile_update

    def poisoned(*arguments):
        update = made(*arguments)

        def step(state, frozen, batch):
            bad = np.nan if int(state.step) >= 2 else 0.0
            state, metrics = update(state, frozen, batch)
            return state, metrics | {"loss/generator/poisoned": np.array([bad])}

        return step

    monkeypatch.setattr(loop, "compile_update", poisoned)
    built = build.build_experiment(tiny_config("unet"))
    with pytest.raises(
        UserError, match=r"step 3: loss/generator/poisoned is nan, its slices are in .*step_0000003.json; step 2 is saved"
    ) as caught:
        loop.train(built, tmp_path)
    assert caught.value.exit_code == NOT_FINITE
    assert int(final_state(built, tmp_path)[0].step) == 2


def test_a_folder_of_another_config_is_refused_and_not_changed(tiny_config, tmp_path):
    begin(build.build_experiment(tiny_config("unet")), tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(UserError, match=r"is the run of another config: optimiser\.learning_rate, seed differ"):
        loop.train(build.build_experiment(tiny_config("unet", optimiser__learning_rate=1.0, seed=5)), tmp_path)
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_run_of_the_former_ipmedgan_plus_is_named_when_the_new_one_would_resume_it(tiny_config, tmp_path):
    old = saved_config.as_json(tiny_config("casnet_plus")) | {"system": "ipmedgan_plus"}
    for group, name in (("generator", "noise"), ("generator", "opposite"), ("data", "window")):
        del old[group][name]
    (tmp_path / "checkpoints" / "2").mkdir(parents=True)
    (tmp_path / "config.json").write_text(json.dumps(old))
    with pytest.raises(UserError, match=r"the system that was named ipmedgan_plus and is now casnet_plus: resume it with"):
        run_folder.check_same_run(build.build_experiment(tiny_config("ipmedgan_plus", generator__width=8)), tmp_path)
    built = build.build_experiment(tiny_config("casnet_plus"))
    (tmp_path / "config.json").write_text(json.dumps(old | {"dataset": built.dataset.fingerprint}))
    run_folder.check_same_run(built, tmp_path)
    assert run_folder.read_inference(tmp_path).name == "casnet_plus"
    assert run_folder.read_experiment(tmp_path).name == "casnet_plus"


def test_a_run_on_other_data_is_refused(tiny_config, tmp_path):
    begin(build.build_experiment(tiny_config("unet")), tmp_path)
    other = build.build_experiment(tiny_config("unet", data__dir="", phantom__subjects=4, phantom__slices=2))
    with pytest.raises(UserError, match=r"is a run on other data than .*choose another --workdir"):
        loop.train(other, tmp_path)
    with pytest.raises(UserError, match="is a run on other data than"):
        evaluate_run(other, tmp_path)


@pytest.mark.parametrize(
    ("key", "setting"), [("lesion_shapes", "holes.lesions"), ("vgg19_source", "vgg19.weights")], ids=lambda value: value
)
def test_a_run_whose_other_input_files_changed_is_not_resumed_but_evaluated(tiny_config, tmp_path, key, setting):
    built = build.build_experiment(tiny_config("unet"))
    begin(dataclasses.replace(built, config=built.config | {key: "another"}), tmp_path)
    with pytest.raises(UserError, match=rf"config\.{setting} held something else when the run began"):
        run_folder.check_same_run(built, tmp_path)
    run_folder.check_same_run(built, tmp_path, resumes=False)


def test_a_run_that_is_resumed_with_other_validation_slices_warns(tiny_config, tmp_path, caplog):
    begin(build.build_experiment(tiny_config("unet")), tmp_path)
    run_folder.check_same_run(build.build_experiment(tiny_config("unet", train__validation_slices=3)), tmp_path)
    assert "train.validation_slices was" in caplog.text


def test_lesions_in_another_order_or_shape_are_other_lesions():
    a, b = np.ones((2, 3), bool), np.eye(3, dtype=bool)
    digests = [digest_of_shapes(shapes) for shapes in ([a, b], [b, a], [a], [a.T], [])]
    assert len(set(digests)) == 5
    assert digests[-1] == ""


def test_a_run_s_data_may_be_moved(tiny_config, phantom_data, tmp_path):
    shutil.copytree(phantom_data, tmp_path / "moved")
    begin(build.build_experiment(tiny_config("unet")), tmp_path / "run")
    moved = build.build_experiment(tiny_config("unet", data__dir=str(tmp_path / "moved")))
    run_folder.check_same_run(moved, tmp_path / "run")
    assert run_folder.read_experiment(tmp_path / "run", str(tmp_path / "moved")).dataset.directory == tmp_path / "moved"


def test_a_folder_without_checkpoint_accepts_another_config(tiny_config, tmp_path):
    for seed in (0, 1):
        built = build.build_experiment(tiny_config("unet", seed=seed))
        with run_folder.lock_run(built, tmp_path):
            assert run_folder.read_config(tmp_path) == built.config


def test_a_folder_with_checkpoints_but_no_config_is_refused(tiny_config, tmp_path):
    built = build.build_experiment(tiny_config("unet"))
    begin(built, tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match=r"config\.json: not found"):
        loop.train(built, tmp_path)


def test_two_processes_do_not_train_in_one_folder(tiny_config, tmp_path):
    built = build.build_experiment(tiny_config("unet"))
    with run_folder.lock_run(built, tmp_path):
        with pytest.raises(UserError, match="another process is training there"):
            loop.train(built, tmp_path)


def test_a_file_in_the_place_of_the_checkpoints_is_to_be_moved_away(tiny_config, tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(UserError, match=r"checkpoints: not a folder, .*; move it away"):
        with run_folder.lock_run(build.build_experiment(tiny_config("unet")), tmp_path):
            pass


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_is_moved_while_it_is_trained_is_not_made_again(tiny_config, tmp_path, replaced):
    run = tmp_path / "run"
    with run_folder.lock_run(build.build_experiment(tiny_config("unet")), run) as check_place:
        check_place(4)
        run.rename(tmp_path / "moved")
        if replaced:
            run.mkdir()
            (run / "lock").write_text("of another run")
        with pytest.raises(UserError, match=r"run: was moved or deleted, .*step 4 is the last one saved"):
            check_place(4)
    assert run.exists() == replaced


def test_nothing_is_written_where_a_folder_was_moved_away(tiny_config, tmp_path, monkeypatch):
    save = loop.run_folder.Checkpoints.save

    def save_and_move(checkpoints, step, *rest):
        save(checkpoints, step, *rest)
        (tmp_path / "run").rename(tmp_path / "moved")

    monkeypatch.setattr(loop.run_folder.Checkpoints, "save", save_and_move)
    with pytest.raises(UserError, match="run: was moved or deleted"):
        loop.train(build.build_experiment(tiny_config("unet", train__steps=2, train__checkpoint_every=1)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_not_shared_by_all_processes_is_refused(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "STALE_VIEW_S", 0)
    (tmp_path / "lock").write_text("of an earlier run")
    with pytest.raises(UserError, match="all processes must see one --workdir"):
        run_folder._check_shared(tmp_path, "token")
    with run_folder.lock_run(build.build_experiment(tiny_config("unet")), tmp_path):
        run_folder._check_shared(tmp_path, (tmp_path / "lock").read_text())
        assert (tmp_path / "lock").read_text() != "of an earlier run"


def test_a_classical_fill_does_not_overwrite_a_run(tiny_config, tmp_path):
    built = build.build_experiment(tiny_config("unet"))
    begin(built, tmp_path)
    with pytest.raises(UserError, match="holds a trained run, whose scores would be lost"):
        evaluate_classical(built, "telea", tmp_path)


def test_an_evaluation_that_cannot_be_written_is_named(tiny_config, tmp_path):
    (tmp_path / "evaluation").touch()
    with pytest.raises(UserError, match=r"evaluation: cannot be written \(File exists\)"):
        evaluate_classical(build.build_experiment(tiny_config("unet")), "surround_mean", tmp_path)


def test_a_batch_that_does_not_divide_over_the_devices_is_refused(tiny_config, tmp_path):
    with pytest.raises(UserError, match=r"batch_size 6 does not divide over 4 device.*nearest sizes 4 or 8"):
        loop.train(build.build_experiment(tiny_config(train__batch_size=6)), tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tiny_config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/run: cannot be written \(Not a directory\): choose another --workdir"):
        loop.train(build.build_experiment(tiny_config("unet")), tmp_path / "file" / "run")


def test_the_error_for_a_damaged_checkpoint_names_it_and_says_what_to_do(tiny_config, tmp_path):
    built = build.build_experiment(tiny_config("unet", train__minutes=1e-9))
    loop.train(built, tmp_path)
    for path in (tmp_path / "checkpoints" / "1" / "state").rglob("*"):
        if path.is_file() and path.stat().st_size > 200:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"checkpoints/1: damaged \(state.*; no checkpoint of this run is whole"):
        loop.train(built, tmp_path)
    with pytest.raises(UserError, match=r"checkpoints/1: damaged \(state.*; no other one of this run is whole"):
        evaluate_run(built, tmp_path)


def test_a_finished_run_whose_last_checkpoint_is_damaged_ends_on_the_same_bits_again(tiny_config, tmp_path, caplog):
    built = build.build_experiment(tiny_config("unet", train__steps=3, train__checkpoint_every=1))
    assert loop.train(built, tmp_path) is Outcome.FINISHED
    state, input_state = final_state(built, tmp_path)
    (tmp_path / "checkpoints" / "3" / "input" / "metadata").write_text('{"next_index": 0}')
    assert loop.train(built, tmp_path) is Outcome.FINISHED
    assert re.search(r"/3: damaged \(input/metadata: .*\); moved to .*/damaged/3, step 2 is used instead", caplog.text)
    again, again_input = final_state(built, tmp_path)
    assert_same_bits(again, state)
    assert again_input == input_state
    assert loop.train(built, tmp_path) is Outcome.ALREADY_DONE


def test_a_run_without_checkpoint_cannot_be_evaluated(tiny_config, tmp_path):
    built = build.build_experiment(tiny_config("unet"))
    with run_folder.lock_run(built, tmp_path):
        (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="has no checkpoint yet"):
        evaluate_run(built, tmp_path)


def test_a_folder_without_run_cannot_be_evaluated(tiny_config, tmp_path):
    with pytest.raises(UserError, match=r"config.json: not found; expected the folder of a run"):
        evaluate_run(build.build_experiment(tiny_config("unet")), tmp_path)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_config_file_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config.json: damaged"):
        run_folder.read_config(tmp_path)


def test_the_experiment_can_be_read_back_from_a_run_s_folder(tiny_config, tmp_path):
    built = build.build_experiment(tiny_config("medgan"))
    begin(built, tmp_path)
    assert run_folder.read_experiment(tmp_path).config == built.config


def test_a_lack_of_validation_holes_is_reported_before_training(tiny_config, tmp_path):
    built = build.build_experiment(tiny_config("unet", holes__size=32, holes__evaluation_min_foreground=1.0))
    with pytest.raises(UserError, match=r"validation subjects: no slice has a place for a hole"):
        loop.train(built, tmp_path)
