"""A derivative is written outside of data sets, or below `derivatives` of one; never among the files of a data set."""

from pathlib import Path

import pytest

from ipmedgan_jax.core.errors import UserError
from ipmedgan_jax.inpainting.derivative_place import check_place


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The data set `study`, a link `link` to it, and a link from its sub-03 to `store`, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store").mkdir()
    for folder in ("study/sub-01/ses-1", "study/derivatives/prep", "study/derivatives/plain", "study/sourcedata/raw"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("study", "study/derivatives/prep", "study/sourcedata/raw"):
        (tmp_path / folder / "dataset_description.json").write_text("{}")
    (tmp_path / "link").symlink_to("study")
    (tmp_path / "study/sub-03").symlink_to("../store")
    (tmp_path / "into").symlink_to("study/sub-01")
    return tmp_path / "study"


@pytest.mark.parametrize(
    "output",
    [
        *(
            "study",
            "study/sub-01",
            "study/sub-01/ses-1",
            "study/new/deep",
            "study/sub-07",
            "study/derivatives",
            "link/sub-01",
        ),
        *(
            "into/x",
            "store/x",
            "study/sub-01/../../study/out",
            "study/sourcedata/x",
            "study/code/x",
            "study/derivatives/prep/x",
        ),
        *(".", "study/sourcedata/raw", "study/sourcedata/raw/x"),
    ],
)
def test_a_place_among_the_files_of_a_data_set_is_refused_with_a_good_one(study, output):
    with pytest.raises(UserError, match=r"^--output=.*give .*for example .*derivatives/inpainted$") as found:
        check_place(Path(output), Path("study"))
    good = str(found.value).rpartition(" ")[2]
    check_place(Path(good), Path("study"))


@pytest.mark.parametrize(
    ("output", "root"),
    [
        *(("out", "study"), ("study/derivatives/new", "study"), ("link/derivatives/new/deep", "study"), ("../out", "study")),
        *(("study/derivatives/prep", "study"), ("study/derivatives/new", "study/derivatives/prep")),
        *(("study", "study/sourcedata/raw"), ("study/sourcedata/raw/derivatives/x", "study/sourcedata/raw")),
    ],
)
def test_a_place_of_its_own_and_one_below_derivatives_are_accepted(study, output, root):
    check_place(Path(output), Path(root))


def test_derivatives_that_have_a_description_may_hold_others(study):
    (study / "derivatives/dataset_description.json").write_text("{}")
    check_place(study / "derivatives/new", study)


def test_a_link_out_of_derivatives_is_followed_and_a_link_into_the_data_set_too(study, tmp_path):
    (study / "derivatives/store").symlink_to(tmp_path / "store2")
    check_place(study / "derivatives/store", study)
    (study / "derivatives/back").symlink_to(study / "sub-01")
    with pytest.raises(UserError, match="lies in the data set"):
        check_place(study / "derivatives/back/x", study)
