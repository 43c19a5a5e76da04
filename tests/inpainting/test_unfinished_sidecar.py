"""Two processes that fill one scan at once: the sidecar that stays is that of the output that stays."""

import json

import nibabel
import numpy as np
import pytest

from ipmedgan_jax.core import files
from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.inpainting import sidecar
from ipmedgan_jax.inpainting.classical_filler import ClassicalFiller
from ipmedgan_jax.inpainting.filling_options import Filling, MaskChoice
from ipmedgan_jax.inpainting.jobs import UNFINISHED, Job
from ipmedgan_jax.inpainting.scan import inpaint_file
from ipmedgan_jax.inpainting.unfinished_sidecar import UnfinishedSidecar

FILLING = Filling(mask=MaskChoice(above_hu=500.0))
FILLER = ClassicalFiller("surround_mean")


def scan_values():
    values = np.random.default_rng(0).integers(-1000, 200, (16, 16, 4)).astype(np.int16)
    values[6:9, 6:9, 1] = 900
    return values


def test_the_slower_of_two_fills_of_a_series_leaves_the_files_of_the_faster_one(tmp_path):
    pytest.importorskip("pydicom")
    from tests.dicom_series import write_series

    job = Job(write_series(tmp_path / "in", scan_values()), None, tmp_path / "out")
    other = []

    def progress(done, total):
        if not other:
            other.append(inpaint_file(FILLER, job, FILLING, progress=lambda done, total: None))

    with pytest.raises(UserError, match="out: exists by now, written by another process"):
        inpaint_file(FILLER, job, FILLING, progress=progress)
    assert json.loads(job.sidecar.read_text()) == json.loads(json.dumps(other[0]))
    assert not sidecar.changed_outputs(other[0], [job.output])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "out.json"]


@pytest.fixture
def job(tmp_path):
    nibabel.save(nibabel.Nifti1Image(scan_values(), np.eye(4)), tmp_path / "scan.nii.gz")
    return Job(tmp_path / "scan.nii.gz", None, tmp_path / "out.nii.gz")


@pytest.mark.parametrize("written", ["finished", "unfinished"])
def test_a_failed_fill_does_not_take_the_sidecar_that_another_process_wrote_since(job, monkeypatch, written):
    theirs = {"their": "output"} | ({UNFINISHED: "their mark"} if written == "unfinished" else {})

    def fail(*_, **__):
        files.write_json(job.sidecar, theirs)
        raise OSError("disk full")

    monkeypatch.setattr("ipmedgan_jax.imaging.nifti.NiftiFile.write_filled", fail)
    with pytest.raises(UserError, match="disk full"):
        inpaint_file(FILLER, job, FILLING)
    assert sidecar.read(job.sidecar) == theirs


@pytest.mark.parametrize("before", ["nothing", "unfinished", "finished", "of other outputs", "without digests"])
def test_a_sidecar_is_withdrawn_for_the_one_before_if_that_is_still_true(job, before):
    job.output.write_bytes(b"output")
    earlier = {"unfinished": {UNFINISHED: True}, "without digests": {"system": "x"}}.get(before, {})
    if before in ("finished", "of other outputs"):
        earlier = sidecar.digests_of_outputs([job.output])
    if before != "nothing":
        files.write_json(job.sidecar, earlier)
    own = UnfinishedSidecar(job)
    own.write({"system": "mine"})
    if before == "of other outputs":
        job.output.write_bytes(b"other")
    own.withdraw()
    assert sidecar.read(job.sidecar) == (earlier if before in ("unfinished", "finished") else {})
    assert job.sidecar.exists() == (before in ("unfinished", "finished"))
