"""Masks of other names than BIDS's belong to one scan by its name, its contrast aside; a wrong mask is worse than none."""

import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.inpainting.jobs import find_jobs


def pair(tmp_path, names, image="in", mask="in"):
    """Returns the mask of each image, by their paths below the folder, and the errors, for empty files of these names."""
    for name in names:
        path = tmp_path / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found, refused = find_jobs(str(tmp_path / image), str(tmp_path / mask), tmp_path / "out")
    return dict(_short(tmp_path, (job.image, job.mask)) for job in found), [unpaired.reason for unpaired in refused]


def _short(tmp_path, paths):
    return tuple(str(path.relative_to(tmp_path)).removesuffix(".nii.gz") for path in paths)


@pytest.mark.parametrize(
    ("scan", "mask"),
    [
        *(("in/RAS_FLAIR", "in/RAS_mask"), ("in/RAS_FLAIR", "in/RAS_lesion"), ("in/RAS-t2f", "in/RAS-seg")),
        *(("in/RAS_FLAIR", "in/RAS_lesion_mask"), ("in/RAS_FLAIR", "in/RAS_FLAIR_lesion"), ("in/P1/flair", "in/P1/lesion")),
        *(("in/scan_x", "in/scan_x_seg"), ("in/P1/RAS_T1w", "in/P1/RAS_Lesions")),
    ],
)
def test_a_mask_beside_its_scan_is_found(tmp_path, scan, mask):
    assert pair(tmp_path, [scan, mask, "in/other_FLAIR", "in/other_mask"])[0] == {
        scan: mask,
        "in/other_FLAIR": "in/other_mask",
    }


def test_the_example_of_the_help_pairs(tmp_path):
    names = ["in/a/RAS_FLAIR", "in/a/RAS_mask", "in/b/RAS_FLAIR", "in/b/RAS_mask"]
    pairs, refused = pair(tmp_path, names, "in/**/*_FLAIR.nii.gz", "in/**/*_mask.nii.gz")
    assert (pairs, refused) == ({names[0]: names[1], names[2]: names[3]}, [])


def test_folders_of_scans_and_of_masks_have_equal_places(tmp_path):
    names = ["s/P1/x_FLAIR", "s/P2/x_FLAIR", "m/P1/x_mask", "m/P2/x_mask"]
    assert pair(tmp_path, names, "s", "m")[0] == {"s/P1/x_FLAIR": "m/P1/x_mask", "s/P2/x_FLAIR": "m/P2/x_mask"}


@pytest.mark.parametrize(
    ("scan", "mask"),
    [
        *(("in/case_001", "in/case_mask"), ("in/alice_smith", "in/alice_mask"), ("in/RAS_FLAIR", "in/RAS_brain_mask")),
        *(("in/RAS_FLAIR", "in/RASP_mask"), ("in/P1/x_FLAIR", "in/P2/x_mask"), ("in/RAS_2_FLAIR", "in/RAS_mask")),
    ],
)
def test_a_mask_that_may_be_another_s_is_not_taken(tmp_path, scan, mask):
    pairs, refused = pair(tmp_path, [scan, mask])
    assert not pairs
    assert f"{scan}.nii.gz: none of the masks fits ({mask.rpartition('/')[2]}.nii.gz)" in refused[0]


def test_a_template_that_would_pair_is_offered_and_pairs(tmp_path):
    _, (line,) = pair(tmp_path, ["in/pat_brain", "in/pat_mask"])
    assert line.endswith("if pat_mask.nii.gz is its mask, give --mask='{folder}/{case}_mask.nii.gz'")
    template = line.partition("--mask='")[2].rstrip("'")
    found, _ = find_jobs(str(tmp_path / "in"), template, tmp_path / "out")
    assert [job.mask.name for job in found] == ["pat_mask.nii.gz"]


def test_two_masks_of_one_scan_are_named(tmp_path):
    _, (line,) = pair(tmp_path, ["in/RAS_FLAIR", "in/RAS_mask", "in/RAS_seg"])
    assert "several masks fit" in line


