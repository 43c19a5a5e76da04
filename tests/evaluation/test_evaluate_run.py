"""Settings of `evaluate`: split, batch size and number of examples come from the config."""

import pytest

from ipmedgan_jax.evaluation import figures, scoring
from ipmedgan_jax.evaluation.evaluate_run import evaluate_classical
from ipmedgan_jax.experiment import build


@pytest.fixture
def evaluated(tiny_config, repeated_scan_data, tmp_path, without_vgg19):
    """Returns a function (**changes) -> experiment and metrics.json of the fill `surround_mean`."""

    def evaluate(**changes):
        config = tiny_config("unet", data__dir=str(repeated_scan_data), evaluation__split="validation", **changes)
        built = without_vgg19(build.build_experiment(config))
        return built, evaluate_classical(built, "surround_mean", tmp_path)

    return evaluate


def test_the_config_s_number_of_examples_is_shown_with_the_fill_value_in_the_hole(evaluated, monkeypatch):
    rows = []
    monkeypatch.setattr(figures, "example_row", lambda names, **images: images)
    monkeypatch.setattr(figures, "example_grid", lambda shown, *_, **__: rows.extend(shown))
    built, _ = evaluated(evaluation__examples=5, holes__fill=0.5)
    assert len(rows) == 5
    for row in rows:
        assert row["context"][row["hole"][0], row["hole"][1]] == built.fill == 0.5


def test_slices_are_filled_in_batches_of_the_config_s_size(evaluated, monkeypatch):
    sizes = []

    def counting(fill):
        inpaint = classical(fill)
        return lambda batch: sizes.append(len(batch["image"])) or inpaint(batch)

    classical = scoring.classical_inpaint
    monkeypatch.setattr(scoring, "classical_inpaint", counting)
    evaluated(evaluation__batch_size=5)
    assert sizes == [5] * 4  # 18 slices; the last batch is padded
