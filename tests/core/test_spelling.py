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


def test_a_suggestion_ends_a_message():
    assert spelling.suggestion("trian", ["train", "prepare"], "ipmedgan ") == "; did you mean ipmedgan train?"
    assert spelling.suggestion("qqq", ["train", "prepare"]) == ""
