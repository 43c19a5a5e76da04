"""Filling scans: only masked voxels change, the fill depends on known voxels only, and bad input leaves no output."""

import functools
import gzip
import importlib.util
import json
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from absl import flags
from scipy.ndimage import binary_dilation, binary_erosion

from ipmedgan_jax import inpaint
from ipmedgan_jax.core import files, json_fields
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data import pipeline
from ipmedgan_jax.evaluation.evaluate_run import evaluate_run
from ipmedgan_jax.experiment import build, saved_config
from ipmedgan_jax.imaging import grids, mask_files, nifti, scans
from ipmedgan_jax.imaging.settings import PreparationSettings
from ipmedgan_jax.inpainting import exported, find_damage, load, load_run, model_card
from ipmedgan_jax.inpainting.fill import Variation, inpaint_volume
from ipmedgan_jax.inpainting.filling_options import Filling, MaskChoice
from ipmedgan_jax.inpainting.jobs import Job, check_output, find_jobs
from ipmedgan_jax.inpainting.learned_filler import LearnedFiller
from ipmedgan_jax.inpainting.load import load_finder
from ipmedgan_jax.inpainting.masked_volume import MaskedVolume
from ipmedgan_jax.inpainting.model import Generator, Trained
from ipmedgan_jax.inpainting.scan import inpaint_file
from ipmedgan_jax.systems.classical import FILLS
from ipmedgan_jax.training import loop

SIDE = 8
AS_GIVEN = Filling()
SETTINGS = PreparationSettings("ct", image_size=32, resample_mm=0.0, window_hu=(0.0, 1000.0))


def trained(**changes):
    return Trained(replace(SETTINGS, **changes), SIDE, trained_on_any_shape=True, batch_size=3)


def smooth(batch):
    """A generator of smooth images: a thin-plate spline over the masked pixels."""
    filled = batch["image"].copy()
    for image, (row, column, height, width), shape in zip(filled[..., 0], batch["hole"], batch["hole_mask"], strict=True):
        mask = np.zeros(image.shape, bool)
        mask[row : row + height, column : column + width] = shape
        image[...] = FILLS["biharmonic"](image, mask)
    return filled


def constant(value):
    def fill(batch):
        filled = np.full_like(batch["image"], np.nan)  # pixels outside the hole must not be used
        for image, (row, column, height, width) in zip(filled, batch["hole"], strict=True):
            image[row : row + height, column : column + width] = value
        return filled

    return fill


def fill_volume(fill, trained, volume, mask, planes=("axial",), **options):
    return inpaint_volume(fill, MaskedVolume(trained, volume, mask, planes), **options)


def generator(fill=smooth, **changes):
    training_data = {"lowest_spacing_mm": [0.1] * 3, "highest_spacing_mm": [99.0] * 3, "phantom": False, "slices_seen": 5000}
    return Generator("made up", 7, "nowhere", trained(**changes), training_data, fill)


def ramp(shape=(30, 26, 5)) -> np.ndarray:
    """An array that rises by 10, 5 and 20 per voxel along X, Y and Z."""
    x, y, z = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return (100 + 10 * x + 5 * y + 20 * z).astype(np.float64)


def square(shape=(30, 26, 5)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[12:18, 10:15, 1:3] = True
    return mask


def volume_of(array, spacing_mm=(1.0, 1.0, 1.0)) -> scans.Volume:
    return scans.Volume(Path("made.nii"), array.astype(np.float32), spacing_mm, "RAS", True)


def write(path: Path, array, codes="RAS", dtype=np.int16, scaling=(1.0, 0.0), spacing=(1.0, 1.0, 1.0)) -> Path:
    """Writes a canonical array as a NIfTI file with axes `codes`, an extension, and different qform and sform codes."""
    axes = nibabel.orientations.axcodes2ornt(codes)
    image = nibabel.Nifti1Image(array, np.diag([*spacing, 1.0]))
    image = image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.orientations.axcodes2ornt("RAS"), axes))
    stored = (image.get_fdata() - scaling[1]) / scaling[0]
    header = nibabel.Nifti1Header()
    header.set_data_dtype(dtype)
    header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"kept"))
    made = nibabel.Nifti1Image(stored.astype(dtype), image.affine, header)
    made.set_qform(image.affine, code=1)
    made.set_sform(image.affine, code=4)
    made.header["descrip"] = b"as it came"
    nibabel.save(made, path)
    if scaling != (1.0, 0.0):  # nibabel would choose its own, so it is written into the file
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[112:120] = struct.pack("<ff", *scaling)
        path.write_bytes(gzip.compress(bytes(content)))
    return path


