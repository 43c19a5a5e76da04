"""Validation: scores of the validation subjects, each subject counted once, and example pictures."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from ipmedgan_jax.data import pipeline
from ipmedgan_jax.evaluation import figures
from ipmedgan_jax.experiment import build
from ipmedgan_jax.training import validation


class Copy(nn.Module):
    """A generator that returns its input, so that the hole keeps the fill value."""

    @nn.compact
    def __call__(self, x, train):
        return x


class Bright(nn.Module):
    """A finder's network that is certain that all pixels brighter than mid-grey are damaged."""

    @nn.compact
    def __call__(self, x, train):
        return jnp.where(x > 0, 9.0, -9.0)


class Summaries:
    """Stands in for TensorBoard; records scalars and images."""

    def __init__(self):
        self.written = {}

    def scalars(self, step, values, prefix):
        self.written |= {f"{prefix}{name}": (step, value) for name, value in values.items()}

    def image(self, step, name, picture):
        self.written[name] = (step, picture)


UNTRAINED = SimpleNamespace(average=None, generator=SimpleNamespace(params={}, statistics={}))


@pytest.fixture
def validated(tiny_config, repeated_scan_data, tmp_path, without_vgg19):
    """Returns a function (system, **changes) -> experiment, scores and summaries of step 7. Nothing is trained."""

    def validate(system, **changes):
        config = tiny_config(system, data__dir=str(repeated_scan_data), **changes)
        built = without_vgg19(build.build_experiment(config))
        built = replace(built, system=replace(built.system, generator=Bright() if system == "finder" else Copy()))
        summaries = Summaries()
        return built, validation.make_validation(built, tmp_path, summaries)(7, UNTRAINED), summaries.written

    return validate


def black_holes(built, split, **options):
    """Returns {subject: squared errors of its holes}, on 0..255, for a fill of -1."""
    errors = {}
    for evaluation_slice in pipeline.evaluation_slices(built.dataset.directory, split, built.holes, **options):
        row, column, height, width = evaluation_slice.hole
        hole = (evaluation_slice.image[row : row + height, column : column + width] + 1) * 127.5
        errors.setdefault(evaluation_slice.record.subject, []).append(float((hole**2).mean()))
    return errors


def test_scores_are_of_the_validation_subjects_and_not_of_the_test_subjects(validated):
    built, scores, written = validated("unet")
    errors, others = (black_holes(built, split) for split in ("validation", "test"))
    assert scores["mse"] == pytest.approx(np.mean([np.mean(own) for own in errors.values()]), rel=1e-4)
    assert scores["mse"] != pytest.approx(np.mean(*others.values()), rel=1e-4)
    assert written["validation/mse"] == (7, scores["mse"])


def test_each_subject_counts_once_however_many_slices_it_has(validated):
    built, scores, _ = validated("unet")
    errors = black_holes(built, "validation")
    assert [len(own) for own in errors.values()] == [12, 6]
    over_slices = np.mean([error for own in errors.values() for error in own])
    assert scores["mse"] == pytest.approx(np.mean([np.mean(own) for own in errors.values()]), rel=1e-4)
    assert scores["mse"] != pytest.approx(over_slices, rel=1e-4)


def test_no_more_slices_are_scored_than_the_config_says(validated):
    built, scores, _ = validated("unet", train__validation_slices=3)
    errors = black_holes(built, "validation", at_most=3)
    assert sum(map(len, errors.values())) == 3
    assert scores["mse"] == pytest.approx(np.mean([np.mean(own) for own in errors.values()]), rel=1e-4)


def test_a_finder_is_scored_on_the_validation_subjects_each_once(validated):
    built, scores, _ = validated("finder")
    counts = {}
    for damaged_slice in pipeline.damaged_slices(built.dataset.directory, "validation", built.holes):
        found, true, subject = damaged_slice.image > 0, damaged_slice.mask, damaged_slice.record.subject
        pixels = np.array([(found & true).sum(), (found & ~true).sum(), (~found & true).sum()])
        counts[subject] = counts.get(subject, 0) + pixels
    dice = [2 * right / (2 * right + wrong + missed) for right, wrong, missed in counts.values()]
    assert len(dice) == 2
    assert scores["dice"] == pytest.approx(np.mean(dice), rel=1e-3)


def test_example_pictures_show_the_fill_value_in_the_hole(validated, monkeypatch, tmp_path):
    shown = []
    monkeypatch.setattr(figures, "image_grid", lambda tiles, columns: shown.extend(tiles) or np.zeros((4, 4), np.uint8))
    built, _, written = validated("unet", holes__fill=0.5)
    first = next(pipeline.evaluation_slices(built.dataset.directory, "validation", built.holes))
    row, column, _, _ = first.hole
    image, context, inpainted = shown[:3]
    np.testing.assert_array_equal(image, first.image)
    assert context[row, column] == inpainted[row, column] == 0.5
    assert len(shown) == 3 * validation.EXAMPLE_SLICES
    assert written["validation/examples"][0] == 7
    assert (tmp_path / "examples" / "step_0000007.png").exists()


def test_the_first_and_the_newest_pictures_are_kept_and_other_files_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "KEPT_EXAMPLES", 2)
    others = {"step_000001.png", "step_0000003.txt", "mine.png"}
    for name in others:
        (tmp_path / name).touch()
    for step in (1, 2, 99, 5, 12345678, 300):
        validation.save_example(np.zeros((4, 4), np.uint8), tmp_path, step)
    kept = {"step_0000001.png", "step_0000300.png", "step_12345678.png"}
    assert {path.name for path in tmp_path.iterdir()} == others | kept


def test_a_picture_that_cannot_be_written_costs_a_warning(tmp_path, caplog):
    (tmp_path / "examples").touch()
    with caplog.at_level(logging.WARNING, "absl"):
        validation.save_example(np.zeros((4, 4), np.uint8), tmp_path / "examples", 7)
    assert "step_0000007.png: cannot be written (File exists); the run goes on" in caplog.text
