"""The scores on a model card are those of the model."""

import pytest

from ipmedgan_jax.inpainting.model_card import card, of_other_checkpoint
from tests.inpainting.test_scan import generator

SCORES = {
    "step": 7,
    "subjects": 3,
    "slices": 9,
    "data": {"split": "test"},
    "region": {"hole": {"psnr": {"mean": 31.25, "ci95": [30.0, 32.0]}}},
}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "| psnr | 31.25 | 30 to 32 |"),
        ({"weights_sha256": None}, "| psnr | 31.25 | 30 to 32 |"),
        ({"step": 500}, "Evaluated at step 500, not at this one, 7."),
        ({"step": None}, "Evaluated at step None, not at this one, 7."),
        ({"weights_sha256": "ab"}, "Evaluated at step 7, with other weights than these."),
    ],
)
def test_scores_of_another_checkpoint_are_left_out_and_named(changes, line):
    text = card(generator(), SCORES | changes)
    assert f"\n{line}\n" in text
    assert ("31.25" in text) == (not of_other_checkpoint(generator(), SCORES | changes))
