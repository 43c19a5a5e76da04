"""Scans are filled with classical fills: slice by slice on their own grid, in their own unit, without any training."""

import gzip
import json

import cv2
import nibabel
import numpy as np
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import grids, scans
from ipmedgan_jax.inpainting import sidecar
from ipmedgan_jax.inpainting.classical_filler import ClassicalFiller
from ipmedgan_jax.inpainting.filling_options import Filling, MaskChoice
from ipmedgan_jax.inpainting.scan import inpaint_file
from ipmedgan_jax.systems.classical import FILLS, FULL_RANGE_FILLS
from tests.inpainting.test_scan import command, finder, job, ramp, square, write, written_subjects

contrib = pytest.mark.skipif(not hasattr(cv2, "xphoto"), reason="plain OpenCV, without contrib")
every_fill = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=contrib if name == "shift_map" else ()) for name in FILLS]
)
SHAPE = (30, 26, 5)


def tissue(shape=SHAPE) -> np.ndarray:
    """An array between about -1000 and 1500, as HU are, with noise and one voxel of metal."""
    array = 30 * ramp(shape) / 10 - 1300 + np.random.default_rng(0).normal(0, 20, shape)
    array[0, 0] = 20_000
    return array.astype(np.float32)


def fill(tmp_path, name="laplace", array=None, mask=None, filling=None, **options):
    """Fills one scan; returns the report and the arrays before and after, canonical."""
    write(tmp_path / "scan.nii.gz", tissue() if array is None else array, dtype=np.float32, **options)
    write(tmp_path / "mask.nii.gz", (square() if mask is None else mask).astype(float), dtype=np.uint8, **options)
    filling = filling or Filling()
    work = job(tmp_path, mask=filling.mask.above_hu is None and filling.mask.finder is None)
    report = inpaint_file(ClassicalFiller(name), work, filling)
    return report, *(scans.read_scan(path, finite=False).volume.array for path in (work.image, work.output))


def filled_by_hand(name, array, mask, plane="axial"):
    filled = array.copy()
    slices, masks = grids.PLANES[plane](filled), grids.PLANES[plane](mask)
    for i in np.flatnonzero(masks.any((1, 2)) & ~masks.all((1, 2))):
        slices[i] = FULL_RANGE_FILLS[name](slices[i].copy(), masks[i].copy())
    return filled


@every_fill
@pytest.mark.parametrize("plane", grids.PLANES)
def test_masked_voxels_are_the_fill_of_their_slice_and_all_others_bit_identical(tmp_path, name, plane):
    _, before, after = fill(tmp_path, name, filling=Filling(planes=(plane,)), codes="LPI")
    assert after[~square()].tobytes() == before[~square()].tobytes()
    np.testing.assert_array_equal(after, filled_by_hand(name, before, square(), plane))
    files = [gzip.decompress((tmp_path / path).read_bytes()) for path in ("scan.nii.gz", "out/filled.nii.gz")]
    header = len(files[0]) - before.nbytes
    assert files[0][:header] == files[1][:header]


def test_the_fills_of_several_planes_are_averaged(tmp_path):
    _, before, after = fill(tmp_path, filling=Filling(planes=tuple(grids.PLANES)))
    by_plane = [filled_by_hand("laplace", before, square(), plane).astype(float) for plane in grids.PLANES]
    np.testing.assert_allclose(after, np.mean(by_plane, axis=0), rtol=1e-6)


def test_the_sidecar_says_that_no_network_filled(tmp_path):
    report, *_ = fill(tmp_path)
    assert json.loads((tmp_path / "out" / "filled.json").read_text()) == report
    assert report["system"] == "laplace"
    assert [report[key] for key in ("step", "run", "weights_sha256", "training")] == [None] * 4
    assert "classical" in report["Description"]
    assert "neural" not in report["Description"]
    assert (report["mask_voxels"], report["slices"], report["warnings"]) == (60, 2, [])


def test_what_was_under_the_mask_does_not_matter(tmp_path):
    _, _, expected = fill(tmp_path)
    (tmp_path / "nan").mkdir()
    _, _, found = fill(tmp_path / "nan", array=np.where(square(), np.nan, tissue()))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("planes", [("axial",), ("axial", "coronal"), ("sagittal", "axial")])