def test_a_mask_beside_one_scan_is_not_that_of_an_equal_name_elsewhere(tmp_path):
    pairs, refused = pair(tmp_path, ["in/P1/flair", "in/P1/flair_mask", "in/P2/flair"])
    assert pairs == {"in/P1/flair": "in/P1/flair_mask"}
    assert "in/P2/flair.nii.gz: the only mask of its name" in refused[0]


def test_one_mask_for_the_scans_of_all_contrasts_of_a_case(tmp_path):
    names = ["in/t1/case1", "in/flair/case1", "masks/case1"]
    assert pair(tmp_path, names, "in", "masks")[0] == dict.fromkeys(names[:2], names[2])


def test_one_mask_file_for_a_folder_of_scans_has_a_message_of_its_own(tmp_path):
    with pytest.raises(UserError, match=r"m.nii.gz: one mask, but --image names 2 scans, and it has the name of none"):
        pair(tmp_path, ["in/a", "in/b", "m"], "in", "m.nii.gz")


@pytest.mark.parametrize(
    ("names", "image"),
    [
        (["in/bob/flair", "in/carol/flair", "in/alice/flair_mask", "in/alice/t2"], "in"),
        (["in/bob/flair", "in/alice/flair_mask"], "in/bob"),
        (["in/bob/scan", "in/carol/scan", "in/alice/scan_mask"], "in"),
        (["in/day1/case1", "in/day2/case1", "masks/case1"], "in"),
    ],
)
def test_a_mask_of_one_patient_is_not_that_of_others_with_scans_of_its_name(tmp_path, names, image):
    pairs, refused = pair(tmp_path, names, image, names[2].partition("/")[0] if len(names) > 2 else "in")
    assert not pairs
    assert any("the only mask of its name" in line for line in refused)


def test_the_mask_beside_a_scan_comes_before_masks_of_its_name_elsewhere(tmp_path):
    names = ["in/P1/scan", "in/P1/scan_mask", "in/P2/scan", "in/P2/scan_mask"]
    assert pair(tmp_path, names) == ({names[0]: names[1], names[2]: names[3]}, [])


@pytest.mark.parametrize(
    "mask",
    ["sub-1_desc-brain_mask", "sub-1_label-brain_mask", "sub-1_T1w_brainmask", "sub-1_desc-brain_T1w_mask", "T1_brain_mask"],
)
def test_a_mask_of_the_brain_is_no_lesion_mask(tmp_path, mask):
    scan = "in/sub-1_desc-preproc_T1w" if mask.startswith("sub") else "in/T1_brain"
    pairs, (line,) = pair(tmp_path, [scan, f"in/{mask}"])
    assert not pairs
    assert "is named as that of the brain" in line
    if mask.startswith("sub"):
        assert pair(tmp_path, ["in/sub-1_label-lesion_mask"])[0] == {scan: "in/sub-1_label-lesion_mask"}


@pytest.mark.parametrize(
    ("scan", "mask", "fits"),
    [
        ("sub-1_T1w", "sub-1_space-MNI152NLin2009cAsym_label-lesion_mask", False),
        ("sub-1_space-MNI152NLin6Asym_T1w", "sub-1_label-lesion_mask", False),
        ("sub-1_space-MNI152Lin_T1w", "sub-1_space-MNI305_mask", False),
        ("sub-1_space-T1w_FLAIR", "sub-1_space-FLAIR_mask", False),
        ("sub-1_T1w", "sub-1_space-orig_label-lesion_mask", True),
        ("sub-1_T1w", "sub-1_space-T1w_label-lesion_mask", True),
        ("sub-1_space-MNI305_res-1_T1w", "sub-1_space-MNI305_res-2_mask", True),
    ],
)
def test_a_mask_in_another_space_is_not_taken(tmp_path, scan, mask, fits):
    pairs, refused = pair(tmp_path, [f"in/{scan}", f"in/{mask}"])
    assert pairs == ({f"in/{scan}": f"in/{mask}"} if fits else {})
    assert fits or "the only mask that fits" in refused[0]
    if not fits and scan == "sub-1_T1w":
        assert pair(tmp_path, ["in/sub-1_mask"])[0] == {f"in/{scan}": "in/sub-1_mask"}
