"""The loop's schedule of reports, validations and checkpoints, and the input's settings; nothing is trained."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from ipmedgan_jax.data.augmentation import AugmentationSettings
from ipmedgan_jax.experiment import build
from ipmedgan_jax.training import loop, start, validation


class StoppedError(Exception):
    """Raised by a test's stand-in to end the loop."""


def test_the_input_has_the_run_s_data_holes_and_settings(tiny_config, tmp_path, monkeypatch):
    given = {}

    def recorded(*arguments, **options):
        given.update(options, arguments=arguments)
        raise StoppedError

    monkeypatch.setattr(loop.pipeline, "training_batches", recorded)
    changes = {"seed": 3, "train__mirror": True, "data__threads": 5, "data__prefetch": 9, "train__batch_size": 8}
    changes["augment__noise"] = 0.02
    built = build.build_experiment(tiny_config("unet", holes__min_foreground=0.3, train__steps_per_dispatch=2, **changes))
    with pytest.raises(StoppedError):
        loop.train(built, tmp_path)
    assert given == {
        "arguments": (built.dataset.directory, built.holes),
        "seed": 3,
        "mirror": True,
        "augmentation": AugmentationSettings(noise=0.02),
        "threads": 5,
        "prefetch": 9,
        "batch_size": 16,  # of two steps
        "process": 0,
        "processes": 1,
    }


def test_initial_weights_depend_on_the_config_s_seed(tiny_config):
    keys = [start.InitialState(build.build_experiment(tiny_config("unet", seed=seed))).values().key for seed in (3, 3, 4)]
    first, again, other = (jax.random.key_data(key).tolist() for key in keys)
    assert first == again != other


@pytest.fixture
def untrained_loop(monkeypatch):
    """The loop with updates that only count steps; records the steps of reports and validations."""
    record = SimpleNamespace(reported=[], validated=[])

    def counting(state, frozen, batch):
        return state.replace(step=state.step + 1), {"loss/generator/l1": np.array([float(state.step)])}

    def report(step, means, *_):
        record.reported.append((step, means["loss/generator/l1"]))

    def validate(step, state):
        record.validated.append(step)
        return {"psnr": float(step), "mae": abs(step - 4.0)}

    monkeypatch.setattr(loop, "compile_update", lambda *_: counting)
    monkeypatch.setattr(loop, "report", report)
    monkeypatch.setattr(validation, "make_validation", lambda *_: validate)
    return record


def test_reports_validations_and_checkpoints_come_at_their_own_steps(tiny_config, tmp_path, untrained_loop):
    schedule = {"train__log_every": 5, "train__validate_every": 4, "train__checkpoint_every": 3, "train__keep": 99}
    loop.train(build.build_experiment(tiny_config("unet", train__steps=13, **schedule)), tmp_path)
    steps, means = zip(*untrained_loop.reported, strict=True)
    assert steps == (3, 5, 10, 13)  # the third step is reported early, the last always
    assert means == (1.0, 3.5, 7.0, 11.0)  # over the steps since the last report, counted from 0
    assert untrained_loop.validated == [4, 8, 12, 13]
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [3, 4, 6, 8, 9, 12, 13]


def test_the_config_s_number_of_latest_checkpoints_is_kept(tiny_config, tmp_path, untrained_loop):
    loop.train(
        build.build_experiment(tiny_config("unet", train__steps=6, train__checkpoint_every=1, train__keep=3)), tmp_path
    )
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [4, 5, 6]


def test_the_best_checkpoint_is_best_by_the_config_s_score(tiny_config, tmp_path, untrained_loop):
    changes = {"train__steps": 6, "train__validate_every": 1, "train__keep": 1, "train__best": "mae"}
    loop.train(build.build_experiment(tiny_config("unet", **changes)), tmp_path)
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [4, 6]
