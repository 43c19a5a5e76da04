"""Each image gets the one mask with its BIDS entities, and each output a name of its own."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.inpainting import jobs
from tests.properties import property_test

LABEL = st.text("abcXYZ019", min_size=1, max_size=4)
ENDING = st.sampled_from([".nii", ".nii.gz"])
ENTITIES = st.fixed_dictionaries({"sub": LABEL}, optional=dict.fromkeys(("ses", "acq", "run", "echo"), LABEL))
OF_DERIVATIVES = st.dictionaries(st.sampled_from(sorted(jobs._DERIVATIVE_ENTITIES)), LABEL)
SUFFIX = st.sampled_from(["FLAIR", "T1w", "ct"])


def bids_name(entities: dict[str, str], suffix: str, ending: str = ".nii.gz") -> Path:
    return Path("_".join([*(f"{key}-{value}" for key, value in entities.items()), suffix]) + ending)


@property_test
@given(entities=ENTITIES, derivative=OF_DERIVATIVES, suffix=SUFFIX, ending=ENDING)
def test_entities_are_read_from_a_name_but_for_those_that_a_mask_may_have_otherwise(entities, derivative, suffix, ending):
    assert jobs._entities(bids_name(entities | derivative, suffix, ending)) == entities
    assert jobs._entities(bids_name({"scan": entities["sub"]}, suffix, ending)) == {}


@property_test
@given(
    scans=st.lists(st.tuples(ENTITIES, OF_DERIVATIVES), min_size=1, max_size=5, unique_by=lambda pair: str(pair[0])),
    suffix=SUFFIX,
    data=st.data(),
)
def test_every_image_gets_its_own_mask_in_whatever_order_they_come(scans, suffix, data):
    images = [Path("in") / bids_name(entities, suffix) for entities, _ in scans]
    masks = [Path("in") / bids_name(entities | derivative, "mask") for entities, derivative in scans]
    shuffled = data.draw(st.permutations([*masks, *images]))
    for image, mask in zip(images, masks, strict=True):
        assert jobs._find_mask(image, shuffled) == mask
    for image, mask in zip(images, masks, strict=True):
        with pytest.raises(UserError, match="none of the masks fits"):
            jobs._find_mask(image, [other for other in masks if other != mask])


@property_test
@given(entities=ENTITIES, derivative=OF_DERIVATIVES, suffix=SUFFIX, ending=ENDING)
def test_an_output_is_named_after_its_image_and_told_from_it(entities, derivative, suffix, ending):
    image = Path("sub/anat") / bids_name(entities | derivative, suffix, ending)
    output = jobs._output_name(image)
    assert output.parent == image.parent
    assert output.name.endswith(f"_desc-inpainted_{suffix}{ending}")
    assert output.name.count("desc-") == 1
    assert jobs._is_output(output)
    assert jobs._entities(output) == entities
    assert jobs._output_name(output) == output


def test_two_masks_of_one_image_are_named_and_one_called_a_mask_comes_first():
    image = Path("sub-1_FLAIR.nii.gz")
    lesion, head, other = (Path(f"sub-1_{rest}.nii.gz") for rest in ("label-lesion_mask", "label-head_mask", "T1w"))
    assert jobs._find_mask(image, [other, lesion]) == lesion
    with pytest.raises(UserError, match=r"several masks fit \(sub-1_label-lesion_mask.nii.gz, sub-1_label-head_mask.nii.gz"):
        jobs._find_mask(image, [other, lesion, head])