def test_a_slice_without_a_known_voxel_is_filled_along_another_plane(tmp_path, planes):
    array = np.broadcast_to(100.0 * np.arange(5), SHAPE).copy()
    mask = np.zeros(SHAPE, bool)
    mask[:, :, 3] = mask[12:18, 10:15, 1] = True
    report, _, after = fill(tmp_path, array=array, mask=mask, filling=Filling(planes=planes))
    np.testing.assert_allclose(after, array, rtol=1e-6)
    warned = "1 slice without a known voxel filled along other planes: coronal" in report["warnings"]
    assert warned == (planes == ("axial",))
    mask[:, 12], mask[15] = True, True
    with pytest.raises(UserError, match=r"scan.nii.gz: 1 voxel cannot be filled, because .* in any plane"):
        fill(tmp_path, array=array, mask=mask)


def test_metal_is_found_by_its_hu_unless_the_scan_is_an_mri(tmp_path):
    array = np.where(square(), 3500.0, ramp() - 1000)
    filling = Filling(mask=MaskChoice(above_hu=3000.0, dilate_mm=1.0))
    report, _, after = fill(tmp_path, array=array, filling=filling)
    assert after.max() < 0
    assert (report["mask_voxels"] > 60, report["warnings"]) == (True, [])
    report, *_ = fill(tmp_path, array=array + 1000, filling=filling)
    assert "--mask_above_hu: no value below -200, so not the usual HU of CT (lowest 100)" in report["warnings"]
    write(tmp_path / "sub-1_T1w.nii.gz", array)
    with pytest.raises(UserError, match=r"sub-1_T1w.nii.gz: is of modality mri by its name or header, and has no HU for"):
        fill_named(tmp_path, "sub-1_T1w.nii.gz", filling)


def fill_named(tmp_path, name, filling):
    work = job(tmp_path, mask=False)
    return inpaint_file(ClassicalFiller("laplace"), type(work)(tmp_path / name, None, work.output), filling)


def test_a_finder_of_another_modality_than_the_scan_s_gives_a_warning(tmp_path):
    found = finder(lambda images: np.ones_like(images) * (np.abs(images) < 0.3))
    report, *_ = fill(tmp_path, array=ramp(), filling=Filling(mask=MaskChoice(finder=found)))
    assert any("not the usual HU of CT" in line for line in report["warnings"])


def test_a_mask_in_the_air_over_most_of_the_head_or_in_flat_pixels_gives_a_warning(tmp_path):
    head = np.full((40, 40, 5), -1000.0)
    head[4:30, 4:30] = 50
    air, most = np.zeros(head.shape), np.zeros(head.shape)
    air[36:38, 36:38, 2], most[5:29, 5:29] = 1, 1
    for mask, spacing, line in (
        (air, (1.0, 1.0, 1.0), "does the mask lie on the head"),
        (most, (1.0, 1.0, 1.0), "of the head: little is left to fill it from"),
        (air, (1.0, 3.0, 1.0), "axial slices have pixels of 3 x 1 mm, far from square"),
    ):
        report, *_ = fill(tmp_path, array=head, mask=mask, spacing=spacing)
        assert any(line in warning for warning in report["warnings"])


def test_a_scan_without_contrast_is_filled_with_a_warning(tmp_path):
    for name, array in (("scan", ramp() * square()), ("mask", square().astype(float))):
        write(tmp_path / f"{name}.nii.gz", array)
    report = inpaint_file(ClassicalFiller("laplace"), job(tmp_path), Filling())
    assert not np.any(nibabel.load(tmp_path / "out" / "filled.nii.gz").dataobj)
    assert any("nearly every voxel is 0" in line for line in report["warnings"])


# ------------------------------------------------------------------ the command


@pytest.fixture
def folder(tmp_path):
    """A folder of three subjects with their masks."""
    (tmp_path / "in").mkdir()
    for i in range(3):
        write(tmp_path / "in" / f"sub-{i}_scan.nii.gz", ramp())
        write(tmp_path / "in" / f"sub-{i}_mask.nii.gz", square().astype(float), dtype=np.uint8)
    return tmp_path