def job(tmp_path, mask=True) -> Job:
    return Job(tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz" if mask else None, tmp_path / "out" / "filled.nii.gz")


def fill_file(tmp_path, filling=AS_GIVEN, made=None, mask=True):
    work = job(tmp_path, mask)
    check_output(work, overwrite=True)
    report = inpaint_file(LearnedFiller(made or generator()), work, filling)
    return report, work


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("codes", ["RAS", "LPI", "PIR"])
@pytest.mark.parametrize(
    ("dtype", "scaling"), [(np.int16, (1.0, 0.0)), (np.uint8, (4.0, 60.0)), (np.float32, (0.5, -20.0)), (">i2", (1.0, 0.0))]
)
def test_only_the_masked_voxels_bytes_change(tmp_path, codes, dtype, scaling):
    write(tmp_path / "scan.nii.gz", ramp(), codes, dtype, scaling)
    write(tmp_path / "mask.nii.gz", square().astype(float), codes, np.uint8)
    _, work = fill_file(tmp_path)
    before, after = (gzip.decompress(path.read_bytes()) for path in (work.image, work.output))
    size = np.dtype(dtype).itemsize
    header = len(before) - ramp().size * size
    assert before[:header] == after[:header]
    filled = nibabel.load(work.output)
    assert [code for _, code in (filled.get_qform(coded=True), filled.get_sform(coded=True))] == [1, 4]
    a, b = (np.frombuffer(content, dtype, offset=header).reshape(filled.shape, order="F") for content in (before, after))
    mask = np.asarray(nibabel.load(work.mask).dataobj) > 0
    assert a[~mask].tobytes() == b[~mask].tobytes()
    values = nibabel.as_closest_canonical(filled).get_fdata()
    np.testing.assert_allclose(values[square()], ramp()[square()], atol=max(1.0, scaling[0]))


def test_what_cannot_be_stored_is_clipped_to_what_can(tmp_path):
    write(tmp_path / "scan.nii.gz", np.clip(ramp(), 0, 255), dtype=np.uint8)
    write(tmp_path / "mask.nii.gz", square().astype(float), dtype=np.uint8)
    _, work = fill_file(tmp_path, made=generator(constant(1.0)))
    assert set(nibabel.load(work.output).get_fdata()[square()]) == {255}


def test_the_json_file_says_what_was_done(tmp_path):
    write(tmp_path / "scan.nii.gz", ramp(), spacing=(1.0, 2.0, 5.0))
    write(tmp_path / "mask.nii.gz", square().astype(float), dtype=np.uint8, spacing=(1.0, 2.0, 5.0))
    report, work = fill_file(tmp_path)
    assert json.loads(work.sidecar.read_text()) == report
    assert (report["system"], report["step"], report["mask_voxels"], report["slices"]) == ("made up", 7, 60, 2)
    assert report["mask_ml"] == pytest.approx(0.6)
    assert sorted(path.name for path in work.output.parent.iterdir()) == ["filled.json", "filled.nii.gz"]


def test_nifti_2_and_a_trailing_axis_are_filled_as_they_are(tmp_path):
    nibabel.save(nibabel.Nifti2Image(ramp()[..., None].astype(np.int16), np.eye(4)), tmp_path / "scan.nii.gz")
    write(tmp_path / "mask.nii.gz", square().astype(float), dtype=np.uint8)
    _, work = fill_file(tmp_path)
    filled = nibabel.load(work.output)
    assert isinstance(filled, nibabel.Nifti2Image)
    assert filled.shape == (30, 26, 5, 1)
    np.testing.assert_allclose(filled.get_fdata()[..., 0], ramp(), atol=1)


# ------------------------------------------------------------------ fills


@pytest.mark.parametrize("plane", grids.PLANES)
@pytest.mark.parametrize(
    ("spacing", "settings"),
    [
        ((1.0, 1.0, 1.0), {}),
        ((0.6, 1.3, 1.5), {"resample_mm": 1.0}),
        ((1.0, 1.0, 1.0), {"fit": "scale"}),
        ((0.8, 0.8, 1.2), {"fit": "scale", "image_size": 32, "resample_mm": 2.0}),
    ],
)
def test_a_ramp_is_filled_as_a_ramp_on_any_grid_and_plane(plane, spacing, settings):
    array, mask = ramp((30, 26, 24)), np.zeros((30, 26, 24), bool)
    mask[12:16, 10:14, 9:12] = True
    hidden = np.where(mask, 999, array)
    filled = fill_volume(smooth, trained(**settings), volume_of(hidden, spacing), mask, planes=[plane])
    np.testing.assert_array_equal(filled[~mask], hidden[~mask].astype(np.float32))
    np.testing.assert_allclose(filled[mask], array[mask], atol=6)  # about half of the difference of neighbouring voxels


def test_planes_are_averaged():
    array, mask = ramp((30, 26, 24)), np.zeros((30, 26, 24), bool)
    mask[12:16, 10:15, 9:14] = True
    values = iter([-1.0, 0.0, 1.0])
    training_data = {}

    def by_plane(batch):
        shape = tuple(np.ptp(np.argwhere(batch["image"][0, ..., 0] > batch["image"][0].min()), axis=0))
        if shape not in training_data:
            training_data[shape] = next(values)
        return constant(training_data[shape])(batch)

    filled = fill_volume(by_plane, trained(), volume_of(array), mask, planes=("axial", "coronal", "sagittal"))
    assert len(training_data) == 3
    np.testing.assert_allclose(filled[mask], 500, atol=0.1)


def test_what_was_under_the_mask_does_not_matter():
    mask = square() | np.roll(square(), 9, axis=0)
    fills = [
        fill_volume(
            lambda batch: np.full_like(batch["image"], batch["image"].mean()),
            trained(),
            volume_of(np.where(mask, hidden, ramp())),
            mask,
        )
        for hidden in (-5000, 70, 9999)
    ]
    np.testing.assert_array_equal(fills[0][mask], fills[1][mask])
    np.testing.assert_array_equal(fills[0][mask], fills[2][mask])


@pytest.mark.parametrize("place", [(slice(0, 3), slice(0, 4)), (slice(28, 30), slice(20, 26)), (slice(5, 25), slice(3, 24))])
def test_holes_at_the_border_and_larger_than_the_square_are_filled(place):
    mask = np.zeros((30, 26, 5), bool)
    mask[(*place, slice(2, 3))] = True
    filled = fill_volume(constant(0.0), trained(), volume_of(ramp()), mask)
    np.testing.assert_allclose(filled[mask], 500, atol=0.1)
    np.testing.assert_array_equal(filled[~mask], ramp()[~mask])


def test_many_slices_and_parts_are_all_filled():
    rng = np.random.default_rng(0)
    mask = rng.random((40, 44, 30)) < 0.02
    filled = fill_volume(constant(0.0), trained(image_size=64), volume_of(ramp((40, 44, 30))), mask)
    np.testing.assert_allclose(filled[mask], 500, atol=0.1)


def test_a_hole_far_from_the_head_moves_the_input_window():
    array = np.full((200, 200, 3), -1000.0)
    array[20:60, 20:60] = 300
    mask = np.zeros(array.shape, bool)
    mask[190:196, 190:197] = True
    training_data = []

    def look(batch):
        training_data.append(batch)
        return constant(0.0)(batch)

    filled = fill_volume(look, trained(), volume_of(array), mask)
    np.testing.assert_allclose(filled[mask], 500, atol=0.1)
    assert all((batch["hole"] >= 0).all() and (batch["hole"][:, :2] + SIDE <= 32).all() for batch in training_data)


# ------------------------------------------------------------------ masks


def test_a_mask_on_another_grid_is_taken_at_the_nearest_voxels(tmp_path):
    write(tmp_path / "scan.nii.gz", ramp())
    fine = square().repeat(2, 0).repeat(2, 1)
    affine = np.array([[0.5, 0, 0, -0.25], [0, 0.5, 0, -0.25], [0, 0, 1, 0], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(fine.astype(np.uint8), affine), tmp_path / "mask.nii.gz")
    mask, notes = mask_files.read_mask(tmp_path / "mask.nii.gz", scans.read_scan(tmp_path / "scan.nii.gz"))
    np.testing.assert_array_equal(mask, square())
    assert len(notes) == 1
    assert "another grid" in notes[0]


def mask_on(tmp_path, mask, affine, scan_spacing=(1.0, 1.0, 1.0)):
    write(tmp_path / "scan.nii.gz", ramp(), spacing=scan_spacing)
    nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8), affine), tmp_path / "mask.nii.gz")
    return mask_files.read_mask(tmp_path / "mask.nii.gz", scans.read_scan(tmp_path / "scan.nii.gz"))


