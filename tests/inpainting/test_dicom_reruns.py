"""A call on DICOM that is repeated skips what is finished, goes on where it was interrupted, and overwrites on demand."""

import json

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
    """Fills the series; returns their sidecars' contents, by number, and all files below the output with their times."""
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
