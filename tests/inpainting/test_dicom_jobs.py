"""A study of several series: one is chosen, or all are filled in one call, each with the mask that refers to it."""

import json

import numpy as np
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.ranks import Shard
from ipmedgan_jax.imaging import mask_files, nifti, scans
from ipmedgan_jax.imaging.dicom_folders import list_dicom_folders
from ipmedgan_jax.imaging.input_files import list_input_files
from ipmedgan_jax.inpainting import cohort as cohorts
from ipmedgan_jax.inpainting.cohort import Cohort, fill_cohort
from ipmedgan_jax.inpainting.filling_options import Filling
from ipmedgan_jax.inpainting.learned_filler import LearnedFiller
from tests.inpainting.test_scan import generator, ramp, square

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")

from ipmedgan_jax.imaging import dicom_seg_writing  # noqa: E402
from ipmedgan_jax.inpainting.dicom_jobs import find_series_jobs  # noqa: E402
from tests.dicom_series import write_series  # noqa: E402


def write_study(folder, names=("t1", "flair", "scout"), together=False):
    """Writes series 1, 2, ... of a study, each in its folder or all in one, and a secondary capture."""
    for number, name in enumerate(names, start=1):
        place = folder if together else folder / name
        write_series(place / f"{number}" if together else place, ramp(), SeriesNumber=number, SeriesDescription=f"ax {name}")
        if together:
            for path in (folder / f"{number}").iterdir():
                path.rename(folder / f"{number}-{path.name}")
            (folder / f"{number}").rmdir()
    dataset = pydicom.dcmread(next(folder.rglob("*0.dcm")))
    dataset.SeriesInstanceUID, dataset.SeriesNumber, dataset.SeriesDescription = pydicom.uid.generate_uid(), 99, "capture"
    del dataset.ImagePositionPatient, dataset.ImageOrientationPatient
    dataset.save_as(folder / "capture.dcm")
    return folder


def jobs(folder, series, output, mask=None):
    found, refused = find_series_jobs(str(folder), series, mask, output)
    assert not refused
    return found


@pytest.mark.parametrize("together", [False, True])
def test_several_series_are_listed_and_one_is_chosen(tmp_path, together):
    study = write_study(tmp_path / "study", together=together)
    with pytest.raises(UserError, match=r'holds 3 DICOM series: 1 "ax t1" \(CT, 5 images\), 2 .*--series=NUMBER.*=all'):
        jobs(study, (), tmp_path / "out")
    uids = {job.series for name in ("2", "ax FLAIR", "ax f*r") for job in jobs(study, (name,), tmp_path / "out")}
    (uid,) = uids
    (job,) = jobs(study, (uid,), tmp_path / "out")
    assert scans.read_scan(job.image, series=job.series).file.datasets[0].SeriesDescription == "ax flair"
    with pytest.raises(UserError, match=r'--series=7: .* has no such series; it holds 1 "ax t1"'):
        jobs(study, ("7",), tmp_path / "out")


@pytest.mark.parametrize(
    ("together", "names"),
    [
        (False, ["study/t1_desc-inpainted", "study/flair_desc-inpainted", "study/scout_desc-inpainted"]),
        (True, ["study/series-1_desc-inpainted", "study/series-2_desc-inpainted", "study/series-3_desc-inpainted"]),
    ],
)
def test_outputs_are_named_after_folders_or_numbers_whatever_is_chosen(tmp_path, together, names):
    study, out = write_study(tmp_path / "study", together=together), tmp_path / "out"
    assert [str(job.output.relative_to(out)) for job in jobs(study, ("all",), out)] == names
    assert [str(job.output.relative_to(out)) for job in jobs(study, ("2", "3"), out)] == names[1:]
    if not together:
        assert [str(job.output.relative_to(out)) for job in jobs(f"{study}/t*", (), out)] == ["t1_desc-inpainted"]
        assert len(jobs(f"{study}/t1,{study}/flair", (), out)) == 2


def test_all_series_of_a_study_are_filled_by_the_masks_that_refer_to_them(tmp_path):
    study = write_study(tmp_path / "study", names=("t1", "flair"))
    voxels = {}
    for k, name in enumerate(("flair", "t1")):
        scan = scans.read_scan(study / name)
        voxels[name] = np.roll(square(), k, axis=0)
        (study / "masks").mkdir(exist_ok=True)
        path = study / "masks" / f"{k}.dcm"
        dicom_seg_writing.write(path, scan.file.datasets, scan.in_file_order(voxels[name]), "made up")
    cohort = Cohort(image=str(study), mask=str(study / "masks"), output=tmp_path / "out", series=("all",))
    fill_cohort(cohort, Filling(), Shard(0, 1), lambda: LearnedFiller(generator()))
    for name in ("t1", "flair"):
        before = scans.read_volume(study / name).array
        after = scans.read_volume(tmp_path / "out/study" / f"{name}_desc-inpainted").array
        np.testing.assert_array_equal(after[~voxels[name]], before[~voxels[name]])
        report = json.loads((tmp_path / "out/study" / f"{name}_desc-inpainted.json").read_text())
        assert report["mask_voxels"] == square().sum()