def test_a_thin_lesion_between_thick_slices_is_not_lost(tmp_path):
    mask = np.zeros((30, 26, 25), bool)
    mask[12, 10, 8] = mask[12, 10, 13] = True  # in mm; the scan's slices are 5 mm thick, with centres at 0, 5, ...
    found, _ = mask_on(tmp_path, mask, np.eye(4), (1.0, 1.0, 5.0))
    assert sorted(map(tuple, np.argwhere(found))) == [(12, 10, 2), (12, 10, 3)]


def test_a_coarse_mask_reaches_the_volume_s_faces(tmp_path):
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    affine[:3, 3] = 0.5, 0.5, 2.0
    found, _ = mask_on(tmp_path, np.ones((15, 13, 1)), affine)
    assert found.all()


def test_masked_voxels_outside_the_scan_are_counted(tmp_path):
    affine = np.eye(4)
    affine[0, 3] = 20
    mask = np.zeros((30, 26, 6), bool)
    mask[5:15, 3, 2] = True
    found, notes = mask_on(tmp_path, mask, affine)
    assert found.sum() == 5
    assert "5 of 10 masked voxels lie outside scan.nii.gz" in notes[1]


def test_files_without_sform_and_qform_are_matched_voxel_by_voxel(tmp_path):
    write(tmp_path / "scan.nii.gz", ramp(), "LPS")
    content = bytearray(gzip.decompress((tmp_path / "scan.nii.gz").read_bytes()))
    content[252:256] = struct.pack("<hh", 0, 0)  # qform_code, sform_code
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(bytes(content)))
    write(tmp_path / "mask.nii.gz", square().astype(float), "LPS", np.uint8)
    report, work = fill_file(tmp_path, made=generator(constant(1.0)))
    changed = np.asarray(nibabel.load(work.output).dataobj) != np.asarray(nibabel.load(work.image).dataobj)
    np.testing.assert_array_equal(changed, np.asarray(nibabel.load(work.mask).dataobj) > 0)
    assert any("matched by their order" in line for line in report["warnings"])


def test_nan_voxels_may_be_masked(tmp_path):
    write(tmp_path / "scan.nii.gz", np.where(square(), np.nan, ramp()), dtype=np.float32)
    write(tmp_path / "mask.nii.gz", square().astype(float), dtype=np.uint8)
    _, work = fill_file(tmp_path)
    np.testing.assert_allclose(nibabel.load(work.output).get_fdata(), ramp(), atol=1)


def test_a_slice_without_a_known_voxel_is_filled_along_other_planes_alone(tmp_path):
    write(tmp_path / "scan.nii.gz", ramp())
    mask = np.zeros((30, 26, 5))
    mask[:, :, 2] = 1
    write(tmp_path / "mask.nii.gz", mask, dtype=np.uint8)
    for planes in (("axial",), ("coronal", "axial")):
        with pytest.raises(UserError, match=r"1 slice of the plane axial .*number 2 from 0.*--planes=coronal,sagittal"):
            fill_file(tmp_path, made=generator(constant(0.0)), filling=replace(AS_GIVEN, planes=planes))
    report, work = fill_file(tmp_path, made=generator(constant(0.0)), filling=replace(AS_GIVEN, planes=("coronal",)))
    np.testing.assert_allclose(nibabel.load(work.output).get_fdata()[:, :, 2], 500, atol=1)
    assert report["plausibility"]["figure"] is None


def test_a_slice_whose_head_is_masked_entirely_is_warned_of(tmp_path):
    array, mask = np.zeros((30, 26, 5)), np.zeros((30, 26, 5))
    array[5:25, 5:21] = ramp()[5:25, 5:21]
    mask[4:26, 4:22, 2] = 1
    write(tmp_path / "scan.nii.gz", array)
    write(tmp_path / "mask.nii.gz", mask, dtype=np.uint8)
    report, _ = fill_file(tmp_path, made=generator(constant(0.0)))
    assert any("without a known voxel of the head (number 2 from 0" in line for line in report["warnings"])


