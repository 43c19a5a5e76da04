"""Each image gets the one mask with its BIDS entities, and each output a name of its own."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.imaging.file_kinds import is_output
from ipmedgan_jax.inpainting import jobs, mask_pairing
from tests.properties import property_test

LABEL = st.text("abcXYZ019", min_size=1, max_size=4)
ENDING = st.sampled_from([".nii", ".nii.gz"])
ENTITIES = st.fixed_dictionaries({"sub": LABEL}, optional=dict.fromkeys(("ses", "acq", "run", "echo"), LABEL))
OF_DERIVATIVES = st.dictionaries(st.sampled_from(sorted(mask_pairing._DERIVATIVE_ENTITIES)), LABEL)
SUFFIX = st.sampled_from(["FLAIR", "T1w", "ct"])


def bids_name(entities: dict[str, str], suffix: str, ending: str = ".nii.gz") -> Path:
    return Path("_".join([*(f"{key}-{value}" for key, value in entities.items()), suffix]) + ending)


@property_test
@given(entities=ENTITIES, derivative=OF_DERIVATIVES, suffix=SUFFIX, ending=ENDING)
def test_entities_are_read_from_a_name_but_for_those_that_a_mask_may_have_otherwise(entities, derivative, suffix, ending):
    assert mask_pairing._entities(bids_name(entities | derivative, suffix, ending)) == entities
    assert mask_pairing._entities(bids_name({"scan": entities["sub"]}, suffix, ending)) == {}


@property_test
@given(
    scans=st.lists(st.tuples(ENTITIES, OF_DERIVATIVES), min_size=1, max_size=5, unique_by=lambda pair: str(pair[0])),
    suffix=SUFFIX,
    data=st.data(),
)
def test_every_image_gets_its_own_mask_in_whatever_order_they_come(scans, suffix, data):
    of_image = [{key: value for key, value in derivative.items() if key == "space"} for _, derivative in scans]
    images = [Path("in") / bids_name(entities | own, suffix) for (entities, _), own in zip(scans, of_image, strict=True)]
    masks = [Path("in") / bids_name(entities | derivative, "mask") for entities, derivative in scans]
    shuffled = data.draw(st.permutations([*masks, *images]))
    for image, mask in zip(images, masks, strict=True):
        assert mask_pairing.find_mask(image, shuffled) == mask
    for image, mask in zip(images, masks, strict=True):
        with pytest.raises(UserError, match="none of the masks fits"):
            mask_pairing.find_mask(image, [other for other in masks if other != mask])


@property_test
@given(entities=ENTITIES, derivative=OF_DERIVATIVES, suffix=SUFFIX, ending=ENDING)
def test_an_output_is_named_after_its_image_and_told_from_it(entities, derivative, suffix, ending):
    image = Path("sub/anat") / bids_name(entities | derivative, suffix, ending)
    output = jobs._output_name(image)
    assert output.parent == image.parent
    assert output.name.endswith(f"_desc-inpainted_{suffix}{ending}")
    assert output.name.count("desc-") == 1
    assert is_output(output)
    assert mask_pairing._entities(output) == entities
    assert jobs._output_name(output) == output


def test_two_masks_of_one_image_are_named_and_one_called_a_mask_comes_first():
    image = Path("sub-1_FLAIR.nii.gz")
    lesion, head, other = (Path(f"sub-1_{rest}.nii.gz") for rest in ("label-lesion_mask", "label-head_mask", "T1w"))
    assert mask_pairing.find_mask(image, [other, lesion]) == lesion
    with pytest.raises(UserError, match=r"several masks fit \(sub-1_label-lesion_mask.nii.gz, sub-1_label-head_mask.nii.gz"):
        mask_pairing.find_mask(image, [other, lesion, head])


TREE = [
    *("bids/sub-01/anat/sub-01_FLAIR.nii.gz", "bids/sub-02/ses-1/anat/sub-02_ses-1_FLAIR.nii.gz"),
    *("plain/P1/a.nii.gz", "plain/P2/b.nii.gz"),
]


@pytest.mark.parametrize(
    ("image", "outputs"),
    [
        ("bids/sub-01", ["sub-01/anat"]),
        ("bids/sub-01/anat", ["sub-01/anat"]),
        ("bids/sub-01/**/*_FLAIR.nii.gz", ["sub-01/anat"]),
        ("bids/**/sub-01*_FLAIR.nii.gz", ["sub-01/anat"]),
        ("bids", ["sub-01/anat", "sub-02/ses-1/anat"]),
        ("bids/sub-01,bids/sub-02/ses-1", ["sub-01/anat", "sub-02/ses-1/anat"]),
        ("plain", ["P1", "P2"]),
        ("plain/**/a.nii.gz", ["P1"]),
        ("plain/P*/*.nii.gz", ["P1", "P2"]),
        ("plain/*/[b].nii.gz", ["P2"]),
        ("plain/P1", ["."]),
        ("plain/P1,plain/P2", ["P1", "P2"]),
        ("plain/P1/a.nii.gz,plain/P2/b.nii.gz", ["P1", "P2"]),
        ("plain,plain/P2", ["P1", "P2"]),
        (".", ["sub-01/anat", "sub-02/ses-1/anat", "plain/P1", "plain/P2"]),
    ],
)
def test_the_place_of_an_output_does_not_depend_on_how_many_images_match(tmp_path, monkeypatch, image, outputs):
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    found, _ = jobs.find_jobs(image, None, Path("out"))
    assert [str(job.output.parent.relative_to("out")) for job in found] == outputs
    if "," in image:
        return  # a part of a list that matches nothing is an error
    for path in [job.image for job in found[1:]]:
        path.unlink()  # with fewer images, those that stay keep their place
    (job,), _ = jobs.find_jobs(image, None, Path("out"))
    assert (job.image, job.output) == (found[0].image, found[0].output)


def test_two_images_of_one_place_are_named(tmp_path):
    for name in ("siteA/sub-1/sub-1_T1w.nii.gz", "siteB/sub-1/sub-1_T1w.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"siteA/sub-1/sub-1_T1w.nii.gz and .*siteB.* would both be written to out/sub-1/"):
        jobs.find_jobs(str(tmp_path), None, Path("out"))


@pytest.mark.parametrize("name", ["sub-2_FLAIR.nii.gz", "sub-2", "ses-1"])
def test_a_link_to_nowhere_among_the_images_is_a_job_that_will_be_named(tmp_path, name):
    (tmp_path / "sub-1_FLAIR.nii.gz").touch()
    (tmp_path / name).symlink_to("../.git/annex/objects/x")
    (tmp_path / "README").symlink_to("../.git/annex/objects/y")
    found, _ = jobs.find_jobs(str(tmp_path), None, tmp_path / "out")
    assert {job.image.name for job in found} == {"sub-1_FLAIR.nii.gz", name}