def test_a_series_without_a_mask_is_reported_and_the_others_are_filled(tmp_path):
    study = write_study(tmp_path / "study", names=("t1", "flair"))
    scan = scans.read_scan(study / "t1")
    dicom_seg_writing.write(study / "seg.dcm", scan.file.datasets, scan.in_file_order(square()), "made up")
    found, refused = find_series_jobs(str(study), ("all",), str(study), tmp_path / "out")
    assert [job.image.name for job in found] == ["t1"]
    assert len(refused) == 1
    assert "flair: series" in refused[0].reason
    assert "none of the masks refers to it" in refused[0].reason
    with pytest.raises(UserError, match=r"--mask=.*t1: names no DICOM segmentation or structure set"):
        find_series_jobs(str(study), ("all",), str(study / "t1"), tmp_path / "out")


def test_an_output_is_no_input_of_the_next_call(tmp_path):
    study = write_study(tmp_path / "study", names=("t1",))
    (job,) = jobs(study, (), tmp_path / "out")
    scan = scans.read_scan(study / "t1")
    where = scan.in_file_order(square())
    scan.file.write_filled(study / "filled", where, np.zeros(where.sum()), "made up")
    assert jobs(study, (), tmp_path / "out") == [job]
    assert len(jobs(study / "filled", (), tmp_path / "out")) == 1  # given by itself it is a scan
    with pytest.raises(UserError, match=r"is inside .*study, the folder of the series"):
        jobs(study, (), study / "new")


def test_the_filled_voxels_are_written_as_a_segmentation(tmp_path):
    write_series(tmp_path / "series", ramp())
    scan = scans.read_scan(tmp_path / "series")
    dicom_seg_writing.write(tmp_path / "seg.dcm", scan.file.datasets, scan.in_file_order(square()), "made up")
    image, mask = str(tmp_path / "series"), str(tmp_path / "seg.dcm")
    cohort = Cohort(image=image, mask=mask, output=tmp_path / "out", mask_output=tmp_path / "filled.dcm")
    fill_cohort(cohort, Filling(), Shard(0, 1), lambda: LearnedFiller(generator()))
    mask, notes = mask_files.read_mask(tmp_path / "filled.dcm", scan)
    np.testing.assert_array_equal(mask, square())
    assert not notes
    assert "voxels filled by made up at step 7" in pydicom.dcmread(tmp_path / "filled.dcm").ContentDescription


def test_a_segmentation_of_a_nifti_file_is_refused(tmp_path):
    image, output = str(tmp_path / "a.nii"), tmp_path / "out.nii"
    cohort = Cohort(image=image, mask="mask.nii", output=output, mask_output=tmp_path / "filled.dcm")
    with pytest.raises(UserError, match=r"--mask_output=.*filled.dcm: a DICOM segmentation needs a DICOM series as --image"):
        fill_cohort(cohort, Filling(), Shard(0, 1), lambda: LearnedFiller(generator()))


def test_what_reads_nifti_alone_says_so_of_dicom(tmp_path):
    folder = write_series(tmp_path / "series", ramp())
    for text in (str(folder), f"{folder}/*.dcm", str(tmp_path), f"{folder}/0.dcm"):
        with pytest.raises(UserError, match=r"names DICOM files; expected .nii or .nii.gz: convert them"):
            list_input_files(text)
    for text in (f"{folder}/*.dcm", f"{folder}/0.dcm"):
        cohort = Cohort(image=text, mask="mask.nii", output=tmp_path / "out")
        with pytest.raises(UserError, match=r"0.dcm: is one DICOM file; give the folder that holds its series"):
            fill_cohort(cohort, Filling(), Shard(0, 1), lambda: LearnedFiller(generator()))
    (tmp_path / "a.nii").touch()  # a pattern of NIfTI files may match others too
    assert [path.name for path in list_input_files(f"{tmp_path}/*")] == ["a.nii"]
    assert not list_dicom_folders(f"{tmp_path}/*")
    with pytest.raises(UserError, match=r"--series=3: is for DICOM; .* names no folder with DICOM files"):
        find_series_jobs(str(tmp_path / "none"), ("3",), None, tmp_path / "out")


def write_beside(study, name):
    nifti.write_array(study / name, square().astype(np.uint8), np.eye(4))


def test_masks_beside_series_do_not_hide_them(tmp_path):
    study = write_study(tmp_path / "study", names=("t1", "flair"))
    (study / "capture.dcm").unlink()
    for name in ("t1_mask.nii.gz", "flair_mask.nii.gz"):
        write_beside(study, name)
    for text in (f"{study}/*/", f"{study}/*"):
        assert len(jobs(text, (), tmp_path / "out")) == 2
    assert len(jobs(study, ("all",), tmp_path / "out")) == 2
    with pytest.raises(UserError, match="holds 2 DICOM series"):
        jobs(study, (), tmp_path / "out")
    write_beside(study, "scan.nii.gz")
    assert len(jobs(study, ("all",), tmp_path / "out")) == 2
    assert not list_dicom_folders(str(study))
    assert len(list_dicom_folders(f"{study}/*/")) == 2


def test_series_that_are_passed_over_are_named(tmp_path, caplog):
    study = write_study(tmp_path / "study", names=("t1",))
    for name in ("a.nii.gz", "a_mask.nii.gz"):
        write_beside(study, name)
    (study / "capture.dcm").unlink()
    (job,), _, _ = cohorts._find(Cohort(image=str(study), mask=str(study), output=tmp_path / "out"))
    assert job.image.name == "a.nii.gz"
    assert f"{study}: holds DICOM series, which are passed over" in caplog.text