def test_labels_choose_what_is_filled(tmp_path):
    write(tmp_path / "scan.nii.gz", ramp())
    labels = square() * 2.0
    labels[0, 0, 0] = 1
    write(tmp_path / "mask.nii.gz", labels, dtype=np.uint8)
    scan = scans.read_scan(tmp_path / "scan.nii.gz")
    with pytest.raises(UserError, match=r"holds the values 1, 2: name those to be filled with --mask_labels"):
        mask_files.read_mask(tmp_path / "mask.nii.gz", scan)
    np.testing.assert_array_equal(mask_files.read_mask(tmp_path / "mask.nii.gz", scan, [2])[0], square())


def test_dilation_is_in_millimetres():
    mask = np.zeros((11, 11, 11), bool)
    mask[5, 5, 5] = True
    grown = mask_files.dilate(mask, 2.0, (1.0, 2.0, 3.0))
    assert [int(np.ptp(where)) for where in np.nonzero(grown)] == [4, 2, 0]
    np.testing.assert_array_equal(mask_files.dilate(mask, 0.0, (1.0, 1.0, 1.0)), mask)


def test_metal_is_found_by_its_hu(tmp_path):
    array = np.where(square(), 3500.0, ramp())
    write(tmp_path / "scan.nii.gz", array)
    filling = Filling(mask=MaskChoice(above_hu=3000.0, dilate_mm=1.0))
    report, work = fill_file(tmp_path, filling, mask=False)
    assert report["mask_voxels"] > 60
    assert nibabel.load(work.output).get_fdata().max() < 700
    with pytest.raises(UserError, match="no voxel is above 5000"):
        fill_file(tmp_path, Filling(mask=MaskChoice(above_hu=5000.0)), mask=False)
    with pytest.raises(UserError, match="trained on MRI"):
        fill_file(tmp_path, filling, generator(modality="mri"), mask=False)


# ------------------------------------------------------------------ bad input


def put(what):
    """Returns a function that replaces the mask by an array."""
    return lambda tmp_path: write(tmp_path / "mask.nii.gz", what, dtype=np.float32)


def truncated(tmp_path):
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])


def of_another_size(tmp_path):
    content = bytearray(gzip.decompress((tmp_path / "scan.nii.gz").read_bytes()))
    content[42:44] = struct.pack("<h", 300)
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(bytes(content)))


def enormous(tmp_path):
    content = bytearray(gzip.decompress((tmp_path / "scan.nii.gz").read_bytes()))
    content[42:48] = struct.pack("<hhh", 32000, 32000, 32000)
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(bytes(content)))


def inside_the_header(tmp_path):
    content = bytearray(gzip.decompress((tmp_path / "scan.nii.gz").read_bytes()))
    content[108:112] = struct.pack("<f", 0)
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(bytes(content)))


def without_number(tmp_path):
    content = bytearray(gzip.decompress((tmp_path / "mask.nii.gz").read_bytes()))
    content[112:120] = struct.pack("<ff", 1, np.nan)
    (tmp_path / "mask.nii.gz").write_bytes(gzip.compress(bytes(content)))


