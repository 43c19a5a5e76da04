"""The blind test: a classifier that finds what differs and nothing else, and pages whose key is right."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from benchmarks import blind_test, fill_classifier
from benchmarks.hole_fills import FilledHoles
from ipmedgan_jax.core.errors import UserError

SUBJECTS = [f"sub-{i // 6}" for i in range(36)]
RNG = np.random.default_rng(0)
MASKS = np.zeros((36, 64, 64), bool)
MASKS[:, 20:44, 16:40] = True


def tissue(blur):
    return 0.5 + 0.1 * np.stack([gaussian_filter(RNG.standard_normal((64, 64)), blur) for _ in SUBJECTS])


TRUTH = tissue(0.7)
OTHER_TISSUE = tissue(0.7)
BLURRED = np.where(MASKS, gaussian_filter(TRUTH, (0, 1.5, 1.5)), TRUTH)
BRIGHTER = np.where(MASKS, TRUTH + 0.05, TRUTH)


def features(images):
    return fill_classifier.patch_features(images, MASKS)


def test_blurred_or_brighter_fills_are_told_from_tissue():
    assert np.mean(fill_classifier.accuracies(features(BLURRED), features(TRUTH), SUBJECTS)) > 95
    assert np.mean(fill_classifier.accuracies(features(BRIGHTER), features(TRUTH), SUBJECTS)) > 75


def test_equal_patches_and_other_patches_of_the_same_kind_are_guessed():
    assert fill_classifier.accuracies(features(TRUTH), features(TRUTH), SUBJECTS) == [50.0] * 6
    assert 35 < np.mean(fill_classifier.accuracies(features(OTHER_TISSUE), features(TRUTH), SUBJECTS)) < 65


def test_a_subject_s_accuracy_comes_from_a_classifier_that_has_not_seen_it():
    """Labels that are right for one subject alone, with features that name it, are not learned from the others."""
    fills, truths = np.random.default_rng(2).standard_normal((2, 36, 5))
    for i, subject in enumerate(SUBJECTS):
        fills[i, 0], truths[i, 0] = (9, -9) if subject in ("sub-0", "sub-2", "sub-4") else (-9, 9)
    assert np.mean(fill_classifier.accuracies(fills, truths, SUBJECTS)) < 20


def test_too_few_subjects_are_refused():
    with pytest.raises(UserError, match="at least four subjects, got 3"):
        fill_classifier.accuracies(np.zeros((3, 2)), np.zeros((3, 2)), list("abc"))


def test_the_page_shows_what_its_key_says():
    white, black = np.ones((4, 64, 64)), np.zeros((4, 64, 64))
    page, key = blind_test.draw_page(FilledHoles(list("abcd"), MASKS[:4], black, {"x": white}), "x", count=4, seed=0)
    sides = [line.split()[1] for line in key.splitlines()[1:]]
    assert set(sides) == {"left", "right"}
    pixels = np.asarray(page.convert("L"))
    for number, side in enumerate(sides):
        row, column = 12 + number // 3 * 292 + 128, 12 + number % 3 * 560 + 24 + 128
        assert (pixels[row, column] > 200, pixels[row, column + 268] > 200) == (side == "left", side == "right")


def test_the_table_has_a_row_for_each_fill_and_a_column_for_each_kind():
    holes = {"squares64": FilledHoles(SUBJECTS, MASKS, TRUTH, {"run": TRUTH, "telea": BLURRED}),
             "lesions": FilledHoles(SUBJECTS, MASKS, TRUTH, {"telea": BLURRED})}  # fmt: skip
    lines = blind_test.classify(holes).splitlines()
    assert "squares64 (36 holes) | lesions (36 holes)" in lines[0]
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["run", "50 [50, 50]", "-"]
    assert "100 [100, 100]" in lines[3]
