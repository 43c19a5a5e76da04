"""Jobs of a cluster that share a derivative keep each other's links and ignored files."""

import json
import threading

import pytest

from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging import bids_dataset
from ipmedgan_jax.inpainting import bids_derivative
from ipmedgan_jax.inpainting.jobs import find_jobs
from tests.inpainting.test_bids_derivative import MASKED, describe, write_nifti, write_scan


@pytest.fixture
def prepared(tmp_path):
    """Returns derivatives of one folder as jobs have them that began at once, each with masks of another folder."""
    describe(tmp_path / "raw")
    dataset = bids_dataset.find(tmp_path / "raw")

    def prepare(subject, masks, suffix="FLAIR"):
        name = f"sub-{subject}/anat/sub-{subject}_{suffix}"
        write_scan(tmp_path / "raw", name, mask=None)
        write_nifti(tmp_path / masks / f"sub-{subject}_mask.nii.gz", MASKED)
        image = str(tmp_path / "raw" / f"sub-{subject}")
        jobs, _ = find_jobs(image, str(tmp_path / masks), tmp_path / "out", dataset)
        return bids_derivative.prepare(jobs, dataset, tmp_path / masks, tmp_path / "out", None)

    return prepare


def links_in(folder):
    return json.loads((folder / "dataset_description.json").read_text())["DatasetLinks"]


def test_links_that_another_job_has_written_since_stay(prepared, tmp_path):
    describe(tmp_path / "lesions", DatasetType="derivative")
    describe(tmp_path / "drawn", DatasetType="derivative")
    both = [prepared("01", "lesions"), prepared("02", "drawn")]
    for derivative, jobs in both:
        derivative.write(jobs)
    assert links_in(tmp_path / "out") == {"raw": "../raw", "lesions": "../lesions", "drawn": "../drawn"}
    assert not (tmp_path / "out/.dataset_description.json.lock").exists()


def test_a_name_that_another_job_took_since_is_named(prepared, tmp_path):
    (first, jobs), (second, others) = prepared("01", "one"), prepared("02", "two")
    first.write(jobs)
    with pytest.raises(UserError, match=r"changed it since .* uses the link masks for another folder; run the same command"):
        second.write(others)
    again, others = prepared("02", "two")
    again.write(others)
    assert links_in(tmp_path / "out") == {"raw": "../raw", "masks": "../one", "masks2": "../two"}


def test_a_description_that_another_program_wrote_since_stays(prepared, tmp_path):
    derivative, jobs = prepared("01", "one")
    describe(tmp_path / "out", DatasetType="derivative", GeneratedBy=[{"Name": "other"}])
    with pytest.raises(UserError, match="another process has changed it since this one began; run the same command again"):
        derivative.write(jobs)
    assert "DatasetLinks" not in json.loads((tmp_path / "out/dataset_description.json").read_text())


def test_a_job_waits_while_another_one_writes(prepared, tmp_path, monkeypatch):
    """Without a lock, the second job would read the description before the first has written it, and drop its links."""
    for name in ("lesions", "drawn"):
        describe(tmp_path / name, DatasetType="derivative")
    (first, jobs), (second, others) = prepared("01", "lesions", suffix="x"), prepared("02", "drawn", suffix="y")
    waiting = threading.Thread(target=second.write, args=(others,))
    write_json = files.write_json

    def slow(path, content):
        if not waiting.ident:
            waiting.start()
            waiting.join(0.2)
        write_json(path, content)

    monkeypatch.setattr(files, "write_json", slow)
    first.write(jobs)
    waiting.join()
    assert links_in(tmp_path / "out").keys() == {"raw", "lesions", "drawn"}
    ignored = (tmp_path / "out/.bidsignore").read_text()
    assert "sub-01" in ignored
    assert "sub-02" in ignored
