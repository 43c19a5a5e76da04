"""The contrast of a scan by its name."""

from pathlib import Path

import pytest

from ipmedgan_jax.imaging import contrasts


@pytest.mark.parametrize(
    ("name", "contrast"),
    [
        ("sub-01_ses-2_T1w.nii.gz", "T1w"),
        ("sub-01_space-T1w_desc-x_FLAIR.nii.gz", "FLAIR"),
        ("sub-01_ct.nii", "CT"),
        ("BraTS-GLI-00001-000-t1c.nii.gz", "T1w with contrast agent"),
        ("BraTS-GLI-00001-000-t2f.nii.gz", "FLAIR"),
        ("BraTS20_Training_001_t1ce.nii.gz", "T1w with contrast agent"),
        ("patient7 MPRAGE.nii", "T1w"),
        ("direct.nii.gz", ""),
        ("t1tan_0000.nii.gz", ""),
        ("scan.nii.gz", ""),
    ],
)
def test_the_last_part_that_names_a_contrast_counts(name, contrast):
    assert contrasts.contrast_of(Path("t2w") / name) == contrast


def test_contrasts_of_several_files_are_named_once():
    assert contrasts.contrasts_of(map(Path, ["b_FLAIR.nii", "a_T1w.nii", "c_T1w.nii", "d.nii"])) == ["FLAIR", "T1w"]