def bomb(tmp_path):
    path = tmp_path / "scan.nii.gz"
    with path.open("ab") as file:
        for _ in range(3):
            file.write(gzip.compress(bytes(2**20)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (put(np.ones((30, 26, 4))), "has shape .30, 26, 4., scan.nii.gz has .30, 26, 5.: not a mask of that volume"),
        (put(np.zeros((30, 26, 5))), "mask.nii.gz: is empty, every voxel is 0; there is nothing to fill .--empty_mask=copy"),
        (put(np.ones((30, 26, 5))), "every voxel is masked"),
        (put(np.ones((30, 26, 5, 2))), "a mask is 3-D"),
        (put(np.full((30, 26, 5), np.nan)), "NaN or infinite; a mask"),
        (lambda p: write(p / "scan.nii.gz", np.ones((4, 4, 4, 3))), "a 3-D volume is needed"),
        (lambda p: write(p / "scan.nii.gz", np.full((30, 26, 5), np.nan), dtype=np.float32), "NaN or infinite"),
        (truncated, "not a readable NIfTI file"),
        (of_another_size, r"it ends after \d+ bytes, its header promises"),
        (enormous, "GiB of memory to read"),
        (bomb, "holds more than the"),
        (inside_the_header, "begin at byte 0, inside its header"),
        (without_number, "mask.nii.gz: not a readable NIfTI file"),
        (lambda p: (p / "mask.nii.gz").unlink(), "mask.nii.gz: not found"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing_behind(tmp_path, spoil, message):
    write(tmp_path / "scan.nii.gz", ramp())
    write(tmp_path / "mask.nii.gz", square().astype(float), dtype=np.uint8)
    spoil(tmp_path)
    with pytest.raises(UserError, match=message):
        fill_file(tmp_path)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_outputs_that_would_be_lost_are_refused_before_any_work(tmp_path):
    work = job(tmp_path)
    with pytest.raises(UserError, match="would overwrite an input"):
        check_output(replace(work, output=work.image), overwrite=True)
    work.output.parent.mkdir()
    work.output.touch()
    with pytest.raises(UserError, match="exists; choose another name"):
        check_output(work, overwrite=False)
    check_output(work, overwrite=True)
    (tmp_path / "a_file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        check_output(replace(work, output=tmp_path / "a_file" / "x.nii"), overwrite=True)


def test_what_an_interrupted_fill_has_written_is_written_anew_and_nothing_else(tmp_path, monkeypatch):
    write(tmp_path / "scan.nii.gz", ramp())
    write(tmp_path / "mask.nii.gz", square().astype(float), dtype=np.uint8)
    work = job(tmp_path)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ipmedgan_jax.imaging.nifti.write_array", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fill_file(tmp_path, Filling(samples=2))
    assert work.output.exists()
    assert work.begun
    assert not work.done
    check_output(work, overwrite=False, deviation=True)
    fill_file(tmp_path, Filling(samples=2))
    assert work.done
    with pytest.raises(UserError, match="exists; choose another name"):
        check_output(work, overwrite=False)
    work.sidecar.unlink()  # the output could be another tool's
    assert not work.done
    with pytest.raises(UserError, match="exists; choose another name"):
        check_output(work, overwrite=False)


@pytest.mark.parametrize("name", ["filled.json", "filled_std.nii.gz", "filled_mask.nii.gz"])
def test_files_beside_the_output_are_not_lost_either(tmp_path, name):
    work = job(tmp_path)
    work = replace(work, mask_output=work.beside)
    work.output.parent.mkdir()
    (work.output.parent / name).touch()
    with pytest.raises(UserError, match=f"{name}: exists"):
        check_output(work, overwrite=False, deviation=True)
    with pytest.raises(UserError, match="would overwrite an input"):
        check_output(replace(work, mask=work.output.parent / name), overwrite=True, deviation=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"planes": []}, "--planes=: expected some of axial, coronal, sagittal, each once"),
        ({"planes": ["axial", "axial"]}, "each once"),
        ({"mask_labels": ["1", "a"]}, "--mask_labels=1,a: expected whole numbers above 0"),
        ({"mask_labels": ["0"]}, "expected whole numbers above 0"),
        ({"dilate_mm": float("nan")}, "--dilate_mm=nan"),
        ({"mask": None}, "expected one of --mask, --mask_above_hu and --finder"),
        ({"finder": "runs/finder"}, "expected one of --mask, --mask_above_hu and --finder"),
        ({"mask": None, "mask_above_hu": 1.0, "mask_labels": ["1"]}, "--mask_labels needs a --mask"),
        ({"samples": 1}, "at least 2"),
        (
            {"image": "x.nii", "output": "y.nii", "mask_output": "z.png"},
            "--mask_output=z.png: expected a .nii, .nii.gz or .dcm",
        ),
        ({"image": "x.nii", "output": "y"}, "expected a name that ends in .nii or .nii.gz"),
        ({"image": "x.nii", "output": "y.nii"}, "expected one of --workdir, --model and --system"),
    ],
)
def test_flags_that_make_no_sense_are_named(monkeypatch, given, message):
    with pytest.raises(UserError, match=message):
        command(monkeypatch, **{"mask": "m.nii", "image": "x", "output": "y"} | given)


def command(monkeypatch, **given):
    """Runs the command with these flags, the others at their defaults."""
    values = flags.FlagValues()
    monkeypatch.setattr(
        inpaint,
        "flags",
        SimpleNamespace(
            FLAGS=values,
            **{
                name: functools.partial(getattr(flags, name), flag_values=values)
                for name in dir(flags)
                if name.startswith("DEFINE_")
            },
        ),
    )
    monkeypatch.setattr(inpaint.ranks, "flags", inpaint.flags)
    monkeypatch.setattr(flags, "DEFINE_flag", inpaint.flags.DEFINE_flag)  # of --checkpoint
    inpaint.define_flags()
    values.mark_as_parsed()
    for name, value in given.items():
        values[name].value = value
    inpaint.fill()


def test_the_command_fills_what_its_flags_say(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(load, "load_filler", lambda *_: LearnedFiller(generator()))
    write(tmp_path / "scan.nii.gz", ramp())
    write(tmp_path / "mask.nii.gz", 4 * square().astype(float), dtype=np.uint8)
    work = job(tmp_path)
    command(
        monkeypatch, image=str(work.image), mask=str(work.mask), output=str(work.output), mask_labels=["4"], dilate_mm=1.0
    )
    report = json.loads(work.sidecar.read_text())
    changed = np.asarray(nibabel.load(work.output).dataobj) != ramp()
    assert capsys.readouterr().out.startswith(f"{work.output}: {report['mask_voxels']:,} voxels")
    assert (report["mask_labels"], report["dilated_mm"], report["slices"]) == ([4], 1.0, 4)
    assert report["mask_voxels"] > square().sum()
    assert not changed[~mask_files.dilate(square(), 1.0, (1.0, 1.0, 1.0))].any()


def test_shards_fill_their_own_images_and_answer_for_them_alone(tmp_path, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(load, "load_filler", lambda *_: made.append(1) or LearnedFiller(generator()))
    (tmp_path / "in").mkdir()
    for i in range(4):
        write(tmp_path / "in" / f"sub-{i}_scan.nii.gz", ramp())
        write(tmp_path / "in" / f"sub-{i}_mask.nii.gz", square().astype(float), dtype=np.uint8)
    write(tmp_path / "in" / "sub-4_scan.nii.gz", ramp())  # without a mask
    (tmp_path / "in" / "sub-1_scan.nii.gz").write_bytes(b"damaged")
    given = {"image": f"{tmp_path}/in", "mask": f"{tmp_path}/in", "output": f"{tmp_path}/out"}
    with pytest.raises(UserError, match=r"1 image not filled"):
        command(monkeypatch, **given, shard="1/3")  # images 0 and 3, and the one without a mask
    assert written_subjects(tmp_path / "out") == ["sub-0", "sub-3"]
    with pytest.raises(UserError, match=r"1 image not filled"):
        command(monkeypatch, **given, shard="2/3")  # the damaged one
    command(monkeypatch, **given, shard="3/3")
    assert written_subjects(tmp_path / "out") == ["sub-0", "sub-2", "sub-3"]
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("sub-*")}
    assert len(made) == 3
    command(monkeypatch, **given, shard="3/3")  # again: what is there is compared, and nothing is filled
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("sub-*")} == times
    assert capsys.readouterr().out.count("slices filled") == 3


def written_subjects(folder):
    return sorted(path.name.partition("_")[0] for path in folder.glob("*.nii.gz"))


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "x.nii").write_bytes(b"old")
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        nifti.write(tmp_path / "x.nii", b"new")
    assert os.listdir(tmp_path) == ["x.nii"]  # noqa: PTH208
    assert (tmp_path / "x.nii").read_bytes() == b"old"


