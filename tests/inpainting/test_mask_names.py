"""Templates name the mask of each image; names of different subjects are noticed."""

from pathlib import Path

import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.inpainting.jobs import find_jobs
from ipmedgan_jax.inpainting.mask_names import is_template, kind_warning, mask_by_template, subject_warning
from tests.inpainting.test_scan import touch


@pytest.mark.parametrize(
    ("image", "mask", "template"),
    [
        ("pat-1/flair.nii.gz", "pat-1/lesion.nii.gz", "{folder}/lesion.nii.gz"),  # equal names in every folder
        ("B-001/B-001-t2f.nii.gz", "B-001/B-001-seg.nii.gz", "{folder}/{case}-seg.nii.gz"),  # BraTS 2023
        ("B_001/B_001_flair.nii.gz", "B_001/B_001_seg.nii.gz", "{folder}/{parent}_seg.nii.gz"),  # BraTS 2021
        ("imagesTr/c_001_0000.nii.gz", "labelsTr/c_001.nii.gz", "{folder}/../labelsTr/{case}.nii.gz"),  # nnU-Net
        ("a/x.nii", "a/x-seg.nii.gz", "{folder}/{stem}-seg.nii.gz"),
        ("a [1]/x*.nii", "a [1]/x*_roi_v2.nii.gz", "{folder}/{stem}_roi*.nii.gz"),
        ("a [1]/x.nii", "m [2], n/x_roi.nii.gz", "{folder}/../m [2], n/{stem}_*.nii.gz"),
    ],
)
def test_a_template_gives_the_mask_of_each_image(tmp_path, image, mask, template):
    touch(tmp_path, image, mask, "a/y.nii", "pat-2/lesion.nii.gz")
    assert is_template(template)
    assert mask_by_template(template, tmp_path / image).resolve() == tmp_path / mask
    (one,), _ = find_jobs(str(tmp_path / image), template, tmp_path / "x.nii")
    assert one.mask.resolve() == tmp_path / mask


def test_an_unknown_field_is_named_and_a_file_of_that_name_is_no_template(tmp_path):
    touch(tmp_path, "{sub}.nii")
    assert not is_template(str(tmp_path / "{sub}.nii"))
    assert is_template("{sub}.nii")
    with pytest.raises(UserError, match=r"has no field \{sub\}; the fields are \{folder\}, \{parent\}, \{stem\}, \{case\}"):
        mask_by_template("{sub}.nii", tmp_path / "x.nii")


def test_images_of_equal_names_are_filled_with_the_masks_beside_them(tmp_path):
    touch(tmp_path, *(f"pat-{i}/{name}.nii.gz" for i in range(3) for name in ("flair", "flair-seg")), "pat-3/flair.nii.gz")
    found, refused = find_jobs(str(tmp_path / "pat-*" / "*.nii.gz"), "{folder}/{stem}-seg.nii.gz", tmp_path / "out")
    assert [(job.image.parent.name, job.image.name, job.mask.name) for job in found] == [
        (f"pat-{i}", "flair.nii.gz", "flair-seg.nii.gz") for i in range(3)
    ]
    assert len({job.output for job in found}) == 3
    assert len(refused) == 1
    assert "pat-3/flair.nii.gz: there is no mask" in refused[0].reason
    touch(tmp_path, "pat-0/flair-seg.nii")
    _, refused = find_jobs(str(tmp_path / "pat-0/*"), "{folder}/*-seg.nii*", tmp_path / "out")
    assert any("several masks fit" in one.reason for one in refused)


@pytest.mark.parametrize("mask", ["{0}", "{0}/*_mask.nii.gz", "{0}/a.nii,{0}/b.nii"])
def test_several_masks_for_one_image_are_refused(tmp_path, mask):
    touch(tmp_path, "scan.nii.gz", "scan_mask.nii.gz")
    with pytest.raises(UserError, match="a folder, a pattern or a list, but --image names one scan; name its mask"):
        find_jobs(str(tmp_path / "scan.nii.gz"), mask.format(tmp_path), tmp_path / "x.nii")


@pytest.mark.parametrize(
    ("image", "mask", "warned"),
    [
        ("sub-1_FLAIR.nii.gz", "sub-2_label-lesion_mask.nii.gz", True),
        ("sub-1_FLAIR.nii.gz", "sub-1_label-lesion_mask.nii.gz", False),
        ("sub-1_ses-1_FLAIR.nii.gz", "sub-1_ses-2_mask.nii.gz", True),
        ("sub-1_ses-1_FLAIR.nii.gz", "sub-1_mask.nii.gz", False),
        ("sub-1/anat/FLAIR.nii.gz", "derivatives/sub-2/mask.nii.gz", True),
        ("sub-1/ses-1/FLAIR.nii.gz", "masks/sub-1/ses-1/mask.nii.gz", False),
        ("BraTS2021_00001_flair.nii.gz", "BraTS2021_00002_seg.nii.gz", True),
        ("BraTS-GLI-00001-000-t2f.nii.gz", "BraTS-GLI-00001-001-seg.nii.gz", True),
        ("imagesTr/case_001_0000.nii.gz", "labelsTr/case_001.nii.gz", False),
        ("imagesTr/case_001_0000.nii.gz", "labelsTr/case_002.nii.gz", True),
        ("patient12/flair.nii.gz", "patient13/lesion.nii.gz", True),
        ("p/T1_lesion.nii.gz", "p/T2_lesion.nii.gz", False),
        ("scan.nii.gz", "lesion.nii.gz", False),
    ],
)
def test_a_mask_of_another_subject_or_session_is_noticed(image, mask, warned):
    warning = subject_warning(Path(image), Path(mask))
    assert bool(warning) == warned
    assert not warned or "is it the mask of this image?" in warning


@pytest.mark.parametrize(
    ("image", "mask", "warning"),
    [
        ("sub-1_T1w", "sub-1_space-MNI152_mask", "is in space MNI152 by its name, the image in space orig"),
        ("T1_brain", "T1_brain_mask", "is named as that of the brain"),
        ("sub-1_space-T1w_FLAIR", "sub-1_mask", ""),
    ],
)
def test_a_mask_of_the_brain_or_of_another_space_is_noticed(image, mask, warning):
    text = kind_warning(Path(f"{image}.nii.gz"), Path(f"{mask}.nii.gz"))
    assert warning in text
    assert bool(warning) == bool(text)
