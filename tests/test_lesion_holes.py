"""Where the benchmarks put holes, and what their scores measure."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import convolve, gaussian_filter, zoom

from benchmarks import fill_report, fill_scores, hole_fills, hole_places
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import scans
from ipmedgan_jax.imaging.grids import PLANES
from ipmedgan_jax.pretrained import vgg19_weights

MIDDLE = np.zeros((128, 128), bool)
MIDDLE[32:96, 32:96] = True
WINDOWS = 0.5 + 0.1 * np.stack([gaussian_filter(np.random.default_rng(i).standard_normal((128, 128)), 0.7) for i in range(6)])


def healthy_scan(subject="sub-1", name="scan.nii.gz", slices=6):
    """An ellipsoid of tissue with noise in black air; a lesion in its left half."""
    x, y, z = np.mgrid[:96, :112, :slices]
    head = ((x - 48) / 40) ** 2 + ((y - 56) / 50) ** 2 < 1
    array = np.where(head, 100 + np.random.default_rng(0).normal(0, 10, head.shape), 0).astype(np.float32)
    lesion = (np.abs(x - 30) < 6) & (np.abs(y - 50) < 6) & (z > 1)
    volume = scans.Volume(Path(name), array, (1.0, 1.0, 3.0), "RAS", False)
    return hole_places.HealthyScan(subject, volume, lesion, "mri")


@pytest.mark.parametrize("kind", ["lesions", "squares32"])
def test_holes_lie_in_the_head_and_clear_of_the_lesion(kind):
    scan, outlines = healthy_scan(), {"sub-2": [np.ones((12, 30), bool)]}
    holes = hole_places.place_holes([scan], kind, outlines, at_most=100)
    assert len(holes) == 6
    for hole in holes:
        head, lesion = (PLANES["axial"](mask)[hole.index] for mask in (scan.foreground.head, scan.lesion))
        near = np.argwhere(hole.mask)[:, None] - np.argwhere(lesion)[None]
        assert not near.size or np.abs(near).max(-1).min() > hole_places.CLEAR
        assert head[hole.mask].mean() >= hole_places.FOREGROUND
        assert hole.mask.sum() == hole.shape.sum() == hole.window(hole.mask).sum()


def test_places_depend_on_names_alone_and_are_spread_over_subjects():
    first, second = healthy_scan(), healthy_scan("sub-2", "other.nii.gz")
    both = hole_places.place_holes([first, second], "squares32", {}, at_most=4)
    alone = hole_places.place_holes([second], "squares32", {}, at_most=2)
    assert [hole.scan.subject for hole in both] == ["sub-1"] * 2 + ["sub-2"] * 2
    assert [(hole.index, hole.corner) for hole in both[2:]] == [(hole.index, hole.corner) for hole in alone]
    assert len({hole.corner for hole in both}) > 1


def test_a_subject_s_own_outlines_are_not_used():
    with pytest.raises(UserError, match="other subjects' lesions"):
        hole_places.place_holes([healthy_scan()], "lesions", {"sub-1": [np.ones((9, 9), bool)]}, at_most=1)


def test_a_kind_without_room_or_name_is_refused():
    with pytest.raises(UserError, match="unknown kind 'squares16'"):
        hole_places.place_holes([healthy_scan()], "squares16", {}, at_most=1)
    with pytest.raises(UserError, match="no slice of the 1 scans has room"):
        hole_places.place_holes([healthy_scan()], "lesions", {"sub-2": [np.ones((90, 90), bool)]}, at_most=1)


def test_outlines_are_the_components_that_are_neither_small_nor_long():
    masks = np.zeros((2, 128, 128), bool)
    masks[0, :3, :3] = masks[0, 10:20, 10:20] = masks[1, :97, :97] = True
    found = hole_places.find_outlines(masks)
    assert [outline.shape for outline in found] == [(10, 10)]


def test_scans_are_read_with_their_lesions(tmp_path):
    scan = healthy_scan()
    for subject in ("sub-1", "sub-2"):
        for kind, array in (("FLAIR", scan.volume.array), ("mask", scan.lesion.astype(np.uint8))):
            nibabel.save(nibabel.Nifti1Image(array, np.diag([1, 1, 3, 1])), tmp_path / f"{subject}_{kind}.nii.gz")
    paths, masks = sorted(tmp_path.glob("*FLAIR*")), [tmp_path / "sub-1_mask.nii.gz"]
    read = hole_places.read_scans(paths, masks, [], "mri")
    assert [(found.subject, int(found.lesion.sum())) for found in read] == [("sub-1", scan.lesion.sum()), ("sub-2", 0)]
    assert len(hole_places.read_outlines(masks)["sub-1"]) == 4
    with pytest.raises(UserError, match="sub-3 not among the scans"):
        hole_places.read_scans(paths, masks, ["sub-3"], "mri")


def test_fills_change_their_holes_alone_and_come_back_from_a_file(tmp_path):
    holes = hole_places.place_holes([healthy_scan()], "squares32", {}, at_most=3)
    done = []
    filled = hole_fills.fill_holes(holes, hole_fills.make_fillers(["laplace"], ["laplace", "telea"]), done.append)
    assert done == [3, 3]
    for windows in filled.fills.values():
        assert (windows != filled.truth)[filled.masks].mean() > 0.9
        np.testing.assert_array_equal(windows[~filled.masks], filled.truth[~filled.masks])
    filled.save(tmp_path / "a" / "squares32.npz")
    again = hole_fills.FilledHoles.load(tmp_path / "a" / "squares32.npz")
    assert again.subjects == filled.subjects == ["sub-1"] * 3
    assert list(again.fills) == ["laplace", "telea"]
    np.testing.assert_array_equal(again.fills["telea"], filled.fills["telea"])
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(UserError, match=r"text\.npz: expected a file of"):
        hole_fills.FilledHoles.load(tmp_path / "text.npz")


def test_an_unknown_fill_is_refused():
    with pytest.raises(UserError, match="nowhere: expected a run's folder, a model, or one of surround_mean"):
        hole_fills.make_fillers(["nowhere"])


def test_the_scores_of_a_constant_error_are_known():
    masks = np.stack([MIDDLE] * 6)
    scores = fill_scores.pixel_scores(np.where(masks, WINDOWS + 10 / 255, WINDOWS), WINDOWS, masks)
    np.testing.assert_allclose(scores["mae"], 10, rtol=1e-4)
    np.testing.assert_allclose(scores["psnr"], 10 * np.log10(255**2 / 100), rtol=1e-4)
    np.testing.assert_allclose(scores["detail"], scores["detail_of_truth"], rtol=1e-4)
    assert (scores["ssim"] < 1).all()
    assert (scores["ssim"] > 0.9).all()


def test_sharpness_of_a_fill_with_half_the_contrast_is_a_half():
    masks = np.stack([MIDDLE] * 6)
    by_hole = fill_scores.pixel_scores(np.where(masks, 0.25 + WINDOWS / 2, WINDOWS), WINDOWS, masks)
    scores = fill_report.KindScores(["a", "a", "b", "b", "c", "c"], {"x": by_hole}, {})
    np.testing.assert_allclose(scores.by_subject("x", "sharpness"), 0.5, rtol=1e-4)


@pytest.mark.parametrize("period", [2, 4, 8])
def test_a_faint_lattice_raises_the_ratio_of_its_period(period):
    dots = np.zeros((128, 128))
    dots[::period, ::period] = 3 * period / 255
    index = fill_scores.PERIODS.index(period)
    for content in (*WINDOWS[:2], np.full((128, 128), 0.5)):
        plain, marked = (10 * np.log10(fill_scores.lattice_ratios(image, MIDDLE)) for image in (content, content + dots))
        assert plain.max() < 6
        assert marked[index] > max(plain[index] + 6, 10)
    assert fill_scores.lattice_ratios(np.full((128, 128), 0.5), MIDDLE).tolist() == [1, 1, 1]


def test_a_lattice_is_not_looked_for_in_a_small_hole():
    small = np.zeros((128, 128), bool)
    small[60:70, 60:70] = True
    assert np.isnan(fill_scores.lattice_ratios(WINDOWS[0], small)).all()


def test_the_referee_tells_a_blurred_fill_from_the_truth_and_not_the_truth_from_itself():
    masks, features = np.stack([MIDDLE] * 6), fill_scores.RandomFeatures()
    truth, blurred = (features.of(images, masks) for images in (WINDOWS, gaussian_filter(WINDOWS, (0, 2, 2))))
    subjects = list("aabbcc")
    same, other = (
        fill_report.feature_distances(subjects, np.ones((6, 2, 4)), np.stack([found, truth], 1))["referee"][0]
        for found in (truth, blurred)
    )
    assert same == pytest.approx(0, abs=1e-6)
    assert other > 0.1
    assert truth.shape == (6, sum(fill_scores.RANDOM_CHANNELS))


def test_the_window_of_a_hole_stays_inside():
    mask = np.zeros((128, 128), bool)
    mask[100:132, 40:72] = True
    assert fill_scores.inner_window(mask, 64) == (slice(64, 128), slice(24, 88))


def test_the_tables_name_the_best_classical_fill_and_the_scan_s_own_lattice():
    masks, subjects = np.stack([MIDDLE] * 6), list("aabbcc")
    fills = {"run": WINDOWS, "telea": WINDOWS + 0.04, "laplace": WINDOWS + 0.02}
    by_hole = {name: fill_scores.pixel_scores(images, WINDOWS, masks) | {"vgg_distance": np.arange(6.0) + len(name)}
               for name, images in fills.items()}  # fmt: skip
    distances = {name: {"kid": (len(name), (0, 9)), "referee": (1.0, None)} for name in fills}
    scores = fill_report.KindScores(subjects, by_hole, distances)
    assert scores.best_classical("mae") == "laplace"
    assert scores.best_classical("vgg_distance") == "telea"
    assert "PSNR less laplace's" in fill_report.differences_table(scores)
    assert "KID over telea's" in fill_report.differences_table(scores)
    lines = fill_report.scores_table(scores).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["run", "telea", "laplace", "the scan itself"]
    assert " to " in lines[-1]


def decoded(upsample, side):
    """Content `[128, 128]` from 16x16 random maps by three untrained layers that double its size and convolve."""
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((4, 16, 16))
    for width in (4, 4, 1):
        kernels, larger = rng.standard_normal((width, 4, side, side)), [upsample(x) for x in np.maximum(maps, 0)]
        maps = np.stack([sum(convolve(x, k) for x, k in zip(larger, kernel, strict=True)) for kernel in kernels])
    return 0.5 + 0.05 * (maps[0] - maps[0].mean()) / maps[0].std()


def with_zeros(x):
    """What a convolution of stride 2, transposed, convolves."""
    return np.kron(x, [[1.0, 0.0], [0.0, 0.0]])


def test_strided_transposed_convolutions_leave_a_lattice_and_resized_ones_do_not():
    transposed, resized = (
        10 * np.log10(fill_scores.lattice_ratios(decoded(upsample, side), MIDDLE).max())
        for upsample, side in ((with_zeros, 4), (lambda x: zoom(x, 2, order=1), 3))
    )
    assert transposed > 8
    assert resized < 5


def test_vgg_scores_compare_the_square_round_the_hole(monkeypatch):
    monkeypatch.setattr(fill_scores, "BATCH", 2)
    vgg, masks = fill_scores.VggScores(vgg19_weights.resolve("random")), np.stack([MIDDLE] * 2)
    outside = WINDOWS[:2].copy()
    outside[:, :20] = 0
    fills = {"changed elsewhere": outside, "other": WINDOWS[2:4]}
    scores = vgg.score(fills, WINDOWS[:2], masks, side=16)
    assert scores["changed elsewhere"][0].tolist() == [0, 0]
    assert (scores["other"][0] > 0.01).all()
    assert scores["other"][1].shape == (2, 2, 512)
    np.testing.assert_array_equal(scores["changed elsewhere"][1][:, 0], scores["other"][1][:, 1])
