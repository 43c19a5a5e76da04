"""Which scan a mask to avoid belongs to, and what its voxels are."""

import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.data.avoided import digest, pair_masks, read_masks
from ipmedgan_jax.experiment import datasets
from ipmedgan_jax.imaging import scans


@pytest.mark.parametrize(
    ("scan_names", "masks", "expected"),
    [
        (["sub-1/FLAIR", "sub-2/FLAIR"], ["sub-1/mask", "sub-2/mask"], [[0], [1]]),
        (["in/sub-1_FLAIR", "in/sub-2_FLAIR"], ["derived/sub-2_mask", "derived/sub-1_mask"], [[1], [0]]),
        (["in/sub-1_ses-1_FLAIR", "in/sub-1_ses-2_FLAIR"], ["in/sub-1_ses-2_mask", "in/sub-1_ses-1_mask"], [[1], [0]]),
        (["sub-1/ses-1/a", "sub-1/ses-2/a"], ["m/sub-1/ses-1/m", "m/sub-1/ses-2/m"], [[0], [1]]),
        (["sub-1/run-1_a", "sub-1/run-2_a"], ["sub-1/run-2_m"], [[], [0]]),
        (["sub-1/ses-1/a", "sub-1/ses-2/a"], ["m/sub-1_m"], [[0], [0]]),  # one mask of all visits
        (["sub-1/day1/a", "sub-1/day2/a"], ["sub-1/day1/m", "sub-1/day2/m"], [[0], [1]]),
        (["sub-1/a"], ["sub-1/tumour", "sub-1/implant"], [[0, 1]]),
        (["sub-1/sub-1_FLAIR"], ["sub-1/sub-1_space-MNI152_mask", "sub-1/sub-1_space-FLAIR_mask"], [[1]]),
        (["sub-1_space-MNI_FLAIR", "sub-1_FLAIR"], ["sub-1_space-MNI_mask", "sub-1_mask"], [[0], [1]]),
    ],
)
def test_a_mask_belongs_to_the_scans_of_its_subject_session_and_folder(scan_names, masks, expected):
    found = pair_masks([Path(name) for name in masks], [Path(name) for name in scan_names], "")
    assert [[masks.index(mask.as_posix()) for mask in belonging] for belonging in found] == expected


def test_scans_and_masks_that_stay_alone_are_named(caplog):
    paths = [Path("sub-1/a.nii"), Path("sub-2/a.nii")]
    with caplog.at_level(logging.WARNING, logger="absl"):
        pair_masks([Path("sub-1/m.nii"), Path("sub-9/m.nii")], paths, "")
    assert "1 of 2 scans have no mask in holes.avoid, such as sub-2/a.nii" in caplog.text
    assert "1 of 2 masks in holes.avoid belong to no scan, such as sub-9/m.nii" in caplog.text
    with pytest.raises(UserError, match=r"none of its 1 masks, such as sub-9/m.nii, belongs to a scan"):
        pair_masks([Path("sub-9/m.nii")], paths, "")


def save(path, array, affine=None):
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def test_every_label_of_every_mask_is_avoided_on_the_scan_s_grid(tmp_path):
    rng = np.random.default_rng(0)
    scan = scans.read_scan(save(tmp_path / "scan.nii", rng.random((8, 8, 4)).astype(np.float32)))
    labels, empty, coarse = np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((4, 4, 2), np.uint8)
    labels[1, 1, 1], labels[2, 2, 2], coarse[3, 3, 1] = 1, 4, 1
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = 0.5
    paths = [save(tmp_path / "l.nii", labels), save(tmp_path / "e.nii", empty), save(tmp_path / "c.nii", coarse, affine)]
    marked = read_masks(paths, scan)
    expected = labels > 0
    expected[6:, 6:, 2:] = True
    np.testing.assert_array_equal(marked, expected)
    with pytest.raises(UserError, match="are NaN or infinite; a mask has whole numbers"):
        read_masks([save(tmp_path / "n.nii", np.full((8, 8, 4), np.nan, np.float32))], scan)


def test_the_digest_is_of_the_contents(tmp_path):
    one, two = (save(tmp_path / f"{name}.nii", np.full((2, 2, 2), name, np.uint8)) for name in (1, 2))
    assert digest([one, two]) == digest([two, one]) != digest([one]) != digest([])
    assert digest([]) == ""
    with pytest.raises(UserError, match=r"3.nii: cannot be read"):
        digest([tmp_path / "3.nii"])


def test_a_mask_that_lies_elsewhere_is_refused_with_advice_that_prepare_can_follow(tmp_path):
    scan = scans.read_scan(save(tmp_path / "scan.nii", np.arange(256, dtype=np.float32).reshape(8, 8, 4)))
    moved, larger = np.eye(4), np.ones((9, 8, 4), np.uint8)
    moved[:3, 3] = 3
    for mask in (save(tmp_path / "m.nii", np.ones((8, 8, 4), np.uint8), moved), save(tmp_path / "l.nii", larger)):
        with pytest.raises(UserError, match=r"; correct its sform, or leave it out of holes.avoid$") as error:
            read_masks([mask], scan)
        assert "--" not in str(error.value)


@pytest.mark.parametrize("key", ["holes.avoid", "holes.lesions"])
def test_masks_of_the_brain_are_left_out(tmp_path, caplog, key):
    for name in ("sub-01_desc-brain_mask", "sub-01_lesion_mask", "sub-02_brainmask"):
        (tmp_path / f"{name}.nii.gz").touch()
    found = datasets._lesion_masks(key, f"{tmp_path}/*mask.nii.gz")
    assert [path.name for path in found] == ["sub-01_lesion_mask.nii.gz"]
    assert f"config.{key}: 2 files left out: their names are those of masks of the brain" in caplog.text
    with pytest.raises(UserError, match=rf"config.{key}=.*: masks of the brain alone"):
        datasets._lesion_masks(key, f"{tmp_path}/*brain*.nii.gz")
