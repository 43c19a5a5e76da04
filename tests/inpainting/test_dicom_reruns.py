"""A call on DICOM that is repeated skips what is finished, goes on where it was interrupted, and overwrites on demand."""

import json
import shutil

import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.provenance import digest_of_path
from ipmedgan_jax.core.ranks import Shard
from ipmedgan_jax.imaging import scans
from ipmedgan_jax.inpainting import input_digests
from ipmedgan_jax.inpainting.classical_filler import ClassicalFiller
from ipmedgan_jax.inpainting.cohort import Cohort, fill_cohort
from ipmedgan_jax.inpainting.filling_options import Filling
from tests.inpainting.test_scan import ramp, square

pytest.importorskip("pydicom", reason="the extra dicom is not installed")

from ipmedgan_jax.imaging import dicom_seg_writing
from tests.dicom_series import write_series

STEM = "study/series-{}_desc-inpainted"


def add_series(study, number, seed=0):
    """Adds a series, without a mask, to those in the folder of a study."""
    write_series(study / "new", ramp() + seed, SeriesNumber=number, SeriesDescription=f"ax {number}")
    for path in (study / "new").iterdir():
        path.rename(study / f"{number}-{path.name}")
    (study / "new").rmdir()


@pytest.fixture
def study(tmp_path):
    """A folder with the slices of two series, and one with their masks."""
    for number in (1, 2):
        add_series(tmp_path / "study", number)
        scan = scans.read_scan(tmp_path / "study", series=f"{number}")
        (tmp_path / "masks").mkdir(exist_ok=True)
        where = scan.in_file_order(square())
        dicom_seg_writing.write(tmp_path / "masks" / f"{number}.dcm", scan.file.datasets, where, "made up")
    return tmp_path / "study"


def fill(study, *series, mask="masks", output="out", system="laplace", filling=None, **options):
    """Fills series; returns the times of all files of the output."""
    root = study.parent
    cohort = Cohort(image=str(study), mask=str(root / mask), output=root / output, series=series, report=False, **options)
    fill_cohort(cohort, filling or Filling(), Shard(0, 1), lambda: ClassicalFiller(system))
    return {path: path.stat().st_mtime_ns for path in sorted((root / "out").rglob("*")) if path.is_file()}


def sidecar_of(study, number):
    return study.parent / "out" / (STEM.format(number) + ".json")


def with_entries(path, **entries):
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_what_else_lies_in_the_folders_does_not_undo_finished_series(study):
    before = fill(study, "1", "2")
    digests = [json.loads(sidecar_of(study, number).read_text())["image_sha256"] for number in (1, 2)]
    assert digests[0] != digests[1]
    add_series(study, 3)
    (study / "notes.txt").write_text("called the patient")
    (study.parent / "masks" / "notes.txt").write_text("drawn anew")
    assert fill(study, "1", "2") == before


