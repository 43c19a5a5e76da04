"""Simulated damage and its masks, the scores of a network that finds damage, and a run that trains one."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
from skimage.transform import radon

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import damage, pipeline
from ipmedgan_jax.data.damage import damaged_pixels
from ipmedgan_jax.evaluation import detection, reports
from ipmedgan_jax.evaluation.evaluate_run import evaluate_run
from ipmedgan_jax.experiment import build
from ipmedgan_jax.inpainting import load_run
from ipmedgan_jax.systems import losses
from ipmedgan_jax.training import loop


def settings(*kinds, intact=0.0):
    return damage.DamageSettings(kinds, (1.0,) * len(kinds), intact, size=24, smallest=8, foreground=-0.9)


def head(side=96):
    """A disc of tissue with air inside and out."""
    y, x = np.mgrid[:side, :side] - side // 2
    image = np.where(np.hypot(y, x) < 0.4 * side, 0.1 * np.sin(x / 5), -1.0)
    image[np.hypot(y - 10, x) < 4] = -1
    return image.astype(np.float32)


def test_the_head_contains_its_inner_air_and_no_noise_around_it():
    image = head()
    disc = np.hypot(*np.mgrid[-48:48, -48:48]) < 0.4 * 96
    noise = np.random.default_rng(0).rayleigh(0.06, image.shape).astype(np.float32) - 1  # half of it above the level
    noisy = np.maximum(image, noise)
    noisy[4:9, 4:9] = 0.5  # an ear
    for slice_image in (image, noisy):
        mask = damage.find_head(slice_image, -0.9)
        assert (mask ^ disc).sum() < 250  # the disc's edge of 240 pixels, blurred
        assert mask[48 + 10, 48]
        assert not mask[:9, :9].any()
    assert not damage.find_head(np.full((32, 32), -1, np.float32), -0.9).any()


@pytest.mark.parametrize("kind", damage.KINDS)
def test_masks_mark_visible_changes_and_little_else(kind):
    rng, image = np.random.default_rng(0), head()
    masks = []
    for _ in range(30):
        damaged, mask, found = damage.simulate(rng, image, None, settings(kind))
        assert (damaged.shape, damaged.dtype, mask.dtype) == (image.shape, np.float32, bool)
        assert np.abs(damaged).max() <= 1
        assert found == (kind if mask.any() else damage.INTACT)
        change, inside = np.abs(damaged - image), image > -0.9
        assert change[mask].mean() > 4 * change[inside & ~mask].mean()
        assert change[inside & ~mask].mean() < damage.VISIBLE
        masks.append(mask)
    assert len({mask.tobytes() for mask in masks}) > 25
    assert all(0 < mask.mean() < 0.5 for mask in masks)


@pytest.mark.parametrize("kind", damage.KINDS)
def test_air_that_has_changed_is_not_marked(kind):
    """Metal's streaks and a void's bright rim reach into the air, which shows no anatomy to lose except where metal lies."""
    rng, image = np.random.default_rng(0), head()
    air, reaches = ~damage.find_head(image, -0.9), 0
    for _ in range(40):
        damaged, mask, _ = damage.simulate(rng, image, None, settings(kind))
        reaches += int((np.abs(damaged - image)[air] > 3 * damage.VISIBLE).sum())
        assert not mask[air & (damaged < 1)].any()
    assert reaches > 100 or kind == "cut"  # otherwise the masks had no air to leave out


def test_a_share_of_slices_and_slices_of_air_stay_intact():
    rng, image = np.random.default_rng(0), head()
    kinds = [damage.simulate(rng, image, None, settings("cut", intact=0.3))[2] for _ in range(300)]
    assert kinds.count(damage.INTACT) == pytest.approx(90, abs=25)
    air = np.full((32, 32), -1, np.float32)
    unchanged, mask, kind = damage.simulate(rng, air, None, settings(*damage.KINDS))
    assert unchanged is air
    assert (mask.any(), kind) == (False, damage.INTACT)


def test_projections_equal_those_of_scikit_image_and_back_projection_inverts_them():
    y, x = np.mgrid[:65, :65] - 32
    image = np.exp(-((x - 6) ** 2) / 60 - (y + 4) ** 2 / 100).astype(np.float32)
    image[image < 1e-2] = 0
    projections = damage.project(image)
    expected = radon(image, theta=-damage.ANGLES, circle=True).T
    assert np.abs(projections - expected).max() < 0.02 * expected.max()
    assert np.corrcoef(damage.back_project(projections).ravel(), image.ravel())[0, 1] > 0.99


def test_metal_darkens_the_line_between_its_pieces():
    metal = np.zeros((128, 128), bool)
    metal[60:68, 20:28] = metal[60:68, 100:108] = True
    streaks = damage._streaks(np.random.default_rng(0), metal)
    between, beside = streaks[62:66, 50:78].mean(), streaks[30:40, 50:78].mean()
    assert between < 0
    assert between < 10 * min(beside, 0.0) or beside >= 0


# ------------------------------------------------------------------ scores


@dataclass
class Record:
    subject: str
    index: int = 0


def found(subject, likelihood, mask, kind):
    mask = np.array(mask, bool)
    return detection.Found(
        pipeline.DamagedSlice(Record(subject), np.zeros(mask.shape, np.float32), mask, kind), np.array(likelihood), 0.1
    ).count


def test_scores_pool_the_slices_of_a_subject():
    finds = [
        found("a", [[0.97, 0.6, 0.1, 0.1]], [[1, 0, 1, 0]], "void"),  # one right, one wrong, one missed
        found("a", [[0.0, 0.0, 0.0, 0.97]], [[0, 0, 0, 0]], damage.INTACT),  # one more wrong
        found("b", [[0.97, 0.0, 0.0, 0.6]], [[1, 0, 0, 0]], "cut"),
        found("b", [[0.4, 0.0, 0.0, 0.6]], [[0, 0, 0, 0]], damage.INTACT),
    ]
    scores = detection.subject_scores(finds)
    assert scores["a"] == pytest.approx(
        {"dice": 2 / 5, "sensitivity": 1 / 2, "precision": 1 / 3, "dice_void": 0.5, "slice_specificity": 0}
    )
    assert scores["b"] == {"dice": 1, "sensitivity": 1, "precision": 1, "dice_cut": 1, "slice_specificity": 1}
    means = reports.mean_over_subjects(detection.subject_scores(finds))
    assert (means["dice"], means["dice_void"]) == pytest.approx((0.7, 0.5))
    report = detection.report(finds, system="finder")
    assert report["region"]["image"]["dice"]["mean"] == pytest.approx(0.7)
    assert report["region"]["image"]["dice_cut"]["ci95"] is None  # one subject says nothing of others
    with pytest.raises(UserError, match="no slice"):
        detection.report([])


def test_a_component_is_damaged_if_it_reaches_the_high_threshold():
    likelihood = np.array([[0.97, 0.6, 0.4, 0.6, 0.9], [0.0, 0.6, 0.0, 0.0, 0.0]])
    assert damaged_pixels(likelihood).tolist() == [
        [True, True, False, False, False],
        [False, True, False, False, False],
    ]


def test_losses_fall_as_the_logits_approach_the_mask():
    mask = np.zeros((2, 8, 8, 1), np.float32)
    mask[:, 2:5, 2:5] = 1
    logits = [4 * (2 * mask - 1) * share for share in (-1.0, 0.0, 0.5, 1.0)]
    cross_entropies = [float(losses.pixel_cross_entropy(x, mask)) for x in logits]
    dice_losses = [float(losses.dice_loss(1 / (1 + np.exp(-x)), mask)) for x in logits]
    assert cross_entropies == sorted(cross_entropies, reverse=True)
    assert dice_losses == sorted(dice_losses, reverse=True)
    assert losses.dice_loss(mask, mask) == pytest.approx(0)
    assert losses.dice_loss(0 * mask, 0 * mask) == pytest.approx(0)


# ------------------------------------------------------------------ a run


@pytest.mark.slow
def test_a_run_learns_to_find_damage_and_is_scored_on_damage_of_other_subjects(tiny_config, tmp_path):
    config = tiny_config("finder", train__steps=2, train__validate_every=2, evaluation__split="validation")
    built = build.build_experiment(config)
    assert built.is_finder
    assert built.holes.damage.kinds == ("metal", "cut")
    loop.train(built, tmp_path)
    report = evaluate_run(built, tmp_path)
    assert json.loads((tmp_path / "evaluation" / "metrics.json").read_text()) == report
    assert set(report["region"]["image"]) >= {"dice", "sensitivity", "slice_specificity"}
    assert (report["system"], report["step"], report["slices"]) == ("finder", 2, 2 * built.dataset.slices["validation"])
    assert report["damage"]["kinds"] == ["metal", "cut"]
    for name in ("evaluation/subjects.csv", "evaluation/examples.png", "examples/step_0000002.png"):
        assert (tmp_path / name).stat().st_size > 0
    loaded = load_run.load_finder(tmp_path, "best")
    assert (loaded.name, loaded.step, loaded.preparation.fit) == ("finder", 2, "scale")  # as the data were prepared
    damaged = next(pipeline.damaged_slices(built.dataset.directory, "validation", built.holes))
    likelihood = loaded.find(np.repeat(damaged.image[None, ..., None], loaded.batch_size, axis=0))
    assert likelihood.shape == (loaded.batch_size, 32, 32, 1)
    assert ((likelihood > 0) & (likelihood < 1)).all()


def test_training_batches_hold_damaged_slices_and_their_masks(tiny_config):
    built = build.build_experiment(tiny_config("finder", damage__intact=0.0))
    batches = pipeline.training_batches(built.dataset.directory, built.holes, batch_size=4, seed=0, threads=1, prefetch=1)
    batch = next(batches)
    batches.close()
    shapes = {name: (array.shape, array.dtype) for name, array in batch.items()}
    expected = pipeline.abstract_batch(built.holes, built.dataset.image_size, 4)
    assert shapes == {name: (array.shape, array.dtype) for name, array in expected.items()}
    assert batch["hole_mask"].any((1, 2)).all()
    assert (batch["hole"] == [0, 0, 32, 32]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"damage__kinds": ("rust",)}, r"damage\.kinds"),
        ({"damage__shares": (1.0,)}, r"damage\.shares"),
        ({"damage__intact": 1.5}, r"damage\.intact"),
        ({"train__best": "psnr"}, r"train\.best"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(tiny_config, changes, message):
    with pytest.raises(UserError, match=message):
        build.build_experiment(tiny_config("finder", **changes))


def test_dice_cannot_choose_the_best_checkpoint_of_a_fill(tiny_config):
    with pytest.raises(UserError, match=r"train\.best"):
        build.build_experiment(tiny_config(train__best="dice"))
