"""A cohort goes on at scans with nothing to fill; every doubt about a mask is a warning, and with --strict an error."""

import gzip
import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.inpainting import load
from ipmedgan_jax.inpainting.filling_options import Filling, MaskChoice
from ipmedgan_jax.inpainting.jobs import check_output
from ipmedgan_jax.inpainting.learned_filler import LearnedFiller
from ipmedgan_jax.inpainting.scan import inpaint_file
from tests.inpainting.test_scan import command, fill_file, finder, generator, job, ramp, square, write

NOTHING = np.zeros_like(ramp())


@pytest.fixture
def cohort(tmp_path, monkeypatch):
    """A function that fills three subjects, of which the second has an empty mask; returns the output folder."""
    monkeypatch.setattr(load, "load_filler", lambda *_: LearnedFiller(generator()))
    (tmp_path / "in").mkdir()
    for i, mask in enumerate((square(), NOTHING, square())):
        write(tmp_path / "in" / f"sub-{i}_scan.nii.gz", ramp(), "LPI")
        write(tmp_path / "in" / f"sub-{i}_mask.nii.gz", mask.astype(float), "LPI", np.uint8)

    def fill(**given):
        command(monkeypatch, image=f"{tmp_path}/in", mask=f"{tmp_path}/in", output=f"{tmp_path}/out", **given)
        return tmp_path / "out"

    return fill


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.stem != "report")


def test_an_empty_mask_is_an_error_of_its_subject(cohort, tmp_path):
    with pytest.raises(UserError, match=r"1 image not filled"):
        cohort()
    assert names(tmp_path / "out") == [f"sub-{i}_desc-inpainted_scan.{end}" for i in (0, 2) for end in ("json", "nii.gz")]


def test_a_scan_with_an_empty_mask_is_copied_with_a_file_that_says_so(cohort, tmp_path, capsys):
    out = cohort(empty_mask="copy", save_masks=True)
    report = json.loads((out / "sub-1_desc-inpainted_scan.json").read_text())
    assert (report["mask_voxels"], report["mask_ml"], report["slices"], report["warnings"]) == (0, 0.0, 0, [])
    assert "is empty, every voxel is 0" in report["empty_mask"]
    copy, source = out / "sub-1_desc-inpainted_scan.nii.gz", tmp_path / "in" / "sub-1_scan.nii.gz"
    assert gzip.decompress(copy.read_bytes()) == gzip.decompress(source.read_bytes())
    for i, count in enumerate((square().sum(), 0, square().sum())):
        mask = nibabel.load(out / f"sub-{i}_desc-inpainted_scan_mask.nii.gz")
        assert np.count_nonzero(mask.dataobj) == count
    assert "an unchanged copy of" in capsys.readouterr().out
    cohort(empty_mask="copy")  # again: every output exists
    assert not capsys.readouterr().out


def test_a_scan_with_an_empty_mask_is_skipped(cohort, capsys):
    out = cohort(empty_mask="skip")
    assert names(out) == [f"sub-{i}_desc-inpainted_scan.{end}" for i in (0, 2) for end in ("json", "nii.gz")]
    assert "sub-1_desc-inpainted_scan.nii.gz: not written; " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("choice", "with_mask", "reason"),
    [
        (MaskChoice(), True, "is empty, every voxel is 0"),
        (MaskChoice(labels=(4,)), True, "has no label 4; every voxel is 0"),
        (MaskChoice(above_hu=5000.0), False, "no voxel is above 5000"),
        (MaskChoice(finder=finder(np.zeros_like)), False, "no damage found"),
    ],
)
def test_whatever_selects_nothing_is_copied(tmp_path, choice, with_mask, reason):
    write(tmp_path / "scan.nii.gz", ramp())
    write(tmp_path / "mask.nii.gz", NOTHING, dtype=np.uint8)
    report, work = fill_file(tmp_path, Filling(mask=choice, empty_mask="copy", samples=2), mask=with_mask)
    assert reason in report["empty_mask"]
    assert not np.any(nibabel.load(work.deviation).dataobj)
    np.testing.assert_array_equal(nibabel.load(work.output).get_fdata(), ramp())
    with pytest.raises(UserError, match=f"{reason}.* .--empty_mask=copy or --empty_mask=skip goes on."):
        fill_file(tmp_path, Filling(mask=choice), mask=with_mask)