# ------------------------------------------------------------------ warnings


@pytest.mark.parametrize(
    ("changes", "array", "mask", "line"),
    [
        ({}, ramp() - 1000, square(), ""),
        ({}, ramp(), square(), "not the usual HU of CT"),
        ({"modality": "mri"}, ramp() - 1000, square(), "look like the HU of CT"),
        ({"window_hu": (-1000.0, -700.0)}, ramp() - 1000, square(), "lie outside the intensity window of -1000 to -700"),
        ({}, ramp() - 1000, np.arange(26).reshape(1, -1, 1).repeat(30, 0).repeat(5, 2) > 8, "of the head: little is left"),
        ({}, ramp() - 1000, np.arange(26).reshape(1, -1, 1).repeat(30, 0).repeat(5, 2) > 15, "larger than the 8 x 8 pixels"),
    ],
)
def test_a_doubtful_scan_gives_a_warning_and_with_strict_an_error(tmp_path, changes, array, mask, line):
    write(tmp_path / "scan.nii.gz", array)
    write(tmp_path / "mask.nii.gz", mask.astype(float), dtype=np.uint8)
    made = generator(**({"window_hu": (-1000.0, 1000.0)} | changes))
    report, _ = fill_file(tmp_path, made=made)
    assert any(line in warning for warning in report["warnings"]) if line else not report["warnings"]
    if line:
        with pytest.raises(UserError, match="--strict"):
            fill_file(tmp_path, Filling(strict=True), made)


def test_a_generator_of_squares_warns_of_other_shapes(tmp_path):
    write(tmp_path / "scan.nii.gz", ramp() - 1000)
    made = generator(window_hu=(-1000.0, 1000.0))
    made = replace(made, trained=replace(made.trained, trained_on_any_shape=False))
    for width, warnings in ((SIDE, 0), (SIDE - 1, 1)):
        mask = np.zeros((30, 26, 5))
        mask[5 : 5 + width, 10 : 10 + SIDE, 2] = 1
        write(tmp_path / "mask.nii.gz", mask, dtype=np.uint8)
        report, _ = fill_file(tmp_path, made=made)
        assert len(report["warnings"]) == warnings


def test_voxels_of_another_size_than_in_training_give_a_warning(tmp_path):
    write(tmp_path / "scan.nii.gz", ramp() - 1000, spacing=(1.0, 1.0, 5.0))
    write(tmp_path / "mask.nii.gz", square().astype(float), dtype=np.uint8, spacing=(1.0, 1.0, 5.0))
    made = generator(window_hu=(-1000.0, 1000.0))
    for highest, warnings in ((4.0, 0), (2.0, 1)):
        spacing = {"lowest_spacing_mm": [0.9, 0.9, 1.0], "highest_spacing_mm": [1.1, 1.1, highest]}
        report, _ = fill_file(tmp_path, made=replace(made, training_data=made.training_data | spacing))
        assert len(report["warnings"]) == warnings


# ------------------------------------------------------------------ many files


def touch(tmp_path, *names):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()


def test_masks_are_found_by_their_bids_entities_and_outputs_named_after_images(tmp_path):
    touch(
        tmp_path,
        "in/sub-01/anat/sub-01_FLAIR.nii.gz",
        "in/sub-02/ses-1/anat/sub-02_ses-1_run-2_FLAIR.nii.gz",
        "in/sub-01/anat/sub-01_label-lesion_mask.nii.gz",
        "in/sub-02/ses-1/anat/sub-02_ses-1_run-2_desc-x_mask.nii.gz",
        "in/sub-02/ses-1/anat/sub-02_ses-1_run-1_mask.nii.gz",
    )
    pattern = f"{tmp_path}/in/**/*_"
    found, _ = find_jobs(f"{pattern}FLAIR.nii.gz", f"{pattern}mask.nii.gz", tmp_path / "out")
    assert [str(job.output.relative_to(tmp_path)) for job in found] == [
        "out/sub-01/anat/sub-01_desc-inpainted_FLAIR.nii.gz",
        "out/sub-02/ses-1/anat/sub-02_ses-1_run-2_desc-inpainted_FLAIR.nii.gz",
    ]
    assert [job.mask.name for job in found] == ["sub-01_label-lesion_mask.nii.gz", "sub-02_ses-1_run-2_desc-x_mask.nii.gz"]
    assert found[0].sidecar.name == "sub-01_desc-inpainted_FLAIR.json"


def test_a_folder_of_scans_masks_and_outputs_is_sorted_out(tmp_path):
    names = ["sub-01_FLAIR", "sub-01_label-lesion_mask", "sub-01_desc-inpainted_FLAIR", "._sub-01_FLAIR", "sub-02_FLAIR"]
    touch(tmp_path, *(f"in/{name}.nii.gz" for name in names))
    found, refused = find_jobs(str(tmp_path / "in"), str(tmp_path / "in"), tmp_path / "in")
    assert [(job.image.name, job.mask.name) for job in found] == [("sub-01_FLAIR.nii.gz", "sub-01_label-lesion_mask.nii.gz")]
    assert len(refused) == 1
    assert "sub-02_FLAIR.nii.gz: none of the masks fits" in refused[0].reason
    touch(tmp_path, "in/sub-01_FLAIR.nii", "in/scan[1].nii.gz")
    with pytest.raises(UserError, match="would both be written to"):
        find_jobs(str(tmp_path / "in"), str(tmp_path / "in"), tmp_path / "in")
    (one,), _ = find_jobs(str(tmp_path / "in/scan[1].nii.gz"), "m.nii", tmp_path / "x.nii")
    assert one.image.name == "scan[1].nii.gz"
    with pytest.raises(UserError, match="expected the name of a folder"):
        find_jobs(str(tmp_path / "in"), str(tmp_path / "in"), tmp_path / "x.nii")


