"""The downstream measures: segmentation scores, attenuation maps, rank correlations, and their reports on the phantom."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import (
    attenuation,
    downstream,
    downstream_report,
    evaluated_slices,
    rank_correlations,
    region_scores,
    segmenter,
)
from benchmarks.attenuation import attenuation_coefficient
from benchmarks.rank_correlations import Correlation
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import phantom, pipeline, preparation
from ipmedgan_jax.data.augmentation import AugmentationSettings
from ipmedgan_jax.data.dataset_file import load_dataset
from ipmedgan_jax.evaluation import reports, saved_fills
from ipmedgan_jax.evaluation.seed_groups import SeedGroup
from ipmedgan_jax.imaging.settings import PreparationSettings
from ipmedgan_jax.systems.classical import FILLS

# ------------------------------------------------------------------ attenuation maps


@pytest.mark.parametrize("kvp", attenuation.BONE)
def test_air_attenuates_nothing_and_water_as_at_511_kev(kvp):
    np.testing.assert_allclose(attenuation_coefficient(np.array([-2000.0, -1000.0, 0.0]), kvp), [0, 0, 0.096])


@pytest.mark.parametrize(("kvp", "bone"), [(80, 0.1354), (120, 0.1491), (140, 0.1536)])
def test_bone_attenuates_less_than_its_ct_number_says(kvp, bone):
    np.testing.assert_allclose(attenuation_coefficient(np.array(1000.0), kvp), bone)


@pytest.mark.parametrize("kvp", attenuation.BONE)
def test_the_scaling_rises_and_has_no_step_at_its_break_point(kvp):
    at = attenuation.BONE[kvp].break_point
    below, above = attenuation_coefficient(np.array([at, at + 1e-6]), kvp)
    assert abs(above - below) < 3e-5
    assert (np.diff(attenuation_coefficient(np.arange(-1000, 3000, 1.0), kvp)) > 0).all()


def test_errors_of_maps_by_hand():
    intact = np.full((1, 20, 20), 0.1)
    hole = np.zeros((1, 20, 20), bool)
    hole[0, 8:12, 8:12] = True
    around = region_scores.rings(hole, 4)
    maps, pixel_mm = np.where(hole, 0.05, intact), np.array([[2.0, 3.0]])
    sharp = attenuation.errors_of_maps(maps, intact, hole, around, pixel_mm, 0.0)
    # Four pixels of 0.3 cm in each row, of 0.2 cm in each column, with 0.05/cm too little.
    expected = 100 * np.mean([1 - np.exp(-0.05 * 4 * 0.3), 1 - np.exp(-0.05 * 4 * 0.2)])
    found = {name: float(values[0]) for name, values in sharp.items()}
    assert found == pytest.approx({"mu_hole": 0.05, "bias_hole": -0.05, "mu_around": 0.0, "acf": expected})
    smooth = attenuation.errors_of_maps(maps, intact, hole, around, pixel_mm, 5.0)
    assert 0.001 < smooth["mu_around"][0] < 0.05
    assert smooth["mu_hole"] == sharp["mu_hole"]


def test_a_pixel_is_as_wide_as_columns_are_apart():
    volumes = {"v": SimpleNamespace(spacing_mm=(0.5, 0.9, 4.0))}  # of columns, rows, slices
    found = evaluated_slices.pixel_sizes(SimpleNamespace(volumes=volumes), [SimpleNamespace(volume="v")])
    np.testing.assert_array_equal(found, [[0.9, 0.5]])


# ------------------------------------------------------------------ segmentations


def masks(*rows):
    return np.array([[[character == "#" for character in row] for row in rows]])


HOLE = masks("....", ".#..", "....", "....")
LABEL = masks("##..", "....", "....", "...#")
FOUND = masks("#...", ".#..", "#...", "...#")
INTACT = masks("##..", "....", "..#.", "...#")


def test_segmentation_scores_by_hand():
    scores, errors = region_scores.of_segmentation(FOUND, INTACT, LABEL, HOLE, region_scores.rings(HOLE, 1), ["s"])
    assert {name: value["s"] for name, value in scores.items()} == pytest.approx(
        {
            "wrong_hole": 100.0,
            "changed_hole": 100.0,
            "false_positive_hole": 100.0,
            "wrong_around": 200 / 8,
            "changed_around": 300 / 8,
            "false_positive_around": 100 / 6,
            "dice_hole": np.nan,  # no pixel there has the label
            "dice_around": 2 / 4,
            "dice_slice": 4 / 7,
            "dice_loss_slice": 3 / 7,
        },
        nan_ok=True,
    )
    assert errors["wrong_around"] == pytest.approx([200 / 8])


def test_the_ring_is_a_quarter_of_the_hole_wide_and_clear_of_it():
    hole = np.zeros((1, 40, 40), bool)
    hole[0, 10:26, 2:18] = True
    ring = region_scores.rings(hole, 16)[0]
    expected = np.zeros((40, 40), bool)
    expected[6:30, :22] = True
    np.testing.assert_array_equal(ring, expected & ~hole[0])


def test_dice_pools_the_slices_of_a_subject():
    label, found = np.zeros((2, 2, 3, 3), bool)
    label[0, 0], found[0, 0], found[1, 0, 0] = True, True, True
    everywhere = np.ones_like(label)
    assert region_scores.dice(found, label, everywhere, ["s", "s"]) == {"s": pytest.approx(6 / 7)}
    assert region_scores.dice(found, label, everywhere, ["s", "t"]) == {"s": 1.0, "t": pytest.approx(np.nan, nan_ok=True)}


# ------------------------------------------------------------------ correlations


def test_correlations_tell_hard_holes_from_bad_fills():
    """Hole 2 is hard for all; run 2 is better on every hole. An image score that sees only hardness orders no fills."""
    errors = np.array([[1.0, 2, 9, 3], [0.5, 1, 8, 2], [0.8, 1.5, 8.5, 2.5]])
    hardness = np.tile(np.array([1.0, 2, 9, 3]), (3, 1)) + np.array([[0.0], [0.2], [0.1]])
    subjects = ["s"] * 4
    assert rank_correlations.over_holes(errors, hardness, subjects)["s"] == Correlation(pytest.approx(1), pytest.approx(1))
    assert rank_correlations.over_fills(errors, hardness, subjects)["s"] == Correlation(pytest.approx(-1), pytest.approx(-1))


def test_correlations_by_hand_and_where_there_is_none():
    found = rank_correlations.correlate(np.array([1.0, 2, 3, 4, np.nan]), np.array([1.0, 3, 2, 4, 9]))
    assert (found.rho, found.tau) == (pytest.approx(0.8), pytest.approx(2 / 3))
    for errors, scores in (([1.0, 2], [1.0, 2]), ([1.0, 1, 1], [1.0, 2, 3]), ([1.0, 2, 3], [0.0, 0, 0])):
        assert np.isnan(rank_correlations.correlate(np.array(errors), np.array(scores)).rho)
    assert rank_correlations.mean([found, rank_correlations.UNDEFINED]) == found


def made_up_group(system, **psnr_of_runs):
    """A system whose runs, by label, have these PSNRs on three holes of one subject."""
    runs = []
    for label, psnr in psnr_of_runs.items():
        scored = {"psnr": psnr, "ssim": psnr, "vgg_distance": -psnr}
        holes = [SimpleNamespace(hole_scores=scored)] * 3
        values = {**{name: np.array([value]) for name, value in scored.items()}, "kid": np.array([np.nan])}
        runs.append(SimpleNamespace(label=label, system=system, scores=holes, fold_of_subjects=np.zeros(1, int),
                                    learns=system not in FILLS,
                                    per_subject=lambda score, _, values=values: values[score],
                                    estimate=lambda score, _, psnr=psnr: {"mean": 1 / psnr}))  # fmt: skip
    return SeedGroup(system, tuple(runs), tuple(range(len(runs))))


def made_up_measure(groups, **errors):
    scores = {row: {name: {"s": value} for name in ("wrong", "dice_loss")} for row, value in errors.items()}
    by_hole = {row: {"wrong": np.full(3, value)} for row, value in errors.items()}
    columns = (("wrong", "wrong", 1), ("Dice", "dice_loss", 1))
    return downstream_report.Measure("", "", columns, (columns[0][:2], columns[1][:2]), groups, ["s"] * 3, scores, by_hole)


SEEDS = (made_up_group("unet", a=10.0), made_up_group("glcic", b0=21.0, b1=39.0), made_up_group("telea", c=40.0))
ERRORS = {"intact": 0.0, "damaged": 20.0, "a": 9.0, "b0": 2.0, "b1": 6.0, "c": 3.0}


def test_seeds_of_one_system_are_averaged_before_systems_are_correlated():
    """Of the four runs rho is -0.4. The two seeds together lie between the other systems in both."""
    found = downstream_report.correlations(made_up_measure(SEEDS, **ERRORS))
    assert found["wrong"]["psnr"]["over_systems"]["rho"]["mean"] == pytest.approx(-1)
    assert found["dice_loss"]["kid"]["over_systems"]["tau"]["mean"] == pytest.approx(1)
    assert found["dice_loss"]["psnr"].keys() == {"over_systems"}
    assert found["wrong"]["psnr"]["over_fills"]["rho"]["mean"] == pytest.approx(-0.4)


def test_rows_are_systems_and_differences_are_those_of_their_means():
    measured = made_up_measure(SEEDS, **ERRORS)
    assert [row[:2] for row in downstream_report.scores_table(measured)[1:]] == [
        ["intact", "0.0"], ["damaged", "20.0"], ["unet", "9.0"], ["glcic", "4.0"], ["telea", "3.0"],
    ]  # fmt: skip
    assert downstream_report.differences_table(measured, "damaged")[4][:2] == ["telea", "-17.0"]
    assert measured.row("glcic", "wrong").values.tolist() == [[2.0], [6.0]]
    assert measured.row("glcic", "wrong").learns
    assert not measured.row("telea", "wrong").learns


def test_subjects_without_a_value_in_some_row_are_left_out_of_the_column():
    measured = made_up_measure(SEEDS, **ERRORS)
    for row, values in measured.scores.items():
        values["wrong"] |= {"t": np.nan if row == "c" else 99.0}
        values["dice_loss"] = {"s": np.nan, "t": np.nan}
    measured.groups[0].first.fold_of_subjects = np.zeros(2, int)
    assert measured.row("glcic", "wrong").values.tolist() == [[2.0], [6.0]]
    assert [column[1] for column, _ in measured.taken] == ["wrong"]


def test_the_folds_of_a_trained_system_are_trainings_of_their_own():
    groups = (made_up_group("unet", a=10.0), made_up_group("telea", c=40.0))
    measured = made_up_measure(groups, intact=0.0, damaged=20.0, a=9.0, c=3.0)
    for values in measured.scores.values():
        values["wrong"] |= {"t": 5.0}
    groups[0].first.fold_of_subjects = np.array([1, 2])
    assert [measured.row(name, "wrong").trainings for name in ("unet", "telea", "intact")] == [2, 0, 0]


# ------------------------------------------------------------------ on the phantom


@pytest.fixture(scope="module")
def folders(repeated_scan_data, tmp_path_factory):
    """Three evaluated runs on the phantom: fills that are the truth, a grey, and black."""
    folder = tmp_path_factory.mktemp("runs")
    fills = {"unet": lambda truth: truth, "telea": lambda truth: truth * 0, "laplace": lambda truth: truth * 0 - 1}
    return [str(evaluated(folder / name, repeated_scan_data, name, fill)) for name, fill in fills.items()]


def evaluated(folder, directory, system, fill, **data_of_report):
    holes = pipeline.HoleSettings(8, -0.9, 0.5, 0.5, 0)
    scores, writer = [], saved_fills.Writer()
    for item in pipeline.evaluation_slices(directory, data_of_report.get("split", "validation"), holes):
        row, column, height, width = box = tuple(map(int, item.hole))
        truth = item.image[row : row + height, column : column + width]
        error = float(np.square(fill(truth) - truth).mean())
        scored = {"ssim": 1 - error, "psnr": 40 - error, "mse": error, "vgg_distance": error}
        record = item.record
        scores.append(reports.SliceScore(record.subject, record.volume, record.index, box, 1.0, scored, scored))
        writer.add(scores[-1], fill(truth), image=item.image)
    dataset = load_dataset(directory)
    data = {"fingerprint": dataset.fingerprint, "vgg19": "w", "modality": "ct", "image_size": 32, "split": "validation"}
    estimates = {
        region: {
            metric: {"mean": float(np.mean([values[metric] for values in means.values()])), "ci95": None} for metric in scored
        }
        for region, means in ((region, reports.subject_means(scores, region)) for region in reports.REGIONS)
    }
    estimates["hole"]["kid"] = {"mean": error, "ci95": None}
    report = dict.fromkeys(("images_seen", "parameters", "seconds_per_slice")) | {
        "system": system,
        "data": data | {"directory": str(directory)} | data_of_report,
        "holes": {"size": 8},
        "region": estimates,
        "subjects": len({score.subject for score in scores}),
        "slices": len(scores),
    }
    reports.write_report(folder / "evaluation", report, scores)
    writer.write(folder / "evaluation" / saved_fills.FILE)
    return folder


def test_attenuation_of_a_perfect_fill_is_that_of_the_intact_slice(folders, tmp_path):
    measured = attenuation.measure(evaluated_slices.read(folders), kvp=120, fwhm_mm=5.0)
    text = downstream_report.write(measured, tmp_path, "attenuation")
    assert list(measured.scores) == ["intact", "damaged", "U-Net, L1 alone", "Telea", "Laplace"]
    for name in ("mu_hole", "bias_hole", "mu_around", "acf"):
        exact, damaged, black = (measured.values(row, name) for row in ("U-Net, L1 alone", "damaged", "Laplace"))
        np.testing.assert_allclose(exact, 0, atol=1e-7)
        np.testing.assert_array_equal(black, damaged)
        assert (np.abs(damaged) > 1e-5).all()
    content = json.loads((tmp_path / "attenuation.json").read_text())
    assert content["correlations"]["mu_hole"]["psnr"]["over_systems"]["rho"]["mean"] == pytest.approx(-1)
    assert len(content["errors"]["Telea"]["acf"]) == len(content["holes"]) == len(measured.subjects)
    rows = reports.read_rows(tmp_path / "attenuation.csv")
    assert [(row["slices"], row["subject"]) for row in rows[:3]] == [
        ("intact", "sub-003"), ("intact", "sub-004"), ("damaged", "sub-003"),
    ]  # fmt: skip
    assert "Less damaged, paired by subject" in text


def test_attenuation_is_measured_over_the_folds_of_a_cross_validation(tmp_path):
    paths = phantom.write_phantoms(tmp_path, "ct", subjects=3, slices=3, seed=0, shape=(64, 64), spacing_mm=(4.0, 4.0, 4.0))
    fills = {"telea": lambda truth: truth, "laplace": lambda truth: truth * 0}
    folders = []
    for number in (2, 1):
        prepared = tmp_path / f"fold{number}"
        changes = {"modality": "ct", "image_size": 32, "resample_mm": 0.0, "foreground_level": 1 / 6}
        preparation.prepare(PreparationSettings(**changes, fold=f"{number} of 3"), paths, prepared, progress=False)
        data = {"split": "test", "fold": f"{number} of 3", "division": load_dataset(prepared).division}
        for name, fill in fills.items():
            folders.append(str(evaluated(tmp_path / f"{name}{number}", prepared, name, fill, **data)))
    slices = evaluated_slices.read(folders)
    (first,), (second,) = ({score.subject for score in part.scores} for part in slices.runs[0].parts)
    assert first != second
    assert set(slices.subjects) == {first, second}
    assert slices.subjects == [score.subject for score in slices.runs[0].scores]
    measured = attenuation.measure(slices, kvp=120, fwhm_mm=5.0)
    assert "2 test subjects (folds 1 and 2 of 3)" in " ".join(measured.about.split())
    np.testing.assert_allclose(measured.values("Telea", "mu_hole"), 0, atol=1e-7)
    assert (measured.values("Laplace", "mu_hole") > 1e-5).all()
    with pytest.raises(UserError, match="folds 1 and 2 of 3; a network for each fold"):
        downstream.refuse_folds(slices)


def test_the_segmentation_of_a_perfect_fill_is_that_of_the_intact_slice(folders, tmp_path):
    slices = evaluated_slices.read(folders)
    labeller = segmenter.make_labeller(slices.dataset, "dark", ["train", "validation"])
    config = segmenter.settings(slices.dataset, slices=8, seed=0).unlock()
    config.generator.width = 2
    find = segmenter.train(slices.dataset, labeller, config.lock())
    measured = downstream.measure(slices, labeller, find, "dark")
    text = downstream_report.write(measured, tmp_path, "segmentation")
    for score in measured.scores["intact"]:
        np.testing.assert_allclose(measured.values("U-Net, L1 alone", score), measured.values("intact", score))
    assert (measured.by_hole["intact"]["changed_hole"] == 0).all()
    assert f"its Dice over the slices is {reports.cell(measured.facts['dice_of_the_network'], 3)}"[:40] in " ".join(
        text.split()
    )


def test_labels_are_dark_pixels_of_the_head_or_the_masks_of_lesions(repeated_scan_data):
    dataset = load_dataset(repeated_scan_data)
    labeller = segmenter.make_labeller(dataset, "dark", ["validation"])
    for item in pipeline.evaluation_slices(repeated_scan_data, "validation", pipeline.HoleSettings(8, -0.9, 0.5, 0.5, 0)):
        dark, head = labeller(item.record), item.record.head
        assert not (dark & ~head).any()
        assert item.image[dark].max() < item.image[head & ~dark].min()
    with pytest.raises(UserError, match=r"has no masks of lesions; prepare it with --config.holes.avoid"):
        segmenter.make_labeller(dataset, "lesion", ["validation"])


def test_labels_are_mirrored_and_moved_with_their_slices(repeated_scan_data, monkeypatch):
    def bright(record):
        return record.image() > 0

    def batch():
        found = next(iter(segmenter.labelled_batches(load_dataset(repeated_scan_data), bright, batch_size=8, seed=0)))
        return found["image"][..., 0], found["hole_mask"] > 0

    images, labels = batch()
    assert images[labels].mean() > images[~labels].mean() + 0.5
    monkeypatch.setattr(segmenter, "AUGMENTATION", AugmentationSettings())
    images, labels = batch()
    np.testing.assert_array_equal(labels, images > 0)


def test_other_data_and_windows_are_refused(folders, tmp_path, repeated_scan_data):
    with pytest.raises(UserError, match="not found; evaluate the run"):
        evaluated_slices.read([*folders, str(tmp_path)])
    path = evaluated(tmp_path / "run", repeated_scan_data, "unet", lambda truth: truth) / "evaluation" / "metrics.json"
    content = json.loads(path.read_text())
    refused = {
        "data have changed": {"fingerprint": "x"},
        "scored on windows": {"window": 32},
    }
    for message, changes in refused.items():
        path.write_text(json.dumps(content | {"data": content["data"] | changes}))
        with pytest.raises(UserError, match=message):
            evaluated_slices.read([str(tmp_path / "run")])
