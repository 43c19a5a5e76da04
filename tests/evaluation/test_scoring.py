"""Scoring: fills never see the removed pixels, and each score is taken on its window."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from ipmedgan_jax.configs import demo
from ipmedgan_jax.evaluation import scoring
from ipmedgan_jax.experiment import build
from ipmedgan_jax.networks.vgg19 import VGG19
from ipmedgan_jax.systems import masking
from ipmedgan_jax.systems.inference import LearnedInpaint
from ipmedgan_jax.systems.registry import SYSTEMS


class Copy:
    """A generator that returns the image it is shown."""

    hole_size = 16

    def apply(self, variables, x, *, train):
        return x[0] if isinstance(x, tuple) else x[..., :1]


class Pixels:
    """Stands in for VGG-19: its features are the pixels and a constant, which keeps their length above 0."""

    def clone(self, **_):
        return self

    def apply(self, variables, x):
        return (jnp.concatenate([x, jnp.ones_like(x)], -1),)


@pytest.mark.parametrize("name", SYSTEMS)
def test_no_system_sees_a_removed_pixel_or_changes_a_known_one_when_scored(name):
    system = replace(build.make_system(demo.get_config(name), VGG19("caffe")), generator=Copy())
    image = np.random.default_rng(0).uniform(-0.9, 0.9, (2, 64, 64, 1)).astype(np.float32)
    batch = {"image": image, "hole": np.array([[3, 5, 16, 16], [40, 0, 16, 16]], np.int32)}
    inpaint = LearnedInpaint(system).bind({}, {})
    removed = np.asarray(masking.hole_masks(jnp.asarray(batch["hole"]), 64, 64)) > 0
    inpainted = inpaint(batch)
    np.testing.assert_array_equal(inpainted[removed], inpaint(batch | {"image": np.where(removed, 0.77, image)})[removed])
    assert (inpainted[removed] != image[removed]).all()
    np.testing.assert_array_equal(inpainted[~removed], image[~removed])


@pytest.mark.parametrize(
    ("hole", "seen", "unseen"),
    [
        ([24, 40, 16, 16], [(16, 32), (47, 63)], [(15, 40), (48, 40), (30, 31)]),
        ([0, 48, 16, 16], [(0, 32), (31, 63)], [(32, 50), (5, 31)]),  # shifted to stay inside
    ],
)
def test_vgg_distance_is_taken_on_the_window_of_twice_the_hole_s_side(hole, seen, unseen):
    net, image = Pixels(), jnp.zeros((1, 64, 64, 1))
    for row, column in seen + unseen:
        fill = image.at[0, row, column].set(1.0)
        of_hole, *_ = scoring.batch_scores(net, 16, {}, fill, image, jnp.array([hole]))
        assert (float(of_hole["vgg_distance"][0]) > 0) is ((row, column) in seen)