def test_a_slice_that_changes_undoes_its_series_alone(study, caplog):
    fill(study, "1", "2")
    path = next(study.glob("2-*.dcm"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="1 of 2 outputs"):
        fill(study, "1", "2")
    assert "series-2_desc-inpainted: made otherwise: the image's SHA-256 was" in caplog.text


def test_a_mask_in_a_folder_is_the_same_whatever_lies_beside_it(study, tmp_path):
    (study / "seg.dcm").write_bytes((tmp_path / "masks/1.dcm").read_bytes())
    fill(study, "1", mask="study", output="out/one")
    first = json.loads((tmp_path / "out/one.json").read_text())
    add_series(study, 3)
    fill(study, "1", mask="study", output="out/two")
    second = json.loads((tmp_path / "out/two.json").read_text())
    assert first["mask_sha256"] == second["mask_sha256"] == digest_of_path(study / "seg.dcm")
    assert first["image_sha256"] == second["image_sha256"]


def test_a_series_of_labels_has_the_digest_of_its_files(tmp_path):
    labels = write_series(tmp_path / "labels", square() - 1024)
    before = digest_of_path(labels)
    (labels / "notes.txt").write_text("drawn twice")
    assert input_digests.of_mask(labels) == before


def test_outputs_with_the_digest_of_a_whole_folder_stay_finished(study, caplog):
    before = fill(study, "1", "2")
    for number in (1, 2):
        with_entries(sidecar_of(study, number), image_sha256=digest_of_path(study))
    assert fill(study, "1", "2").keys() == before.keys()
    with_entries(sidecar_of(study, 1), image_sha256="0" * 64)
    with pytest.raises(UserError, match="1 of 2 outputs"):
        fill(study, "1", "2")


# ------------------------------------------------------------------ replacing folders


def test_overwrite_fills_series_anew(study):
    fill(study, "1", "2")
    with pytest.raises(UserError, match=r"2 of 2 outputs that exist were made otherwise .* give --overwrite"):
        fill(study, "1", "2", system="biharmonic")
    fill(study, "1", "2", system="biharmonic", overwrite=True)
    for number in (1, 2):
        path = sidecar_of(study, number)
        saved = json.loads(path.read_text())
        assert saved["system"] == "biharmonic"
        assert saved["written_sha256"] == {path.stem: digest_of_path(path.with_suffix(""))}
    assert not [path for path in (study.parent / "out/study").iterdir() if path.name.startswith(".")]


def test_one_series_is_overwritten_too(study, tmp_path):
    fill(study, "1", mask="masks/1.dcm", output="out/one")
    with pytest.raises(UserError, match="out/one: exists; choose another name, or give --overwrite"):
        fill(study, "1", mask="masks/1.dcm", output="out/one")
    fill(study, "1", mask="masks/1.dcm", output="out/one", system="biharmonic", overwrite=True)
    assert json.loads((tmp_path / "out/one.json").read_text())["system"] == "biharmonic"


@pytest.mark.parametrize("begin", ["slices", "segmentation"])
def test_an_interrupted_batch_goes_on(study, monkeypatch, begin):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    where = {"slices": "dicom_writing.write_derived", "segmentation": "dicom_seg_writing.write"}[begin]
    with monkeypatch.context() as patch:
        patch.setattr(f"ipmedgan_jax.imaging.{where}", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fill(study, "1", "2", save_masks=True)
    assert sidecar_of(study, 1).with_suffix("").exists() == (begin == "segmentation")
    found = fill(study, "1", "2", save_masks=True)
    assert len([path for path in found if path.parent.name.startswith("series-")]) == 2 * 5
    assert fill(study, "1", "2", save_masks=True) == found


def test_overwriting_that_is_interrupted_keeps_the_old_series_and_goes_on(study, monkeypatch):
    before = fill(study, "1", "2")
    slices = [path for path in before if path.suffix == ".dcm"]
    with monkeypatch.context() as patch:
        patch.setattr("pydicom.dcmwrite", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fill(study, "1", "2", overwrite=True)
    assert all(path.stat().st_mtime_ns == before[path] for path in slices)
    after = fill(study, "1", "2")
    assert {path.parent for path in slices if after[path] != before[path]} == {sidecar_of(study, 1).with_suffix("")}


def spoil_slice(folder):
    next(folder.iterdir()).write_bytes(b"")


def add_file(folder):
    (folder / "notes.txt").write_text("compared with the earlier scan")


def remove_sidecar(folder):
    folder.with_name(f"{folder.name}.json").unlink()


def link_elsewhere(folder):
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")


@pytest.mark.parametrize("spoil", [spoil_slice, add_file, remove_sidecar, link_elsewhere])
def test_a_folder_that_is_not_as_a_fill_wrote_it_is_never_replaced(study, spoil):
    fill(study, "1", "2")
    folder = sidecar_of(study, 1).with_suffix("")
    spoil(folder)
    content = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match=f": exists, and {folder.name}.json does not describe it as it is; move it away"):
        fill(study, "1", "2", overwrite=True)
    assert {path: path.read_bytes() for path in folder.iterdir()} == content


def test_a_series_without_its_folder_says_what_to_do(study):
    fill(study, "1", "2")
    shutil.rmtree(sidecar_of(study, 1).with_suffix(""))
    with pytest.raises(UserError, match=r"series-1.*\.json: exists, but series-1_desc-inpainted does not; move all files"):
        fill(study, "1", "2")
    fill(study, "1", "2", overwrite=True)
