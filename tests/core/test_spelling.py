"""Suggestions for misspelt words."""

import pytest

from ipmedgan_jax.core import spelling

KEYS = ["train", "train.steps", "train.mirror", "data.dir", "holes.size", "data.image_size"]


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("train.step", "train.steps"),
        ("steps", "train.steps"),
        ("data.steps", "train.steps"),
        ("hole.size", "holes.size"),
        ("miror", "train.mirror"),
        ("qqq", None),
    ],
)
def test_a_word_is_matched_whole_or_by_its_last_part(word, found):
    assert spelling.nearest(word, KEYS) == found


def test_nouns_are_singular_behind_one_alone():
    assert [spelling.counted(number, "slice") for number in (0, 1, 2, 1200)] == [
        "0 slices",
        "1 slice",
        "2 slices",
        "1,200 slices",
    ]


def test_a_suggestion_ends_a_message():
    assert spelling.suggestion("trian", ["train", "prepare"], "ipmedgan ") == "; did you mean ipmedgan train?"
    assert spelling.suggestion("qqq", ["train", "prepare"]) == ""