def test_masks_without_bids_names_have_their_image_s_name(tmp_path):
    touch(tmp_path, "images/a.nii.gz", "images/b.nii", "masks/a_mask.nii.gz", "masks/b.nii.gz")
    found, _ = find_jobs(str(tmp_path / "images"), str(tmp_path / "masks"), tmp_path / "out")
    assert [(job.mask.name, job.output.name) for job in found] == [
        ("a_mask.nii.gz", "a_desc-inpainted.nii.gz"),
        ("b.nii.gz", "b_desc-inpainted.nii"),
    ]
    touch(tmp_path, "masks/a.nii.gz")
    touch(tmp_path, "images/c.nii")
    found, refused = find_jobs(str(tmp_path / "images"), str(tmp_path / "masks"), tmp_path / "out")
    assert [job.mask.name for job in found] == ["a_mask.nii.gz", "b.nii.gz"]  # a name that ends in _mask comes first
    assert len(refused) == 1
    assert "c.nii: none of the masks fits" in refused[0].reason
    with pytest.raises(UserError, match="no NIfTI file"):
        find_jobs(str(tmp_path / "none*"), None, tmp_path / "out")
    with pytest.raises(UserError, match=r"expected a name that ends in \.nii"):
        find_jobs(str(tmp_path / "images/a.nii.gz"), None, tmp_path / "out")
    with pytest.raises(UserError, match=r"--image=.*scns: not found"):
        find_jobs(str(tmp_path / "scns"), None, tmp_path / "out")


# ------------------------------------------------------------------ a run


def test_a_run_s_generator_fills_as_its_evaluation_does_and_so_when_exported(tiny_config, tmp_path):
    kinds = {"holes__kinds": ("square", "blob"), "holes__smallest": 4}
    built = build.build_experiment(tiny_config("unet", train__steps=2, train__ema=0.9, **kinds))
    loop.train(built, tmp_path / "run")
    report = evaluate_run(built, tmp_path / "run")
    network = load_run.load_network(tmp_path / "run", "best")
    found, program, weights = network.generator(), network.program, network.weights
    assert found.trained.trained_on_any_shape
    assert (found.name, found.step) == ("unet", 2)
    assert found.training_data["volumes"] == 2
    assert f"| psnr | {report['region']['hole']['psnr']['mean']:.4g} |" in model_card.card(found, report)
    first = next(pipeline.evaluation_slices(built.dataset.directory, "test", built.holes))
    row, column, height, width = first.hole
    mask = np.zeros((32, 32), bool)
    mask[row : row + height, column : column + width] = True
    volume = volume_of(canonical(first.record.intensities()))
    filled = fill_volume(found.inpaint, found.trained, volume, canonical(mask))
    low, high = first.record.window
    shown = (grids.PLANES["axial"](filled)[0] - low) * 2 / (high - low) - 1
    kept = np.load(tmp_path / "run" / "evaluation" / "fills.npz")["fill"][0]
    np.testing.assert_allclose(shown[row : row + height, column : column + width], kept, atol=1e-3)

    exported.write(tmp_path / "model", found, program, weights, model_card.card(found, None))
    again = exported.read(tmp_path / "model")
    assert (again.name, again.step, again.trained, again.training_data) == (
        found.name,
        found.step,
        found.trained,
        found.training_data,
    )
    volume, mask = volume_of(ramp((40, 36, 3))), np.zeros((40, 36, 3), bool)
    mask[10:30, 12:20, 1] = True
    fills = [fill_volume(loaded.inpaint, loaded.trained, volume, mask) for loaded in (found, again)]
    np.testing.assert_allclose(fills[0], fills[1], atol=0.05)
    assert "Not for diagnosis" in (tmp_path / "model" / "MODEL_CARD.md").read_text()
    with pytest.raises(UserError, match="exists"):
        exported.write(tmp_path / "model", found, program, weights, "")
    arguments = f"None, {str(tmp_path / 'model')!r}, None, 'best'"
    loads = f"import sys; from ipmedgan_jax.inpainting import load; load.load_filler({arguments})"
    training_code = {"flax", "optax", "orbax", "grain", "ipmedgan_jax.training", "ipmedgan_jax.experiment"}
    assert all(importlib.util.find_spec(name) for name in training_code)  # a misspelt name would never be imported
    check = f"assert not {training_code} & set(sys.modules), sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", f"{loads}\n{check}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]


def canonical(image):
    """Turns an axial slice `[rows, columns]` into a volume of one slice."""
    return image.T[::-1, ::-1, None]


