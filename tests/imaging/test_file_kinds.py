"""Masks, label maps and outputs of inpaint are known by their names, folders and JSON files."""

import json
from pathlib import Path

import pytest

from ipmedgan_jax.imaging.file_kinds import is_mask, is_output, scans_among

MASKS = [
    "sub-01_label-lesion_mask.nii.gz",
    "sub-01_dseg.nii.gz",
    "sub-01_label-GM_probseg.nii",
    "sub-01_label-L_roi.nii.gz",
    "BraTS-GLI-00000-000-seg.nii.gz",
    "BraTS2021_00000_seg.nii.gz",
    "training01_01_mask1.nii",
    "Case001_segmentation.nii.gz",
    "ManualSegmentation_3.nii.gz",
    "sub-01_T1w_brainmask.nii.gz",
    "sub-01_FLAIR_LesionMask.nii.gz",
    "aparc+aseg.nii.gz",
    "T1_brain_seg_0.nii.gz",
    "T1_brain_pve_2.nii.gz",
    "T1_brain_mixeltype.nii.gz",
    "volume-3.label.nii",
    "Dataset001/labelsTr/case_001.nii.gz",
    "patient1/masks/flair.nii.gz",
]

SCANS = [
    "sub-01_FLAIR.nii.gz",
    "sub-01_desc-masked_T1w.nii.gz",
    "sub-mask_FLAIR.nii.gz",
    "sub-01_acq-roi_bold.nii",
    "masks/sub-01/flair.nii.gz",
    "Dataset001/imagesTr/case_001_0000.nii.gz",
    "BraTS-GLI-00000-000-t2f.nii.gz",
    "BraTS2021_00000_flair.nii.gz",
    "12.nii.gz",
    "segal_12.nii.gz",
    "maskell.nii",
    "unlabelled.nii",
]


@pytest.mark.parametrize("folder", ["", "in/sub-07/anat"])
@pytest.mark.parametrize("name", MASKS + SCANS)
def test_masks_are_known_by_the_last_word_of_their_name_or_their_folder(folder, name):
    assert is_mask(Path(folder) / name) == (name in MASKS)


@pytest.mark.parametrize("output", ["filled.nii.gz", "sub-01_desc-inpainted_FLAIR.nii.gz", "a.b.nii"])
@pytest.mark.parametrize("version", [{}, {"ipmedgan_jax": "0.1.0"}])
def test_outputs_are_known_whatever_their_names(tmp_path, output, version):
    name = output.removesuffix(".gz").removesuffix(".nii")
    (tmp_path / f"{name}.json").write_text(json.dumps({"system": "ipmedgan", "mask_voxels": 7} | version))
    assert is_output(tmp_path / output)
    assert is_output(tmp_path / f"{name}_mask.nii.gz")
    assert is_output(tmp_path / f"{name}_std.nii.gz")
    assert not is_output(tmp_path / "other.nii.gz")


@pytest.mark.parametrize("content", ['{"EchoTime": 0.1}', "[1, 2]", "7", "{", "null", b"\xff\xfe"])
def test_the_json_file_of_a_scan_does_not_make_it_an_output(tmp_path, content):
    (tmp_path / "sub-01_FLAIR.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert not is_output(tmp_path / "sub-01_FLAIR.nii.gz")


def test_what_is_passed_over_is_counted():
    paths = [Path("sub-1_FLAIR.nii"), Path("sub-1_mask.nii"), Path("sub-1_desc-inpainted_FLAIR.nii"), Path("sub-2_seg.nii")]
    assert scans_among(paths) == (paths[:1], "2 as mask or segmentation, 1 as output of inpaint")
    assert scans_among(paths[:1]) == (paths[:1], "")
