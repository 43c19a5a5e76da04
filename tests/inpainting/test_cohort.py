"""A call of `inpaint` fills what it names, or says in one line what it leaves out; no output replaces another one."""

import json

import nibabel
import numpy as np
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.core.ranks import Shard
from ipmedgan_jax.inpainting.classical_filler import ClassicalFiller
from ipmedgan_jax.inpainting.cohort import Cohort, fill_cohort
from ipmedgan_jax.inpainting.filling_options import Filling
from ipmedgan_jax.inpainting.jobs import Job, check_output, check_outputs_differ

ARRAY = {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "100"}
STEP = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8"}
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}
GAPS = ARRAY | {"SLURM_ARRAY_TASK_ID": "990"}


@pytest.fixture
def scan(tmp_path):
    """Writes one scan and its mask to `tmp_path/in`; returns the scan's path."""
    (tmp_path / "in").mkdir()
    array = np.random.default_rng(0).normal(300, 20, (16, 16, 3)).astype(np.float32)
    mask = np.zeros(array.shape, np.uint8)
    mask[6:10, 6:10, 1] = 1
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "in" / "a.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), tmp_path / "in" / "a_mask.nii.gz")
    return tmp_path / "in" / "a.nii.gz"


def fill(scan, output, *, image=None, shard=None, filling=None, **options):
    mask = scan.with_name("a_mask.nii.gz") if image is None else scan.parent
    cohort = Cohort(image=str(image or scan), mask=str(mask), output=output, **options)
    fill_cohort(cohort, filling or Filling(), shard, lambda: ClassicalFiller("laplace"))


@pytest.mark.parametrize("environment", [ARRAY, STEP, OPEN_MPI, GAPS], ids=["array", "step", "Open MPI", "array with gaps"])
def test_one_scan_is_filled_in_every_task_of_a_scheduler(scan, tmp_path, monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    fill(scan, tmp_path / "o.nii.gz")
    assert (tmp_path / "o.nii.gz").exists()


@pytest.mark.parametrize(
    ("shard", "line"),
    [
        (None, "share 6 of 100 (SLURM array): 0 of 1 scan; --shard=1/1 takes all"),
        (Shard(1, 2, "--shard"), "share 2 of 2 (--shard): 0 of 1 scan"),
    ],
)
def test_a_share_without_scans_says_so(scan, tmp_path, monkeypatch, capsys, shard, line):
    for name, value in ARRAY.items():
        monkeypatch.setenv(name, value)
    fill(scan, tmp_path / "out", image=scan.parent, shard=shard)
    assert capsys.readouterr().out.splitlines() == [line]


@pytest.mark.parametrize("name", ["o.nii.gz", "link/o.nii.gz", "o_std.nii.gz", "../x/o.nii.gz"])
def test_no_output_replaces_another_one_of_its_scan(tmp_path, name):
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "link").symlink_to(folder)
    job = Job(tmp_path / "i.nii.gz", tmp_path / "m.nii.gz", folder / "o.nii.gz", mask_output=folder / name)
    with pytest.raises(UserError, match=r"--mask_output=.*: .* would be written twice"):
        check_output(job, overwrite=True, deviation=True)


def test_no_output_replaces_that_of_another_scan(tmp_path):
    pair = [Job(tmp_path / f"{name}.nii", None, tmp_path / f"{name}.nii.gz") for name in ("x", "x_std")]
    check_outputs_differ(pair)
    with pytest.raises(UserError, match="would both be written to"):
        check_outputs_differ(pair, deviation=True)


def test_the_folder_of_the_mask_is_made_too_and_checked_before_the_fill(scan, tmp_path):
    fill(scan, tmp_path / "o.nii.gz", mask_output=tmp_path / "new" / "m.nii.gz")
    assert (tmp_path / "new" / "m.nii.gz").exists()
    assert (tmp_path / "o.json").exists()
    with pytest.raises(UserError, match=r"a.nii.gz/m.nii.gz: cannot be written, .*a.nii.gz is not a writable folder"):
        fill(scan, tmp_path / "p.nii.gz", mask_output=scan / "m.nii.gz")
    assert not (tmp_path / "p.nii.gz").exists()


def test_a_finished_output_with_a_warning_is_no_success_of_a_strict_call(scan, tmp_path, caplog):
    out = tmp_path / "out"
    fill(scan, out, image=scan.parent)
    fill(scan, out, image=scan.parent)
    sidecar = out / "a_desc-inpainted.json"
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"warnings": ["the mask lies in the air"]}))
    fill(scan, out, image=scan.parent)
    with pytest.raises(UserError, match="1 image not filled"):
        fill(scan, out, image=scan.parent, filling=Filling(strict=True))
    assert f"{scan}: the mask lies in the air (--strict); its output {out}/a_desc-inpainted.nii.gz exists" in caplog.text
