"""A call of `inpaint` fills what it names, or says in one line what it leaves out; no output replaces another one."""

import nibabel
import numpy as np
import pytest

from ipmedgan_jax.core.ranks import Shard
from ipmedgan_jax.inpainting.classical_filler import ClassicalFiller
from ipmedgan_jax.inpainting.cohort import Cohort, fill_cohort
from ipmedgan_jax.inpainting.filling_options import Filling

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