def test_a_batch_is_shared_and_a_rerun_with_another_fill_refused(folder, monkeypatch, caplog, capsys):
    given = {"image": f"{folder}/in", "mask": f"{folder}/in", "output": f"{folder}/out"}
    command(monkeypatch, **given, system="laplace", shard="1/2")
    assert written_subjects(folder / "out") == ["sub-0", "sub-2"]
    command(monkeypatch, **given, system="laplace")
    assert written_subjects(folder / "out") == ["sub-0", "sub-1", "sub-2"]
    assert capsys.readouterr().out.count("slices filled") == 3
    with pytest.raises(UserError, match="3 of 3 outputs that exist were made otherwise"):
        command(monkeypatch, **given, system="telea")
    assert "system was laplace, is now telea" in caplog.text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"system": "laplac"}, r"--system=laplac: expected one of surround_mean, .*; did you mean --system=laplace\?"),
        ({"system": "unet"}, "for a trained system, give its --workdir alone"),
        ({"system": "telea", "workdir": "runs/x"}, "expected one of --workdir, --model and --system"),
        ({"system": "telea", "model": "x"}, "expected one of --workdir, --model and --system"),
        ({"system": "telea", "samples": 2}, "--samples=2: telea is a classical fill, which has no variants; leave"),
    ],
)
def test_flags_that_do_not_fit_a_classical_fill_are_named(folder, monkeypatch, given, message):
    with pytest.raises(UserError, match=message):
        command(monkeypatch, image=f"{folder}/in", mask=f"{folder}/in", output=f"{folder}/out", **given)
    assert not (folder / "out").exists()


def test_samples_are_refused_without_the_command_too(tmp_path):
    with pytest.raises(UserError, match="laplace is a classical fill, which has no variants"):
        fill(tmp_path, filling=Filling(samples=2))


def test_a_job_without_any_mask_is_refused(tmp_path):
    write(tmp_path / "scan.nii.gz", ramp())
    with pytest.raises(UserError, match=r"scan.nii.gz: expected one of --mask, --mask_above_hu and --finder"):
        inpaint_file(ClassicalFiller("laplace"), job(tmp_path, mask=False), Filling())


def test_an_output_of_a_network_without_digests_differs_from_a_classical_fill():
    saved = {"system": "unet", "step": 7, "run": "runs/x"}
    asked = {"system": "laplace", "step": None, "run": None, "weights_sha256": None}
    lines = sidecar.differences(saved, asked)
    assert lines == ["system was unet, is now laplace", "step was 7, is now none", "run was runs/x, is now none"]


def test_a_fill_that_fails_names_the_scan_and_the_plane(tmp_path):
    array, mask = np.zeros((4, 30, 2)) + np.arange(30)[:, None], np.zeros((4, 30, 2))
    mask[1:, :, 0] = 1  # one line of known pixels is left
    with pytest.raises(UserError, match=r"scan.nii.gz: a slice of the plane axial: rbf needs known pixels .* on one line"):
        fill(tmp_path, "rbf", array, mask)


def test_a_dicom_series_is_filled_and_says_by_what(tmp_path):
    pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    from ipmedgan_jax.inpainting.dicom_jobs import find_series_jobs
    from tests.dicom_series import write_series
    from tests.imaging.test_dicom import mask_of

    write_series(tmp_path / "series", ramp())
    mask_of(tmp_path)
    (work,), _ = find_series_jobs(str(tmp_path / "series"), (), str(tmp_path / "mask.nii.gz"), tmp_path / "filled")
    inpaint_file(ClassicalFiller("laplace"), work, Filling())
    before, after = (scans.read_volume(tmp_path / name).array for name in ("series", "filled"))
    np.testing.assert_array_equal(after[~square()], before[~square()])
    np.testing.assert_allclose(after, filled_by_hand("laplace", before, square()), atol=0.5)
    slice_ = pydicom.dcmread(next((tmp_path / "filled").iterdir()))
    assert slice_.DerivationDescription.startswith("60 voxels filled by the classical fill laplace (ipmedgan_jax")


def test_integers_are_rounded_by_the_file_alone(tmp_path):
    write(tmp_path / "scan.nii.gz", ramp() * 7)
    write(tmp_path / "mask.nii.gz", square().astype(float), dtype=np.uint8)
    inpaint_file(ClassicalFiller("biharmonic"), job(tmp_path), Filling())
    filled = nibabel.load(tmp_path / "out" / "filled.nii.gz").get_fdata()
    by_hand = filled_by_hand("biharmonic", (ramp() * 7).astype(np.float32), square())
    np.testing.assert_array_equal(filled, np.rint(by_hand))
