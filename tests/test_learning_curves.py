"""Learning curves: scores at a number of slices, trends, and the files of real event files."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from benchmarks import learning_curves, line_plot
from benchmarks.learning_curves import Curve
from ipmedgan_jax.core.errors import UserError


def curve(values, *, run="runs-0", system="U-Net", step=100, score="psnr"):
    return Curve(run, system, step * np.arange(1, len(values) + 1), {score: np.array(values, np.float32)})


def test_a_score_is_the_mean_of_the_last_quarter_before():
    assert curve([1, 2, 3, 4, 5, 6, 7, 8]).at(800, "psnr") == 7.5
    assert curve([1, 2, 3, 4]).at(400, "psnr") == 4


def test_a_shorter_run_and_a_missing_score_have_none():
    assert np.isnan(curve([1, 2]).at(400, "psnr"))
    assert np.isnan(curve([1, 2]).at(200, "ssim"))


@pytest.mark.parametrize(("slope", "word"), [(0.1, "rising"), (-0.1, "falling"), (0.0, "no trend seen")])
def test_the_trend_is_of_the_last_third_alone(slope, word):
    rng = np.random.default_rng(0)
    values = np.concatenate([5 - 0.5 * np.arange(40), slope * np.arange(20) + rng.normal(0, 0.05, 20)])
    gain, low, high = curve(values).trend("psnr")
    assert low < gain < high
    assert gain == pytest.approx(slope * 20, abs=0.2)
    assert learning_curves._trend_text(curve(values), "psnr", 2).endswith(word)


def test_a_few_validations_show_no_trend():
    assert curve([1, 2, 3, 4]).trend("psnr") is None


def test_seeds_share_a_row_with_their_range():
    text = learning_curves.table([curve([1, 2]), curve([1, 4], run="runs-1"), curve([9], system="MedGAN")], [200])
    assert "| U-Net  | 2    | 200    | 3.00 (2.00 to 4.00) | too few validations" in text
    assert "| MedGAN | 1    | 100    | -  " in text


def test_runs_of_another_length_have_a_row_of_their_own():
    text = learning_curves.table([curve([1, 2]), curve([5, 6, 7], run="long")], [200])
    assert "| U-Net  | 1    | 200    | 2.00 " in text
    assert "| U-Net  | 1    | 300    | 6.00 " in text


def test_the_picture_has_a_line_for_each_run(tmp_path):
    learning_curves.draw([curve([1, 2, 3]), curve([3, 2, 1], system="MedGAN")], tmp_path / "curves.png")
    pixels = np.asarray(Image.open(tmp_path / "curves.png"))
    panel = pixels[:, : line_plot.LEFT + line_plot.PANEL[0]]  # without the names beside it
    assert {(0, 114, 178), (213, 94, 0)} <= set(map(tuple, panel.reshape(-1, 3).tolist()))


def test_names_beside_a_panel_stay_apart_and_on_the_page():
    assert line_plot._apart([5, 30, 31, 32], 10, 100) == [5, 30, 40, 50]
    assert line_plot._apart([5, 80, 85, 90], 10, 100) == [5, 80, 90, 100]
    assert line_plot._apart([95, 96, 97], 10, 100) == [80, 90, 100]


def test_runs_with_other_settings_have_rows_of_their_own():
    settings = [{"seed": 0, "loss": {"style": weight}} for weight in (1.0, 0.0)]
    curves = [
        replace(curve([1, 2], run=f"run{i}"), config=config)
        for i, config in enumerate([*settings, settings[0] | {"seed": 1}])
    ]
    assert [(name, [one.run for one in runs]) for name, runs in learning_curves._rows(curves)] == [
        ("U-Net (run0)", ["run0", "run2"]), ("U-Net (run1)", ["run1"]),
    ]  # fmt: skip


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="not found"):
        learning_curves.read_curve(tmp_path)


def test_a_run_s_finite_validations_are_read_from_its_event_files(tmp_path, monkeypatch, caplog):
    from tensorboardX import SummaryWriter

    from ipmedgan_jax.experiment import run_folder

    with SummaryWriter(str(tmp_path / "tensorboard")) as writer:
        for step in (10, 15, 20):
            writer.add_scalar("validation/psnr", step / 2 if step != 15 else float("nan"), step)
            writer.add_scalar("loss/generator/style", 1.0, step)
    monkeypatch.setattr(run_folder, "read_config", lambda folder: {"system": "medgan", "train": {"batch_size": 4}})
    found = learning_curves.read_curve(tmp_path)
    assert (found.system, list(found.slices), list(found.scores)) == ("MedGAN", [40, 80], ["psnr"])
    assert list(found.scores["psnr"]) == [5, 10]
    assert "1 of 3 validations are not finite and left out" in caplog.text
