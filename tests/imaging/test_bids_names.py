"""Names of BIDS are taken apart and built in the order of BIDS; a derivative's names say what a file is."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipmedgan_jax.imaging import bids_names
from ipmedgan_jax.imaging.file_kinds import is_mask, is_output
from tests.properties import property_test

LABEL = st.text("abcXYZ019", min_size=1, max_size=4)
SUFFIX = st.sampled_from(["FLAIR", "T1w", "MP2RAGE", "ct"])
ENTITIES = st.dictionaries(st.sampled_from(bids_names.ORDER), LABEL).map(lambda found: {"sub": "01"} | found)

NAMES = [
    ("sub-01_FLAIR", "sub-01_space-orig_desc-inpainted_FLAIR", "sub-01_space-orig_label-lesion_desc-filled_mask"),
    (
        "sub-01_ses-2_acq-x_ce-gd_rec-n_run-1_echo-2_part-mag_T1w",
        "sub-01_ses-2_acq-x_ce-gd_rec-n_run-1_echo-2_part-mag_space-orig_desc-inpainted_T1w",
        "sub-01_ses-2_acq-x_ce-gd_rec-n_run-1_echo-2_part-mag_space-orig_label-lesion_desc-filled_mask",
    ),
    (
        "sub-01_space-MNI152Lin_res-2_desc-preproc_T1w",
        "sub-01_space-MNI152Lin_res-2_desc-inpainted_T1w",
        "sub-01_space-MNI152Lin_res-2_label-lesion_desc-filled_mask",
    ),
    ("sub-1_chunk-3_T2w", None, None),  # chunk comes after space
    ("sub-1_inv-2_MPM", "sub-1_inv-2_space-orig_desc-inpainted_MPM", "sub-1_space-orig_label-lesion_desc-filled_mask"),
]


@pytest.mark.parametrize(("image", "filled", "mask"), NAMES)
def test_the_names_of_a_derivative(image, filled, mask):
    name = bids_names.parse(Path(f"{image}.nii.gz"))
    if filled is None:
        filled, mask = "sub-1_space-orig_chunk-3_desc-inpainted_T2w", "sub-1_space-orig_chunk-3_label-lesion_desc-filled_mask"
    assert bids_names.filled_name(name).text == filled
    assert bids_names.mask_name(name, with_suffix=False).text == mask
    assert bids_names.mask_name(name, with_suffix=True).text == mask.replace("filled", f"filled{name.suffix}")


@property_test
@given(entities=ENTITIES, suffix=SUFFIX)
def test_derived_names_keep_the_order_of_bids_and_are_known_again(entities, suffix):
    image = bids_names.BidsName(entities, suffix)
    assert bids_names.parse(Path(f"{image.text}.nii")) == image
    for derived in (bids_names.filled_name(image), bids_names.mask_name(image, with_suffix=True)):
        path = Path(f"{derived.text}.nii.gz")
        keys = [part.partition("-")[0] for part in derived.text.split("_")[:-1]]
        assert keys == sorted(keys, key=bids_names.ORDER.index)
        assert bids_names.parse(path) == derived
        assert is_output(path)
    assert is_mask(path)
    assert bids_names.filled_name(bids_names.filled_name(image)) == bids_names.filled_name(image)


@pytest.mark.parametrize(
    "name",
    ["scan", "FLAIR", "ses-1_FLAIR", "sub-01", "sub-01_brain_FLAIR", "sub-01_id-3_FLAIR", "ses-1_sub-01_FLAIR",
     "sub-01_sub-02_FLAIR", "sub-01_FLAIR.1", "sub-_FLAIR"],
)  # fmt: skip
def test_other_names_have_no_parts(name):
    assert bids_names.parse(Path(f"{name}.nii.gz")) is None


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("sub-01/anat/sub-01_space-orig_desc-inpainted_FLAIR.nii.gz", True),
        ("sub-01/ses-1/anat/sub-01_ses-1_desc-inpainted_T1w.nii", True),
        ("sub-01/anat/sub-01_ses-1_desc-inpainted_T1w.nii", False),
        ("sub-02/anat/sub-01_FLAIR.nii.gz", False),
        ("sub-01_FLAIR.nii.gz", False),
        ("sub-01/ct/sub-01_ct.nii.gz", False),
        ("sub-01/anat/sub-01_ct.nii.gz", False),
        ("sub-01/anat/sub-01_hemi-L_FLAIR.nii.gz", False),
    ],
)
def test_bids_knows_the_places_of_scans_of_anatomy(path, known):
    assert bids_names.is_scan_of_anatomy(Path(path)) is known


def test_a_mask_tells_its_scan_s_contrast_only_beside_another_contrast(tmp_path):
    for name in ("sub-1_run-1_FLAIR", "sub-1_run-2_FLAIR", "sub-1_run-2_T1w", "sub-1_label-lesion_mask", "other"):
        (tmp_path / f"{name}.nii.gz").touch()
    assert not bids_names.has_other_contrasts(tmp_path / "sub-1_run-1_FLAIR.nii.gz")
    assert bids_names.has_other_contrasts(tmp_path / "sub-1_run-2_FLAIR.nii.gz")
    assert bids_names.has_other_contrasts(tmp_path / "sub-1_run-2_T1w.nii.gz")