def test_a_mask_outside_the_scan_is_no_empty_mask(tmp_path):
    write(tmp_path / "scan.nii.gz", ramp())
    affine = np.eye(4)
    affine[0, 3] = 500
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), np.uint8), affine), tmp_path / "mask.nii.gz")
    with pytest.raises(UserError, match="lies outside"):
        fill_file(tmp_path, Filling(empty_mask="copy"))


@pytest.mark.parametrize("labels", [(1, 4), (4,)])
def test_an_absent_label_is_a_warning_and_with_strict_an_error(tmp_path, labels):
    write(tmp_path / "scan.nii.gz", ramp() - 1000)
    write(tmp_path / "mask.nii.gz", square().astype(float), dtype=np.uint8)
    choice, made = MaskChoice(labels=labels), generator(window_hu=(-1000.0, 1000.0))
    report, _ = fill_file(tmp_path, Filling(mask=choice, empty_mask="copy"), made)
    assert [warning.rpartition("/")[2] for warning in report["warnings"]] == ["mask.nii.gz: has no label 4; its labels are 1"]
    with pytest.raises(UserError, match=r"has no label 4; its labels are 1 \(--strict\)"):
        fill_file(tmp_path, Filling(mask=choice, empty_mask="copy", strict=True), made)


@pytest.mark.parametrize(("place", "warned"), [(slice(2, 5), True), (slice(12, 18), False), (slice(20, 24), False)])
def test_a_mask_in_the_air_is_noticed(tmp_path, place, warned):
    head, mask = np.full(ramp().shape, -1000.0), NOTHING.copy()
    head[11:22, 6:20] = 40
    mask[place, 8:14, 2] = 1
    write(tmp_path / "scan.nii.gz", head)
    write(tmp_path / "mask.nii.gz", mask, dtype=np.uint8)
    report, _ = fill_file(tmp_path, made=generator(window_hu=(-1000.0, 1000.0)))
    assert any("does the mask lie on the head?" in warning for warning in report["warnings"]) == warned


def test_doubts_about_names_and_headers_are_warnings_and_with_strict_errors(tmp_path):
    forms = nibabel.load(write(tmp_path / "scan.nii.gz", ramp() - 1000))
    forms.set_qform(np.diag([1, 1, 1, 1]) + np.eye(4, k=3) * 7, 1)
    nibabel.save(forms, tmp_path / "sub-1_scan.nii.gz")
    write(tmp_path / "sub-2_mask.nii.gz", square().astype(float), dtype=np.uint8)
    work = replace(job(tmp_path), image=tmp_path / "sub-1_scan.nii.gz", mask=tmp_path / "sub-2_mask.nii.gz")
    check_output(work, overwrite=False)
    report = inpaint_file(LearnedFiller(generator(window_hu=(-1000.0, 1000.0))), work, Filling())
    assert len(report["warnings"]) == 2
    assert "its qform and its sform lie up to 7.0 mm apart" in report["warnings"][0]
    assert "is named after sub-2, the image after sub-1" in report["warnings"][1]
    with pytest.raises(UserError, match=r"7\.0 mm apart; the sform is used \(--strict\)"):
        inpaint_file(LearnedFiller(generator()), work, Filling(strict=True))


@pytest.mark.parametrize("text", ["empty_mask", "warnings"])
def test_texts_in_a_json_file_name_no_home_folder(tmp_path, monkeypatch, text):
    home = tmp_path / "ada"
    monkeypatch.setenv("HOME", str(home))
    home.mkdir()
    write(home / "scan.nii.gz", ramp() - 1000)
    write(home / "mask.nii.gz", NOTHING if text == "empty_mask" else square().astype(float), dtype=np.uint8)
    filling = Filling(mask=MaskChoice(labels=(1, 4)), empty_mask="copy")
    report, work = fill_file(home, filling, generator(window_hu=(-1000.0, 1000.0)))
    assert "~/mask.nii.gz: has no label" in str(report[text])
    assert str(home) not in work.sidecar.read_text()