@pytest.mark.parametrize("name", ["weights.npz", "generator.stablehlo", "model.json"])
def test_a_damaged_model_is_named(tmp_path, name):
    def program(weights, image, hole, shape):
        return image + weights[0]

    exported.write(tmp_path / "model", generator(), program, [np.float32(1.0)], "card")
    shapes = np.zeros((3, SIDE, SIDE), np.uint8)
    batch = {"image": np.zeros((3, 32, 32, 1)), "hole": np.zeros((3, 4), np.int32), "hole_mask": shapes}
    assert exported.read(tmp_path / "model").inpaint(batch).max() == 1
    content = (tmp_path / "model" / name).read_bytes()
    (tmp_path / "model" / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="damaged"):
        exported.read(tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    with pytest.raises(UserError, match="not found"):
        exported.read(tmp_path / "model")


def test_a_changed_description_of_a_model_is_refused(tmp_path):
    exported.write(tmp_path / "model", generator(), lambda weights, *batch: batch[0], [np.float32(1.0)], "card")
    path = tmp_path / "model" / "model.json"
    good = json.loads(path.read_text())
    for changed in (
        good | {"sha256": {}},
        good | {"sha256": []},
        good | {"trained": good["trained"] | {"hole_size": 12}},
        good | {"trained": good["trained"] | {"colour": 1}},
        good | {"training_data": 3},
    ):
        path.write_text(json.dumps(json_fields.sealed(changed)))
        with pytest.raises(UserError, match="damaged or of another version"):
            exported.read(tmp_path / "model")


# ------------------------------------------------------------------ uncertainty


def test_a_varied_fill_is_of_the_same_hole_at_the_same_place():
    mask = np.zeros((30, 26, 5), bool)
    mask[10:16, 8:10, 2] = mask[10:12, 8:12, 2] = True  # unlike its mirror image
    for mirrored in (False, True):
        variation = Variation(np.random.default_rng(0), mirrored)
        filled = fill_volume(smooth, trained(), volume_of(ramp()), mask, variation=variation)
        np.testing.assert_allclose(filled[mask], ramp()[mask], atol=25)  # within noise: 1 % of 500
        np.testing.assert_array_equal(filled[~mask], ramp()[~mask])


def test_deviation_is_that_of_the_fills(tmp_path):
    write(tmp_path / "scan.nii.gz", ramp(), "LPI")
    write(tmp_path / "mask.nii.gz", square().astype(float), "LPI", np.uint8)
    values = iter([0.0, *[-0.1, 0.1] * 2])  # the fill itself, then four more
    made = generator(lambda batch: constant(next(values))(batch))
    report, work = fill_file(tmp_path, Filling(samples=4), made)
    spread = nibabel.load(work.deviation)
    np.testing.assert_array_equal(spread.affine, nibabel.load(work.image).affine)
    found = nibabel.as_closest_canonical(spread).get_fdata()
    np.testing.assert_allclose(found[square()], 50 * np.sqrt(4 / 3), rtol=1e-3)
    assert not found[~square()].any()
    assert report["samples"] == 4


# ------------------------------------------------------------------ finders


def finder(find, **changes):
    return find_damage.LoadedFinder("made up finder", 9, "elsewhere", replace(SETTINGS, **changes), 3, find)


@pytest.mark.parametrize(
    ("shape", "spacing", "settings"),
    [
        ((30, 26, 5), (1.0, 1.0, 1.0), {}),
        ((40, 50, 5), (1.0, 1.0, 1.0), {}),  # larger than the network's input
        ((30, 26, 7), (0.8, 1.2, 3.0), {"resample_mm": 1.0}),
        ((30, 26, 3), (1.0, 1.0, 1.0), {"fit": "scale"}),
    ],
)
def test_what_is_found_in_slices_is_found_at_its_place_in_the_volume(shape, spacing, settings):
    array, expected = np.full(shape, 300.0), np.zeros(shape, bool)
    expected[12:20, 10:16, 1:3] = True
    array[expected] = 900
    bright = finder(lambda images: (images > 0.2).astype(np.float32), **settings)
    counted = []
    found = find_damage.find_in_volume(bright, volume_of(array, spacing), counted.append)
    assert sum(counted) == shape[2]
    differing = found ^ expected
    assert not (differing & ~binary_dilation(expected, np.ones((3, 3, 1)))).any()
    assert not (differing & binary_erosion(expected, np.ones((3, 3, 1)))).any()
    if not settings:
        assert not differing.any()


def test_a_scan_is_filled_where_damage_is_found_and_the_mask_is_shown(tmp_path):
    damaged = np.where(square(), 2000.0, ramp())
    write(tmp_path / "scan.nii.gz", damaged, "LPI")
    choice = MaskChoice(finder=finder(lambda images: (images >= 1).astype(np.float32), window_hu=(0.0, 1500.0)))
    work = replace(job(tmp_path, mask=False), mask_output=tmp_path / "shown.nii.gz")
    report = inpaint_file(LearnedFiller(generator()), work, Filling(mask=choice))
    assert report["mask"] == "found by made up finder, step 9, of elsewhere"
    assert report["mask_voxels"] == square().sum()
    shown = nibabel.load(work.mask_output)
    assert shown.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(shown.affine, nibabel.load(work.image).affine)
    np.testing.assert_array_equal(nibabel.as_closest_canonical(shown).get_fdata() > 0, square())
    filled = nibabel.as_closest_canonical(nibabel.load(work.output)).get_fdata()
    np.testing.assert_array_equal(filled[~square()], damaged[~square()])
    np.testing.assert_allclose(filled[square()], ramp()[square()], atol=6)


def test_a_scan_without_damage_or_with_nan_is_not_filled(tmp_path):
    write(tmp_path / "scan.nii.gz", ramp())
    nothing = Filling(mask=MaskChoice(finder=finder(np.zeros_like)))
    with pytest.raises(UserError, match="no damage found"):
        fill_file(tmp_path, nothing, mask=False)
    write(tmp_path / "scan.nii.gz", np.where(square(), np.nan, ramp()), dtype=np.float32)
    with pytest.raises(UserError, match="NaN"):
        fill_file(tmp_path, nothing, mask=False)
    assert not (tmp_path / "out").exists()


def test_runs_that_find_and_runs_that_fill_are_told_apart(tiny_config, tmp_path):
    for system, refuses, message in (
        ("finder", load_run.load, "fills nothing"),
        ("unet", load_run.load_finder, "finds no damage"),
    ):
        files.write_json(tmp_path / "config.json", saved_config.as_json(tiny_config(system)))
        with pytest.raises(UserError, match=message):
            refuses(tmp_path, "best")


def test_finder_and_generator_are_of_one_modality(monkeypatch):
    monkeypatch.setattr(load_run, "load_finder", lambda *_: finder(np.zeros_like))
    assert load_finder("runs/finder", LearnedFiller(generator())).name == "made up finder"
    with pytest.raises(UserError, match="was trained on ct, the generator on mri"):
        load_finder("runs/finder", LearnedFiller(generator(modality="mri")))
